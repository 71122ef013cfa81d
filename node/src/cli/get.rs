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
use super::known::Trust;
use super::{Failure, GetArgs, output};
use crate::client::{self, ClientError, GetProgress, Got};
use crate::host::{Host, files};

pub(super) async fn get(host: &Host, args: GetArgs) -> Result<u8, Failure> {
    let (digest, length) = subject(&args.what)?;
    let trust = Trust::new(host, &args.server, &args.trust)?;
    let mut destination = Destination::open(&args)?;
    let size = length.filter(|_| args.range.is_none());
    let bar = output::bar("getting", Some(size.unwrap_or(0)));
    let say = |text: fmt::Arguments<'_>| {
        if !args.json {
            bar.suspend(|| output::error_line(text));
        }
    };
    // of a range: the bytes of it that are there
    let kept = Cell::new(0);
    let show = |progress| match progress {
        GetProgress::Start(..) => {}
        GetProgress::Size(size) => bar.set_length(kept.get() + size),
        GetProgress::Received(done) => bar.set_position(kept.get() + done),
        GetProgress::Rejected(rejection) => say(format_args!("{rejection}; trying the next replica")),
        GetProgress::Retrying { why, pause } => say(format_args!("{}", output::trying_again(why, pause))),
    };
    let base = client::Get {
        server: args.server.clone(),
        trusted: trust.pinned,
        digest,
        length,
        range: args.range,
        held: Suspended::default(),
        retry: args.retry,
    };
    let found = range_held(host, &base, &mut destination, show, &trust).await;
    let (mut held, rest) = match found {
        Ok(Some(client::Held { range, length })) => {
            destination.keep(length);
            kept.set(length);
            let rest = ByteRange::Between { first: range.start + length, last: range.end.saturating_sub(1) };
            (Suspended::default(), Some(rest))
        }
        Ok(None) => {
            let limit = if args.range.is_none() { size.unwrap_or(u64::MAX) } else { 0 };
            (destination.held(limit)?, args.range)
        }
        Err(failure) => return Err(destination.left(failure)),
    };
    let (result, from) = loop {
        let from = held.length + kept.get();
        if from > 0 {
            bar.set_position(from);
            // what was there says nothing of the speed
            bar.reset_eta();
        }
        let is_told = Cell::new(from == 0);
        let show = |progress| {
            // only now it is certain that what was there belongs to it
            if matches!(progress, GetProgress::Received(_)) && !is_told.replace(true) {
                say(format_args!("going on after the {} that are there", output::bytes(from)));
            }
            show(progress);
        };
        let request = client::Get { range: rest, held, ..base.clone() };
        match client::get(host, request, &mut destination, show).await {
            Err(ClientError::AnotherBeginning { matching, .. }) => held = destination.held(matching)?,
            result => break (result, from),
        }
    };
    bar.finish_and_clear();
    let got = match result {
        Ok(got) => Got { range: got.range.start - kept.get()..got.range.end, ..got },
        Err(error) => return Err(destination.left(trust.explain(error))),
    };
    trust.learn(got.cluster)?;
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

/// What a part holds of the range that is wanted, if anything.
async fn range_held(
    host: &Host,
    get: &client::Get,
    destination: &mut Destination,
    show: impl Fn(GetProgress),
    trust: &Trust,
) -> Result<Option<client::Held>, Failure> {
    let there = destination.there()?;
    if get.range.is_none() || there < GROUP as u64 {
        return Ok(None);
    }
    let read = |length, each: &mut dyn FnMut(&[u8])| destination.read(length, each).map_err(Unread::Here);
    client::held_range(host, get, there, show, read).await.map_err(|error| match error {
        Unread::Here(failure) => failure,
        Unread::There(error) => trust.explain(error),
    })
}

/// Why it is not known what a part holds.
enum Unread {
    Here(Failure),
    There(ClientError),
}

impl From<ClientError> for Unread {
    fn from(error: ClientError) -> Self {
        Self::There(error)
    }
}

/// The first and the last byte of a part: the last is included, as in the argument. Of no bytes there is none.
fn part(args: &GetArgs, got: &Got) -> Option<(u64, u64)> {
    args.range.map(|_| (got.range.start, got.range.end.saturating_sub(1)))
}

fn as_json(args: &GetArgs, digest: Digest, got: &Got, from: u64) -> Value {
    let size = got.range.end - got.range.start;
    let mut report = json!({ "digest": digest.to_hex(), "length": size, "cluster": got.cluster });
    output::put_name(&mut report, "output", &args.output);
    if let Some((first, last)) = part(args, got) {
        report["range"] = json!({ "first": first, "last": last, "of": got.length });
    }
    report["attempts"] = got.attempts.into();
    // the first byte that this command got: those before it were there
    report["resumed_from"] = from.into();
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
