//! The server's port: HTTP/1.1, of which one path becomes a WebSocket.

mod access;
mod bearer;
mod blob_context;
mod blobs;
mod caller;
mod certificates;
mod cluster;
mod download;
mod encoded_bundle;
mod get;
mod log;
mod page;
mod places;
mod problem;
mod put;
mod ranges;
mod reply;
mod router;
mod upgrade;
mod upload;
mod watched;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc;
use tokio_io_timeout::TimeoutStream;
use vouch_core::link::Role;
use vouch_core::message::Code;

use super::TICK;
use super::client_link::{self, ClientLinkContext};
use super::ending::{ClientPresence, Ending, LastPuts};
use super::guard::{self, Connection, Guard};
use super::replica_link::{self, ReplicaLinkContext};
use super::reports::{Event, ServerReports};
use super::welcome::{self, HandshakeContext};
use crate::host::Host;
use crate::host::net::{Io, Listener};
use crate::host::tasks::{JoinSet, MissedTickBehavior};
use crate::link::{self, LinkReader, LinkWriter};
use crate::metrics::ServerCounters;
use crate::notices::Notice;
use crate::pulse::PulseAnswers;
use crate::tls::{Accepted, ServerTls};
pub(super) use blob_context::BlobContext;
pub(super) use certificates::CertificateContext;
pub(super) use log::LogContext;
use places::Places;
use problem::Problem;
use reply::Body;
pub(super) use router::RequestContext;
use upgrade::Upgrade;
use watched::Watched;

/// Timeout of a request's headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Maximum size of a request's headers in bytes.
const HEADER_BYTES: usize = 16 << 10;
/// Pause after an error of the listening socket, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Number of connections evicted after such an error: other parts of the process need file descriptors as well.
const SHED: usize = 8;
/// Interval between checks for a report about limited addresses.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What the connections to the server's port use.
pub(super) struct PortContext {
    pub(super) host: Host,
    pub(super) guard: Arc<Guard>,
    pub(super) reports: Arc<ServerReports>,
    pub(super) counters: ServerCounters,
    /// How long a connection may take no bytes while the server has some to send.
    pub(super) reader_silence: Duration,
    /// How long a server that is asked to stop finishes puts.
    pub(super) stop_timeout: Duration,
    pub(super) ending: Arc<Ending>,
    /// If the port speaks TLS.
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) requests: RequestContext,
    pub(super) handshakes: HandshakeContext,
    pub(super) client_links: ClientLinkContext,
    pub(super) replica_links: ReplicaLinkContext,
}

/// Accepts connections until `shutdown` completes. Then finishes the puts in progress; new connections are told that the server stops.
pub(super) async fn serve(
    context: Arc<PortContext>,
    listener: Box<dyn Listener>,
    shutdown: impl Future<Output = ()>,
    mut answers: PulseAnswers,
) -> io::Result<()> {
    let host = &context.host;
    let mut connections = JoinSet::new();
    let mut reports = context.host.interval(REPORT_EVERY);
    reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let failures = Notice::default();
    tokio::pin!(shutdown);
    let mut last_puts = None;
    let mut ticks = host.interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Evicted connections still have their file descriptors.
        let may_accept = context.guard.connections.leaving() <= guard::CLOSING;
        tokio::select! {
            biased;
            () = &mut shutdown, if last_puts.is_none() => {
                if context.stop_timeout.is_zero() {
                    break;
                }
                last_puts = Some(LastPuts::begin(&context.ending, host.monotonic(), context.stop_timeout));
            }
            _ = ticks.tick(), if last_puts.is_some() => {
                let last_puts = last_puts.as_mut();
                match last_puts.and_then(|puts| puts.check(&context.ending, &context.guard, host.monotonic())) {
                    None => {}
                    Some(0) => break,
                    Some(puts) => {
                        let text = format!("stopped before every put was finished; their number: {puts}");
                        context.reports.report(Event::Trouble(text));
                        break;
                    }
                }
            }
            () = answers.answer() => {}
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = reports.tick() => {
                if let Some(line) = context.guard.report() {
                    context.reports.report(Event::Limited(line));
                }
            }
            accepted = listener.accept(), if may_accept => match accepted {
                Ok((stream, from)) => {
                    // Drop the connection without an answer, which would cost the resource that is exhausted.
                    if let Ok(place) = context.guard.accept(from.ip()) {
                        connections.spawn(connection(context.clone(), stream, place));
                    }
                }
                Err(error) => {
                    let text = format!("cannot accept a connection: {error}");
                    if let Some(line) = failures.line(context.host.monotonic(), &text) {
                        context.reports.report(Event::Trouble(line));
                    }
                    (0..SHED).for_each(|_| context.guard.connections.shed());
                    context.host.sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
    Ok(())
}

async fn connection(context: Arc<PortContext>, stream: Box<dyn Io>, place: Arc<Connection>) {
    let mut stream = TimeoutStream::new(stream);
    // Evict a peer that does not read: otherwise it would hold the connection indefinitely.
    stream.set_write_timeout(Some(context.reader_silence));
    let accepted = async {
        let io: Box<dyn Io> = Box::new(Box::pin(stream));
        match &context.tls {
            Some(tls) => tls.accept(io).await.ok(),
            None => Some(Accepted { io, exporter: None }),
        }
    };
    let accepted = tokio::select! {
        biased;
        () = place.until_cut_off() => None,
        accepted = accepted => accepted,
    };
    // The error is the peer's, and it got an alert.
    let Some(Accepted { io, exporter }) = accepted else { return };
    let presence = context.ending.client();
    let mut ending = context.ending.follow();
    let is_link = Arc::new(AtomicBool::new(false));
    let places = Places::new(place.clone());
    let traffic = context.counters.traffic();
    let stream = Watched { io, places: places.clone(), is_link: is_link.clone(), traffic };
    let (upgraded, mut upgrades) = mpsc::channel(1);
    let service = service_fn(|request| {
        let (context, upgraded, accepted, places) = (context.clone(), upgraded.clone(), place.clone(), places.clone());
        async move { Ok::<_, Infallible>(answer(&context, request, &upgraded, &accepted, &places).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(served);
    loop {
        tokio::select! {
            biased;
            () = places.until_cut_off() => return,
            // The request in progress is answered. An idle connection is closed.
            Ok(()) = ending.changed() => served.as_mut().graceful_shutdown(),
            // The error is the peer's: a malformed request or a lost connection. hyper has answered it if possible.
            _ = &mut served => break,
        }
    }
    if let Ok(Upgrade { on_upgrade, has_origin }) = upgrades.try_recv()
        && let Ok(io) = on_upgrade.await
    {
        let place = places.current();
        // From here on, the link records progress.
        is_link.store(true, Ordering::Relaxed);
        let link = link::accepted(Box::new(TokioIo::new(io)), exporter, context.guard.allowance(&place)).await;
        Box::pin(serve_link(&context, link, has_origin, place, presence)).await;
    }
}

/// Answers a request, for its client if a trusted proxy passed it on.
async fn answer(
    context: &PortContext,
    request: Request<Incoming>,
    upgraded: &mpsc::Sender<Upgrade>,
    accepted: &Connection,
    places: &Places,
) -> Response<Body> {
    let mut is_tls = context.tls.is_some();
    match context.guard.forwarded(accepted, &places.current(), request.headers()) {
        None => {}
        Some(Ok((forwarded, place))) => {
            is_tls |= forwarded.is_tls;
            places.replace(place);
        }
        Some(Err(_)) => {
            let detail = "too many connections; try again later";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy.slug(), detail).response();
        }
    }
    router::answer(&context.requests, request, is_tls, upgraded, places.current()).await
}

/// Serves a link until it ends.
async fn serve_link(
    context: &PortContext,
    link: (LinkReader, LinkWriter),
    has_origin: bool,
    place: Arc<Connection>,
    presence: ClientPresence,
) {
    let welcomed = tokio::select! {
        biased;
        () = place.until_cut_off() => None,
        welcomed = welcome::welcome(&context.handshakes, link, has_origin) => welcomed,
    };
    let Some(welcomed) = welcomed else { return };
    let _open = context.counters.link_opened(welcomed.hello.role);
    match welcomed.hello.role {
        Role::Replica => {
            drop(presence);
            replica_link::run(&context.replica_links, welcomed, place).await;
        }
        Role::Client | Role::Server => client_link::run(&context.client_links, welcomed, place).await,
    }
}
