//! What a server or a replica reports while it runs: turns events into lines with time and level.

use std::fmt;
use std::sync::OnceLock;

use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Failure, output, streams};
use crate::{durable, replica, server};
use vouch_core::message::ReplicaStatus;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// Time, level and message.
    Text,
    /// One JSON object on each line.
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Starts logging to standard error. From now on, all output of this process goes through background writers. `RUST_LOG` sets the
/// level.
///
/// # Errors
/// `RUST_LOG` is malformed, or the system cannot start a thread.
pub(super) fn start(format: LogFormat) -> Result<(), Failure> {
    // Libraries log at level info what no operator needs.
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn,vouch=info".into());
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(wanted).map_err(|error| {
            Failure::new(format_args!(
                "RUST_LOG: {error}; expected a level such as debug, or filters such as info,vouch=debug"
            ))
        })?;
    let dropped = |lines: u64| warn!("{lines} lines were dropped, because nobody read them");
    let streams = streams::start(dropped).map_err(Failure::new)?;
    FORMAT.get_or_init(|| format);
    let lines = tracing_subscriber::fmt::layer().with_writer(move || &streams.stderr).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => registry.with(lines.with_target(false)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    started.map_err(Failure::new)?;
    // The default hook would write to standard error directly.
    std::panic::set_hook(Box::new(|panic| {
        if !durable::is_catching() {
            error!("{}", text(format_args!("{panic}")));
        }
    }));
    Ok(())
}

/// Logs why the command ends if the log's format is JSON; otherwise returns `false`.
pub(super) fn failure(message: &str) -> bool {
    let is_json = FORMAT.get() == Some(&LogFormat::Json);
    if is_json {
        error!("{}", text(format_args!("{message}")));
    }
    is_json
}

/// Escapes a message to one line: otherwise a name or a reason with a line feed could forge a log line.
fn text(message: fmt::Arguments<'_>) -> String {
    output::harmless(&message.to_string())
}

/// The service was asked to stop.
pub(super) fn stopping(what: fmt::Arguments<'_>) {
    info!("{}", text(what));
}

/// A failure around the service.
pub(super) fn trouble(what: fmt::Arguments<'_>) {
    error!("{}", text(what));
}

pub(super) fn server(event: &server::Event) {
    match event {
        server::Event::Joined(name, status, connected) => {
            info!("{}", text(format_args!("{name} joined ({status}); {connected} connected")));
        }
        server::Event::Left(name, why) => warn!("{}", text(format_args!("{name} left: {why}"))),
        server::Event::Formed(committee) => info!(
            "the committee of cluster {} was founded by {}",
            committee.cluster(),
            output::count(committee.record().n().into(), "replica")
        ),
        server::Event::NewEpoch(committee) => info!(
            "epoch {} of the cluster has begun, with {}; {}",
            committee.record().epoch(),
            output::count(committee.record().n().into(), "member"),
            server::tolerance(committee)
        ),
        server::Event::Certified(certificate) => info!(
            "certified {}, {}, by {} of {}",
            certificate.claim.receipt.digest,
            output::bytes(certificate.claim.receipt.length),
            certificate.signers.count(),
            certificate.signers.n()
        ),
        server::Event::Learned(name, certificates) => {
            info!(
                "{}",
                text(format_args!("learned {} from {name}", output::count(*certificates as u64, "certificate")))
            );
        }
        server::Event::LeftOut(what) => warn!("{}", text(format_args!("{what}"))),
        server::Event::Certificate(what) => info!("{}", text(format_args!("{what}"))),
        server::Event::Limited(what) => warn!("{}", text(format_args!("{what}"))),
        server::Event::Founding(what) => info!("{}", text(format_args!("founding: {what}"))),
        server::Event::Refused(what) => warn!("{}", text(format_args!("{what}"))),
        server::Event::Trouble(what) => error!("{}", text(format_args!("{what}"))),
    }
}

pub(super) fn replica(event: &replica::Event) {
    match event {
        replica::Event::Connected(server) => info!("{}", text(format_args!("connected to {server}"))),
        replica::Event::Disconnected(server, why) => {
            warn!("{}", text(format_args!("not connected to {server}: {why}; trying again")));
        }
        replica::Event::RefusedForGood(server, why) => {
            warn!("{}", text(format_args!("refused by {server}: {why}; trying again every minute")));
        }
        replica::Event::ReplicaStatus(server, ReplicaStatus::Waiting, detail) if !detail.is_empty() => {
            info!("{}", text(format_args!("{server} waits: {detail}")));
        }
        // reported by the events `Member`, `Waiting` and `Standby`
        replica::Event::ReplicaStatus(..) => {}
        replica::Event::Founding(what) => info!("{}", text(format_args!("founding: {what}"))),
        replica::Event::Member(committee, position) => {
            info!("member {} of {} of cluster {}", position + 1, committee.record().n(), committee.cluster());
        }
        replica::Event::Waiting => info!("waiting for the committee to form"),
        replica::Event::Standby(cluster) => {
            info!("standby: the committee of cluster {cluster} is complete; waiting until membership can change")
        }
        replica::Event::Stored(digest, length) => info!("stored {digest}, {}", output::bytes(*length)),
        replica::Event::Voted(proposal) => {
            debug!("voted for {}", output::count(proposal.receipts.len() as u64, "blob"))
        }
        replica::Event::Log(what) => info!("log: {}", text(format_args!("{what}"))),
        replica::Event::Adopted(blobs, bytes) => {
            let blobs = output::count(*blobs, "blob");
            info!("found {blobs} on the disk that were missing in the index, {}", output::bytes(*bytes));
        }
        replica::Event::Collected(blobs, bytes) => {
            info!("deleted {} that had expired, {}", output::count(*blobs, "blob"), output::bytes(*bytes));
        }
        replica::Event::Damaged(_, what) => error!("{}", text(format_args!("{what}"))),
        replica::Event::LeftOut(what) => warn!("{}", text(format_args!("{what}"))),
        replica::Event::ClockInDoubt(why) => {
            let next = "it signs and deletes nothing until the clock agrees with the other replicas; set the clock of this computer";
            error!("{}", text(format_args!("the clock of this replica is in doubt: {why}; {next}")));
        }
        replica::Event::ClockTrusted(how) => {
            info!(
                "{}",
                text(format_args!("the clock of this replica is right again: {how}; it signs and deletes as before"))
            );
        }
        replica::Event::Refused(what) => warn!("{}", text(format_args!("refused: {what}"))),
        replica::Event::Trouble(what) => error!("{}", text(format_args!("{what}"))),
    }
}
