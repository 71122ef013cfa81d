//! `vouch get`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use vouch_core::digest::Digest;
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::report::Inspection;
use vouch_core::verify::Verdict;

use super::known::Trust;
use super::{Failure, GetArgs, folder_to_write, output};
use crate::client::{self, GetProgress, Got};
use crate::host::files::{self, TempFile};

/// Where verified bytes go: a file gets its name only once it is whole.
enum Output {
    File(TempFile),
    Stdout,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write_all(bytes).map_err(io::Error::other)?,
            Self::Stdout => io::stdout().write_all(bytes).map_err(not_written)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Stdout => io::stdout().flush().map_err(not_written),
        }
    }
}

fn not_written(error: io::Error) -> io::Error {
    io::Error::other(output::cannot_write(&error))
}

pub(super) async fn get(args: GetArgs) -> Result<u8, Failure> {
    let (digest, length) = subject(&args.what)?;
    let trust = Trust::new(&args.server, &args.trust)?;
    let path = args.output.clone();
    let mut output = match path.as_os_str() == "-" {
        true => Output::Stdout,
        false => Output::File(TempFile::create(folder_to_write(&path)?, 0o644).map_err(Failure::new)?),
    };

    let bar = output::bar("getting", Some(length.unwrap_or(0)));
    let request = client::Get { server: args.server.clone(), trusted: trust.pinned, digest, length, range: args.range };
    let result = client::get(request, &mut output, |progress| match progress {
        GetProgress::Start(..) => {}
        GetProgress::Size(size) => bar.set_length(size),
        GetProgress::Received(done) => bar.set_position(done),
        GetProgress::Rejected(rejection) => {
            bar.suspend(|| output::error_line(format_args!("{rejection}; trying the next replica")));
        }
    })
    .await;
    bar.finish_and_clear();
    let got = result.map_err(|error| trust.explain(error))?;
    trust.learn(got.cluster)?;

    match output {
        Output::Stdout => {
            io::stdout().flush().map_err(|error| Failure::new(not_written(error)))?;
            if args.json {
                output::error_json(&as_json(&args, digest, &got));
            }
        }
        Output::File(mut file) => {
            file.sync().map_err(Failure::new)?;
            file.persist(&path).map_err(Failure::new)?;
            match args.json {
                true => output::json(&as_json(&args, digest, &got)),
                false => describe(&args, digest, &got),
            }
        }
    }
    Ok(0)
}

/// The first and the last byte of a part: the last is included, as in the argument. Of no bytes there is none.
fn part(args: &GetArgs, got: &Got) -> Option<(u64, u64)> {
    args.range.map(|_| (got.range.start, got.range.end.saturating_sub(1)))
}

fn as_json(args: &GetArgs, digest: Digest, got: &Got) -> Value {
    let size = got.range.end - got.range.start;
    let mut report = json!({ "digest": digest.to_hex(), "length": size, "cluster": got.cluster });
    output::put_name(&mut report, "output", &args.output);
    if let Some((first, last)) = part(args, got) {
        report["range"] = json!({ "first": first, "last": last, "of": got.length });
    }
    report
}

fn describe(args: &GetArgs, digest: Digest, got: &Got) {
    let part = part(args, got).map(|(first, last)| format!(", bytes {first}-{last} of {}", got.length));
    let size = output::bytes(got.range.end - got.range.start);
    let (output, part) = (output::name(&args.output), part.unwrap_or_default());
    output::line(format_args!("verified   {output}, {size}{part}, digest {digest}"));
}

/// A digest, or what a bundle certifies.
fn subject(what: &OsStr) -> Result<(Digest, Option<u64>), Failure> {
    let shown = output::name(what);
    // only for the message
    let quoted = what.to_string_lossy();
    let not_a_digest = match quoted.parse::<Digest>() {
        Ok(digest) => return Ok((digest, None)),
        Err(error) => error,
    };
    let bundle = files::read_all(Path::new(what), MAX_BUNDLE).map_err(|error| {
        Failure::new(format_args!("{quoted:?} is neither a digest ({not_a_digest}) nor a readable bundle ({error})"))
    })?;
    let inspection = Inspection::of_bundle(&bundle).map_err(|verdict| match verdict {
        Verdict::Invalid(invalid) => {
            Failure::new(format_args!("{quoted:?} is neither a digest ({not_a_digest}) nor a bundle ({invalid})"))
        }
        verdict => Failure::new(format_args!("{shown}: {verdict}")),
    })?;
    let digest = inspection.digest.parse().map_err(Failure::new)?;
    Ok((digest, Some(inspection.length)))
}
