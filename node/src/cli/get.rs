//! `vouch get`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use vouch_core::digest::Digest;
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::report::Inspection;
use vouch_core::verify::Verdict;

use super::known::Trust;
use super::{Failure, GetArgs, folder_to_write, output};
use crate::client::{self, ClientError, GetProgress, Sink};
use crate::host::files::{self, TempFile};

/// Bytes kept aside in a file that appears under its name only once they are verified.
struct Aside {
    folder: PathBuf,
    file: Option<TempFile>,
    written: u64,
}

impl Sink for Aside {
    fn restart(&mut self) -> Result<(), ClientError> {
        // the old one removes itself
        self.file = None;
        let file = TempFile::create(&self.folder, 0o644).map_err(|error| ClientError::Sink(error.to_string()))?;
        self.file = Some(file);
        self.written = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.written += bytes.len() as u64;
        match &mut self.file {
            Some(file) => file.write_all(bytes).map_err(|error| ClientError::Sink(error.to_string())),
            None => Err(ClientError::Sink("bytes before a start".into())),
        }
    }
}

pub(super) async fn get(args: GetArgs) -> Result<u8, Failure> {
    let (digest, length) = subject(&args.what)?;
    let trust = Trust::new(&args.server, &args.trust)?;
    let to_stdout = args.output == "-";
    let path = PathBuf::from(&args.output);
    let folder = if to_stdout { std::env::temp_dir() } else { folder_to_write(&path)?.into() };
    let mut sink = Aside { folder, file: None, written: 0 };

    let bar = output::bar("getting", Some(length.unwrap_or(0)));
    let request = client::Get { server: args.server.clone(), trusted: trust.pinned, digest, length };
    let result = client::get(request, &mut sink, |progress| match progress {
        GetProgress::Start(_, length) => {
            bar.set_length(length);
            bar.set_position(0);
        }
        GetProgress::Received(done) => bar.set_position(done),
        GetProgress::Rejected(rejection) => {
            bar.suspend(|| output::error_line(format_args!("{rejection}; trying the next replica")));
        }
    })
    .await;
    bar.finish_and_clear();
    let cluster = result.map_err(|error| trust.explain(error))?;
    trust.learn(cluster)?;

    let Some(mut file) = sink.file else { return Err(Failure::new("no bytes were received")) };
    let written = sink.written;
    if to_stdout {
        let mut verified = file.read_from_start().map_err(Failure::new)?;
        let copied = io::copy(&mut verified, &mut io::stdout().lock()).and_then(|_| io::stdout().flush());
        copied.map_err(|error| Failure::new(format_args!("cannot write to standard output: {error}")))?;
    } else {
        file.sync().map_err(Failure::new)?;
        file.persist(&path).map_err(Failure::new)?;
    }
    let report = match args.json {
        true => json!({ "digest": digest.to_hex(), "length": written, "cluster": cluster, "output": args.output })
            .to_string(),
        false => format!("verified   {}, {}, digest {digest}", args.output, output::bytes(written)),
    };
    if to_stdout {
        if args.json {
            output::error_line(format_args!("{report}"));
        }
    } else {
        output::line(format_args!("{report}"));
    }
    Ok(0)
}

/// A digest, or what a bundle certifies.
fn subject(what: &str) -> Result<(Digest, Option<u64>), Failure> {
    let not_a_digest = match what.parse::<Digest>() {
        Ok(digest) => return Ok((digest, None)),
        Err(error) => error,
    };
    let bundle = files::read_all(Path::new(what), MAX_BUNDLE).map_err(|error| {
        Failure::new(format_args!("{what:?} is neither a digest ({not_a_digest}) nor a readable bundle ({error})"))
    })?;
    let shown = Inspection::of_bundle(&bundle).map_err(|verdict| match verdict {
        Verdict::Invalid(invalid) => {
            Failure::new(format_args!("{what:?} is neither a digest ({not_a_digest}) nor a bundle ({invalid})"))
        }
        verdict => Failure::new(format_args!("{what}: {verdict}")),
    })?;
    let digest = shown.digest.parse().map_err(Failure::new)?;
    Ok((digest, Some(shown.length)))
}
