//! `vouch log`: reads the cluster's ordered log through a server, and writes notes to it. Everything that a server sends is verified
//! against the trusted identity before it is shown.

mod follow;

use vouch_core::limits::MAX_OP_BODY;
use vouch_core::log::{Op, OpId};
use vouch_node_core::log::notes::Notes;

use super::bundle_file::BundleFile;
use super::log_args::{LogCommand, LogNoteArgs, LogProveArgs, LogServerArgs, LogShowArgs};
use super::log_client::{LogClient, OP_LIFETIME};
use super::{Failure, LogCommandArgs, output, verdicts};
use crate::host::Host;

impl<'a> LogClient<'a> {
    fn of(host: &'a Host, args: &LogServerArgs) -> Result<Self, Failure> {
        Self::new(host, (&args.servers).into(), &args.trust)
    }
}

pub(super) async fn log(host: &Host, args: LogCommandArgs) -> Result<u8, Failure> {
    match args.command {
        LogCommand::Head(args) => head(host, &args).await,
        LogCommand::Show(args) => show(host, &args).await,
        LogCommand::Prove(args) => prove(host, &args).await,
        LogCommand::Follow(args) => follow::follow(host, &args).await,
        LogCommand::Note(args) => note(host, &args).await,
    }
}

async fn head(host: &Host, args: &LogServerArgs) -> Result<u8, Failure> {
    let mut client = LogClient::of(host, args)?;
    let bundle = client.get("/v1/log/head").await?;
    let head = client.head(&bundle, None).await?;
    match args.json {
        true => output::json(&head),
        false => verdicts::print_head(&head),
    }
    Ok(0)
}

async fn show(host: &Host, args: &LogShowArgs) -> Result<u8, Failure> {
    let mut client = LogClient::of(host, &args.server)?;
    let bundle = client.get(&format!("/v1/log/blocks/{}", args.height)).await?;
    let block = client.block(&bundle, args.height).await?;
    match args.server.json {
        true => output::json(&block),
        false => verdicts::print_block(&block),
    }
    Ok(0)
}

async fn prove(host: &Host, args: &LogProveArgs) -> Result<u8, Failure> {
    let place = BundleFile::new(args.output.as_deref(), args.force)?;
    let mut client = LogClient::of(host, &args.server)?;
    let bundle = client.get(&format!("/v1/log/ops/{}", args.op.to_hex())).await?;
    let op = client.op(&bundle, args.op).await?;
    keep(&place, &bundle)?;
    match args.server.json {
        true => output::json(&place.named(&op)?),
        false => verdicts::print_op(&op),
    }
    Ok(0)
}

/// As `vouch log note`, but says nothing about attempts before the log runs: it starts a moment after the committee is founded. Returns the
/// note's op.
pub(super) async fn note_when_ready(host: &Host, args: &LogNoteArgs) -> Result<OpId, Failure> {
    note_through(LogClient::of(host, &args.server)?.quiet(), args).await
}

async fn note(host: &Host, args: &LogNoteArgs) -> Result<u8, Failure> {
    note_through(LogClient::of(host, &args.server)?, args).await?;
    Ok(0)
}

async fn note_through(mut client: LogClient<'_>, args: &LogNoteArgs) -> Result<OpId, Failure> {
    let place = BundleFile::new(args.output.as_deref(), args.force)?;
    let host = client.host;
    let text = args.text.as_bytes().to_vec();
    let too_long = format!("a note has at most {MAX_OP_BODY} bytes, got {}", text.len());
    let expires_at = host.unix_seconds().saturating_add(OP_LIFETIME);
    let op = Op::new(Notes::NOTE, host.random(), expires_at, text).map_err(|_| Failure::new(too_long))?;
    let bundle = client.submit(&op).await?;
    let cluster = client.trusted(&bundle);
    // Whatever cluster it is of: the identity of an op covers it, and `op` checks it against the trusted one.
    let wanted = cluster.map(|cluster| op.id(&cluster)).ok_or_else(|| client.not_a_bundle("an op"))?;
    let shown = client.op(&bundle, wanted).await?;
    keep(&place, &bundle)?;
    let Some(effect) = &shown.effect_text else {
        return Err(Failure::new(format_args!(
            "expected a note's number as the effect of op {}, got other bytes",
            shown.id
        )));
    };
    if args.server.json {
        let mut json = place.named(&shown)?;
        json["note"] = effect.as_str().into();
        output::json(&json);
        return Ok(shown.id);
    }
    output::line(format_args!(
        "{effect}: op {}, in block {} of {}, certified by {} of {} members of cluster {}",
        shown.id,
        shown.height,
        output::time(shown.time),
        shown.signers,
        shown.members,
        shown.cluster
    ));
    Ok(shown.id)
}

/// Writes the bundle of an op, if the user named a file.
fn keep(place: &BundleFile<'_>, bundle: &[u8]) -> Result<(), Failure> {
    place.write(bundle).map_err(|error| {
        Failure::new(format_args!("the op is in the log, but its bundle could not be written: {error}"))
            .with_note("Get it again with: vouch log prove OP -o FILE")
    })
}
