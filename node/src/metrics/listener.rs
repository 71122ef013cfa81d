//! The listener of the metrics: HTTP/1.1 with one path. It is separate from the server's port, whose clients are not operators.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::MetricsSource;
use crate::budgets::{Party, Pool, Rules};
use crate::host::Host;
use crate::host::net::{Io, Listener};
use crate::host::tasks::JoinSet;
use crate::tls::ServerTls;

/// The path of the metrics.
const PATH: &str = "/metrics";
/// OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// The text format of Prometheus, for programs that do not ask for OpenMetrics.
const TEXT_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Maximum number of connections. A further one closes the oldest of its address, or of the address that has most.
const MAX_CONNECTIONS: u64 = 16;
/// Maximum number of connections that gave way and are not closed yet. Accept no faster: otherwise the pool would refuse the newest.
const LEAVING: u64 = MAX_CONNECTIONS / 8;
/// Timeout of a request's headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);
/// Maximum size of a request's headers in bytes.
const HEADER_BYTES: usize = 8 << 10;
/// Timeout of a connection: it serves one request. Prometheus waits ten seconds by default.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);
/// Pause after an error of the listening socket, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections share.
struct Context {
    host: Host,
    source: Arc<dyn MetricsSource>,
    tls: Option<Arc<ServerTls>>,
    /// One scrape at a time: each reads the state of the whole node.
    turn: tokio::sync::Mutex<()>,
}

/// Serves the metrics of `source`. Never completes.
pub async fn serve(
    host: Host,
    listener: Box<dyn Listener>,
    tls: Option<Arc<ServerTls>>,
    source: Arc<dyn MetricsSource>,
) {
    let context = Arc::new(Context { host: host.clone(), source, tls, turn: tokio::sync::Mutex::default() });
    let rules = Rules {
        limit: MAX_CONNECTIONS,
        limit_of_one: MAX_CONNECTIONS,
        stale_after: Duration::ZERO,
        cut_off: "scrapes closed",
        refused: "scrapes refused",
    };
    let pool = Pool::new(host.clone(), rules, Arc::default());
    let mut connections = JoinSet::new();
    loop {
        let may_accept = pool.leaving() <= LEAVING;
        tokio::select! {
            biased;
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if may_accept => match accepted {
                Ok((stream, from)) => accept(&context, &pool, &mut connections, stream, from),
                Err(_) => host.sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

fn accept(
    context: &Arc<Context>,
    pool: &Arc<Pool>,
    connections: &mut JoinSet<()>,
    stream: Box<dyn Io>,
    from: SocketAddr,
) {
    let party = Party::new(from.ip().into());
    let Ok(permit) = pool.claim(&party, 1) else { return };
    let context = context.clone();
    connections.spawn(async move {
        let _permit = permit;
        let serving = context.host.timeout(CONNECTION_DEADLINE, connection(&context, stream));
        tokio::select! {
            biased;
            () = party.until_cut_off() => {}
            _ = serving => {}
        }
    });
}

async fn connection(context: &Arc<Context>, stream: Box<dyn Io>) {
    let io = match &context.tls {
        // The error is the peer's, and it got an alert.
        Some(tls) => match tls.accept(stream).await {
            Ok(accepted) => accepted.io,
            Err(_) => return,
        },
        None => stream,
    };
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(context, &request).await) });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .await;
    // The error is the peer's: a malformed request or a lost connection. hyper has answered it if possible.
    drop(served);
}

/// Answers a request. Nothing but the metrics can be read here.
async fn answer(context: &Context, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH || request.method() != Method::GET {
        return respond(StatusCode::NOT_FOUND, PLAIN, format!("only GET {PATH} is here\n"));
    }
    let registry = {
        let _turn = context.turn.lock().await;
        context.source.metrics().await
    };
    match page(&registry, wants_open_metrics(request.headers())) {
        Ok((media_type, page)) => respond(StatusCode::OK, media_type, page),
        Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{error}\n")),
    }
}

fn respond(status: StatusCode, media_type: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The metrics in one of the two formats, with its media type.
fn page(registry: &Registry, is_open_metrics: bool) -> Result<(HeaderValue, String), std::fmt::Error> {
    let mut page = String::new();
    match is_open_metrics {
        true => text::encode(&mut page, registry)?,
        false => prometheus_text::encode(&mut page, registry)?,
    }
    Ok((if is_open_metrics { OPEN_METRICS_TYPE } else { TEXT_TYPE }, page))
}

/// Whether the client names the media type of OpenMetrics. Prometheus does.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut ranges =
        accepted.flat_map(|value| value.split(',')).map(|range| range.split(';').next().unwrap_or_default());
    ranges.any(|range| range.trim().eq_ignore_ascii_case(OPEN_METRICS))
}
