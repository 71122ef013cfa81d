//! `vouch get`.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use vouch_core::digest::Digest;
use vouch_core::limits::MAX_BUNDLE;
use vouch_core::report::Inspection;
use vouch_core::session::ByteRange;
use vouch_core::tree::{GROUP, Suspended};
use vouch_core::verify::Verdict;

use super::destination::Destination;
use super::trust::Trust;
use super::{Failure, GetArgs, output};
use crate::client::{self, ClientError, GetProgress, GetResult};
use crate::host::{Host, files};

pub(super) async fn get(host: &Host, args: GetArgs) -> Result<u8, Failure> {
    let (digest, length) = subject(&args.what)?;
    let mut trust = Trust::new(host, &args.servers, &args.trust)?;
    let mut destination = Destination::open(&args)?;
    let size = length.filter(|_| args.range.is_none());
    let bar = output::bar("getting", Some(size.unwrap_or(0)));
    let say = |text: fmt::Arguments<'_>| {
        if !args.json {
            bar.suspend(|| output::error_line(text));
        }
    };
    // of a range: its bytes that the part file already holds
    let kept = Cell::new(0);
    let show = |progress| match progress {
        GetProgress::Start(..) => {}
        GetProgress::Size(size) => bar.set_length(kept.get() + size),
        GetProgress::Received(done) => bar.set_position(kept.get() + done),
        GetProgress::Rejected(rejection) => say(format_args!("{rejection}; trying the next replica")),
        GetProgress::Retrying(next) => say(format_args!("{}", output::retrying(&next))),
    };
    let base = client::Get {
        servers: trust.servers.clone(),
        trusted: trust.of_link(),
        digest,
        length,
        range: args.range,
        held: Suspended::default(),
        token: args.token.read(host)?,
        retry: args.retry,
    };
    let found = range_held(host, &base, &mut destination, show, &trust).await;
    let (mut held, rest) = match found {
        Ok(Some(client::HeldPrefix { range, length })) => {
            destination.keep(length);
            kept.set(length);
            let rest = ByteRange::Between { first: range.start + length, last: range.end.saturating_sub(1) };
            (Suspended::default(), Some(rest))
        }
        Ok(None) => {
            let limit = if args.range.is_none() { size.unwrap_or(u64::MAX) } else { 0 };
            (destination.held(limit)?, args.range)
        }
        Err(failure) => return Err(destination.abandon(failure)),
    };
    let (result, from) = loop {
        let from = held.length + kept.get();
        if from > 0 {
            bar.set_position(from);
            // Bytes that are already here would distort the estimated speed.
            bar.reset_eta();
        }
        let has_said = Cell::new(from == 0);
        let show = |progress| {
            // The first received bytes prove that the part file belongs to the blob.
            if matches!(progress, GetProgress::Received(_)) && !has_said.replace(true) {
                say(format_args!("resuming after {}", output::bytes(from)));
            }
            show(progress);
        };
        let request = client::Get { range: rest, held, ..base.clone() };
        match client::get(host, request, &mut destination, show).await {
            Err(ClientError::AnotherPrefix { matching, .. }) => held = destination.held(matching)?,
            result => break (result, from),
        }
    };
    bar.finish_and_clear();
    let got = match result {
        Ok(got) => GetResult { range: got.range.start - kept.get()..got.range.end, ..got },
        Err(error) => return Err(destination.abandon(trust.explain(error))),
    };
    trust.check(&got.chain)?;
    trust.record(&got.server, &got.chain).await?;
    destination.finish()?;
    let json = || as_json(&args, digest, &got, from);
    match (args.output.as_os_str() == "-", args.json) {
        (true, true) => output::error_json(&json()),
        (true, false) => {}
        (false, true) => output::json(&json()),
        (false, false) => describe(&args, digest, &got),
    }
    Ok(0)
}

/// The bytes of the requested range that the part file already holds, if any.
async fn range_held(
    host: &Host,
    get: &client::Get,
    destination: &mut Destination,
    show: impl Fn(GetProgress),
    trust: &Trust,
) -> Result<Option<client::HeldPrefix>, Failure> {
    let found = destination.found_length()?;
    if get.range.is_none() || found < GROUP as u64 {
        return Ok(None);
    }
    let read = |length, each: &mut dyn FnMut(&[u8])| destination.read(length, each).map_err(RangeError::File);
    client::held_range(host, get, found, show, read).await.map_err(|error| match error {
        RangeError::File(failure) => failure,
        RangeError::Client(error) => trust.explain(error),
    })
}

/// Why the part file could not be compared with the requested range.
enum RangeError {
    /// The part file could not be read.
    File(Failure),
    /// The server could not be asked.
    Client(ClientError),
}

impl From<ClientError> for RangeError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// The first and the last byte of the range, both included, as in `--range`. `None` without `--range`.
fn part(args: &GetArgs, got: &GetResult) -> Option<(u64, u64)> {
    args.range.map(|_| (got.range.start, got.range.end.saturating_sub(1)))
}

fn as_json(args: &GetArgs, digest: Digest, got: &GetResult, from: u64) -> Value {
    let size = got.range.end - got.range.start;
    let mut report = json!({ "digest": digest.to_hex(), "length": size, "cluster": got.chain.cluster() });
    output::put_name(&mut report, "output", &args.output);
    if let Some((first, last)) = part(args, got) {
        report["range"] = json!({ "first": first, "last": last, "of": got.length });
    }
    report["attempts"] = got.attempts.into();
    // The first byte that this command fetched; those before it were already here.
    report["resumed_from"] = from.into();
    report
}

fn describe(args: &GetArgs, digest: Digest, got: &GetResult) {
    let part = part(args, got).map(|(first, last)| format!(", bytes {first}-{last} of {}", got.length));
    let size = output::bytes(got.range.end - got.range.start);
    let (output, part) = (output::name(&args.output), part.unwrap_or_default());
    output::line(format_args!("verified   {output}, {size}{part}, digest {digest}"));
}

/// The digest given as an argument, or the digest and length that a bundle certifies.
fn subject(what: &OsStr) -> Result<(Digest, Option<u64>), Failure> {
    let shown = output::name(what);
    // for the error only
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
