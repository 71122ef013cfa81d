//! `vouch verify`. It opens no socket.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use vouch_core::bundle::BundleType;
use vouch_core::digest::Digest;
use vouch_core::limits::{Limits, MAX_BUNDLE};
use vouch_core::report::{Inspection, Report};
use vouch_core::verify::{Missing, Subject, Verdict, Verifier, VerifyOptions};

use super::verdicts::{self, ask_for_identity, print_checks};
use super::{Failure, VerifyArgs, output};
use crate::client;
use crate::host::Host;
use crate::host::source::Source;

pub(super) fn verify(host: &Host, args: VerifyArgs) -> Result<u8, Failure> {
    judge(host, args).map_err(|mut failure| {
        let report = Report::cannot_check(&failure.message);
        failure.message.clone_from(&report.message);
        failure.json = serde_json::to_value(&report).ok().map(Box::new);
        failure
    })
}

fn judge(host: &Host, args: VerifyArgs) -> Result<u8, Failure> {
    let bundle = read_bundle(&args.bundle)?;
    let now = args.now.unwrap_or_else(|| host.unix_seconds());
    if args.file.is_none() && args.digest.is_none() {
        return judge_of_log(&bundle, now, &args);
    }
    let (subject, name) = match (&args.file, args.digest) {
        (Some(file), _) => (hashed(file, &args.bundle)?, output::name(file)),
        (None, Some(digest)) => (Subject { digest, length: None }, "digest".to_owned()),
        (None, None) => return Err(Failure::cannot_check("expected a file or --digest, got neither")),
    };
    let options = VerifyOptions {
        trust: args.trust(),
        require_sealed: args.require_sealed,
        subject: Some(subject),
        now,
        waive_expiry: args.waive_expiry,
    };
    let judgement = Verifier::new().judge(&bundle, &options);
    let (verdict, report) = (judgement.verdict(), Report::new(&judgement));
    if args.json {
        let mut json = serde_json::to_value(&report).map_err(Failure::cannot_check)?;
        if let (Verdict::Valid(_), Ok(shown)) = (&verdict, Inspection::of_bundle(&bundle)) {
            json["certificate"] = serde_json::to_value(shown).map_err(Failure::cannot_check)?;
        }
        output::json(&json);
    } else {
        print(&name, &bundle, &verdict, &report);
    }
    if verdict == Verdict::CannotCheck(Missing::Identity) {
        ask_for_identity();
    }
    Ok(verdict.exit_code())
}

/// Judges a bundle that is not of a file: its type says what it is of.
fn judge_of_log(bundle: &[u8], now: u64, args: &VerifyArgs) -> Result<u8, Failure> {
    let name = output::name(&args.bundle);
    let trust = args.trust();
    let found = BundleType::of(bundle, &Limits::default());
    if let Some(wanted) = args.op {
        // whatever the text is: the verdict says what is wrong with it
        return Ok(verdicts::judge_op(bundle, trust, wanted.0, now, args.json));
    }
    if args.waive_expiry {
        return Err(Failure::cannot_check("--waive-expiry is for the bundle of a file: nothing else expires"));
    }
    if args.require_sealed {
        return Err(Failure::cannot_check("--require-sealed is for the bundle of a file: nothing else is sealed"));
    }
    match (found, args.height) {
        (Some(BundleType::LogHead), height) => Ok(verdicts::judge_head(bundle, trust, height, now, args.json)),
        (Some(BundleType::LogBlock), height) => Ok(verdicts::judge_block(bundle, trust, height, now, args.json)),
        (Some(BundleType::Evidence), None) => Ok(verdicts::judge_evidence(bundle, trust, args.json)),
        (Some(BundleType::Fork), None) => Ok(verdicts::judge_fork(bundle, &trust, args.json)),
        (Some(BundleType::Op), None) => Err(Failure::cannot_check(format_args!("{name} is the bundle of an op"))
            .with_note("Name the op that you ask for with --op OP; --op any takes whichever op the bundle is of.")),
        (_, Some(_)) => Err(Failure::cannot_check(format_args!(
            "--height is for the bundle of a block or of a log head, and {name} is neither"
        ))),
        (Some(BundleType::File) | None, None) => Err(Failure::cannot_check(format_args!(
            "expected FILE and BUNDLE, or the bundle of a log head, of a block or of evidence; got {name} alone"
        ))
        .with_note("To check a file: vouch verify FILE BUNDLE --cluster IDENTITY")),
    }
}

/// Hashes a file.
fn hashed(file: &OsStr, bundle: &Path) -> Result<Subject, Failure> {
    let source = Source::parse(file);
    let cannot_read = |error: io::Error| {
        let failure = Failure::cannot_check(format_args!("cannot read {}: {error}", output::name(file)));
        let digest = file.to_str().filter(|text| text.parse::<Digest>().is_ok());
        match digest.filter(|_| error.kind() == io::ErrorKind::NotFound) {
            // Do not check the digest without being asked: a missing file must not be reported as valid.
            Some(digest) => failure.with_note(format_args!(
                "To check a digest without its file: vouch verify --digest {digest} {}",
                output::shell_word(bundle)
            )),
            None => failure,
        }
    };
    let (mut reader, length) = source.open().map_err(cannot_read)?;
    let bar = output::bar("hashing", length);
    let (digest, outline) = client::hash(&mut reader, |done| bar.set_position(done)).map_err(cannot_read)?;
    bar.finish_and_clear();
    Ok(Subject { digest, length: Some(outline.length()) })
}

pub(super) fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot_read = |error| Failure::cannot_check(format_args!("cannot read {}: {error}", output::name(path)));
    let (reader, _) = Source::File(path.into()).open().map_err(cannot_read)?;
    let mut bytes = Vec::new();
    // one byte more than allowed, to tell a bundle of maximum size from a longer one
    reader.take(MAX_BUNDLE as u64 + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    Ok(bytes)
}

/// Prints the report, then the verdict.
fn print(file: &str, bundle: &[u8], verdict: &Verdict, report: &Report) {
    print_checks(report);
    match (verdict, Inspection::of_bundle(bundle)) {
        (Verdict::Valid(_), Ok(shown)) => output::line(format_args!(
            "VALID: {file} {}, {} bytes, certified {} by {} of {} members of cluster {}",
            shown.digest_base58,
            shown.length,
            output::time(shown.issued_at),
            shown.signers.len(),
            shown.members.len(),
            shown.cluster
        )),
        _ => output::line(format_args!("{}", report.message)),
    }
}
