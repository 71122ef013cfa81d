//! `vouch verify` and `vouch inspect`. Neither opens a socket.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use vouch_core::digest::Digest;
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::report::{Answer, CheckOutcome, Inspection, OpReport, OpView, Report};
use vouch_core::verify::{
    CheckError, Missing, OpVerifyOptions, Subject, Verdict, VerdictQuestion, Verifier, VerifyOptions,
};

use super::args::WantedOp;
use super::{Failure, InspectArgs, VerifyArgs, output};
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
    if let Some(WantedOp(op)) = args.op {
        return judge_op(&bundle, &OpVerifyOptions { cluster: args.cluster, op, now }, args.json);
    }
    let (subject, name) = match (&args.file, args.digest) {
        // the parser of the arguments requires exactly one of both
        (Some(file), _) => (hashed(file, &args.bundle)?, output::name(file)),
        (None, Some(digest)) => (Subject { digest, length: None }, "digest".to_owned()),
        (None, None) => return Err(Failure::cannot_check("expected a file or --digest, got neither")),
    };
    let options = VerifyOptions { cluster: args.cluster, subject: Some(subject), now, waive_expiry: args.waive_expiry };
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

fn ask_for_identity() {
    output::error_line(format_args!(
        "Give --cluster IDENTITY: get it from the cluster's operators or from your own records, not from a server."
    ));
}

/// Judges the bundle of an op.
fn judge_op(bundle: &[u8], options: &OpVerifyOptions, json: bool) -> Result<u8, Failure> {
    let judgement = Verifier::new().judge_op(bundle, options);
    let shown = OpReport::new(&judgement);
    if json {
        output::json(&shown);
    } else {
        print_checks(&shown.report, VerdictQuestion::text_for_op);
        match &shown.op {
            Some(op) => print_op(op),
            None => output::line(format_args!("{}", shown.report.message)),
        }
    }
    let error = judgement.proved().err();
    if error == Some(CheckError::Missing(Missing::Identity)) {
        ask_for_identity();
    }
    Ok(error.map_or(0, |error| Verdict::from(error).exit_code()))
}

/// Prints what an op says and did, and its place in the log.
fn print_op(op: &OpView) {
    let hex = |text: &str| if text.is_empty() { "empty".to_owned() } else { text.to_owned() };
    output::line(format_args!("kind     {}", op.kind));
    output::line(format_args!("body     {}", hex(&op.body)));
    output::line(format_args!("effect   {}", hex(&op.effect)));
    output::line(format_args!(
        "VALID: op {}, {} of {} in block {} of {}, certified by {} of {} members of cluster {}",
        op.id,
        op.index + 1,
        op.count,
        op.height,
        output::time(op.time),
        op.signers,
        op.members,
        op.cluster
    ));
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

fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot_read = |error| Failure::cannot_check(format_args!("cannot read {}: {error}", output::name(path)));
    let (reader, _) = Source::File(path.into()).open().map_err(cannot_read)?;
    let mut bytes = Vec::new();
    // one byte more than allowed, to tell a bundle of maximum size from a longer one
    reader.take(MAX_BUNDLE as u64 + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    Ok(bytes)
}

/// Prints the three questions, each with its answer and a line for each check; then what the check that decided compared.
fn print_checks(report: &Report, text: fn(VerdictQuestion) -> &'static str) {
    for question in VerdictQuestion::ALL {
        let answer = match report.answer(question).answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::NotAnswered => "not answered",
        };
        output::line(format_args!("{} {answer}", text(question)));
        for check in report.checks.iter().filter(|check| check.question == question) {
            let mark = match check.outcome {
                CheckOutcome::Passed => " ok ",
                CheckOutcome::Failed => "BAD ",
                CheckOutcome::CannotCheck => " ?  ",
                CheckOutcome::NotReached => " -  ",
                CheckOutcome::Waived => "n/a ",
            };
            output::line(format_args!("{mark} {:<12} {}", check.name.name(), check.meaning));
        }
    }
    if let (Some(expected), Some(got)) = (&report.expected, &report.got) {
        output::line(format_args!("expected {expected}"));
        output::line(format_args!("got      {got}"));
    }
}

/// Prints the report, then the verdict.
fn print(file: &str, bundle: &[u8], verdict: &Verdict, report: &Report) {
    print_checks(report, VerdictQuestion::text);
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

pub(super) fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let bundle = read_bundle(&args.bundle)?;
    let shown = match Inspection::of_bundle(&bundle) {
        Ok(shown) => shown,
        Err(verdict) => {
            let message = format!("{}: {verdict}", output::name(&args.bundle));
            return Err(Failure { code: verdict.exit_code(), ..Failure::new(message) });
        }
    };
    if args.json {
        output::json(&shown);
        return Ok(0);
    }
    let row = |name: &str, value: &str| output::line(format_args!("{name:<12} {value}"));
    row("digest", &format!("{} ({})", shown.digest, shown.digest_base58));
    row("length", &output::bytes(shown.length));
    row("cluster", &shown.cluster.to_string());
    row("committee", &format!("{}, epoch {}", shown.committee, shown.epoch));
    row("statement", &format!("{} {}", shown.kind, shown.statement));
    row("issued at", &format!("{} ({})", output::time(shown.issued_at), shown.issued_at));
    row("kept", &output::kept(shown.expires_at));
    row("salt", &shown.salt);
    row("batch", &format!("receipt {} of {}", shown.batch_index + 1, shown.batch_count));
    for hash in &shown.path {
        row("path", hash);
    }
    let n = shown.members.len();
    let (quorum, faults) = (shown.quorum, shown.tolerated_faults);
    row("signers", &format!("{} of {n}; {quorum} needed, {faults} may fail", shown.signers.len()));
    for member in &shown.members {
        let mark = if member.signed { "signed" } else { "-" };
        let node_key = &member.node_key;
        row("", &format!("{mark:<7} {:<24} node {node_key} vote {}", member.name, member.vote_key));
    }
    row("signature", &shown.signature);
    row("certificate", &shown.certificate);
    output::line(format_args!("None of this is verified; run `vouch verify FILE BUNDLE --cluster IDENTITY`."));
    Ok(0)
}
