//! The server's port: HTTP/1.1, of which one path becomes a WebSocket.

use std::convert::Infallible;
use std::future::Future;
use std::io;
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vouch_core::link::Role;

use super::{Event, Shared, client_link, replica_link, welcome};
use crate::host::net::{TcpListener, TcpStream};
use crate::host::tasks::{self, JoinSet};
use crate::link;

/// A request's headers must be there by then.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// The most bytes of headers.
const HEADER_BYTES: usize = 16 << 10;
/// After an error of the socket itself (no file descriptors left, say), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PLACEHOLDER: &str = include_str!("../../../web/index.html");

/// Accepts connections until `shutdown` completes.
pub(super) async fn serve(
    shared: Arc<Shared>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(shared.config.max_links));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // with no room left the connection is dropped: answering would cost what there is none of
                    if let Ok(permit) = room.clone().try_acquire_owned() {
                        connections.spawn(connection(shared.clone(), stream, permit));
                    }
                }
                Err(error) => {
                    shared.report(Event::Trouble(format!("cannot accept a connection: {error}")));
                    tasks::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
    Ok(())
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, permit: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    let (upgraded, mut upgrades) = tokio::sync::mpsc::channel(1);
    let service = service_fn(move |request| {
        let upgraded = upgraded.clone();
        async move { Ok::<_, Infallible>(answer(request, &upgraded)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // an error here is the peer's: a broken request or connection, answered where it could be
    let _ = served.await;
    if let Ok(Upgrade { on_upgrade, has_origin }) = upgrades.try_recv()
        && let Ok(io) = on_upgrade.await
    {
        serve_link(shared, Box::new(TokioIo::new(io)), has_origin).await;
    }
    drop(permit);
}

/// Serves a link to its end.
async fn serve_link(shared: Arc<Shared>, io: Box<dyn link::Io>, has_origin: bool) {
    let Some(welcomed) = welcome::welcome(&shared, io, has_origin).await else { return };
    match welcomed.hello.role {
        Role::Replica => replica_link::run(shared, welcomed).await,
        Role::Client | Role::Server => client_link::run(shared, welcomed).await,
    }
}

/// A connection that becomes a link.
struct Upgrade {
    on_upgrade: hyper::upgrade::OnUpgrade,
    /// A browser's; it can only be a client.
    has_origin: bool,
}

fn answer(mut request: Request<Incoming>, upgraded: &tokio::sync::mpsc::Sender<Upgrade>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, link::PATH) => {
            let headers = request.headers();
            let Some(key) = websocket_key(headers) else {
                return text(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket, version 13");
            };
            let accept = link::accept_key(key.as_bytes());
            let origin = headers.get(header::ORIGIN);
            if origin.is_some_and(|origin| !same_origin(origin, headers.get(header::HOST))) {
                return text(StatusCode::FORBIDDEN, "pages of another origin may not open links here");
            }
            let has_origin = origin.is_some();
            let named = names_subprotocol(headers);
            let on_upgrade = hyper::upgrade::on(&mut request);
            if upgraded.try_send(Upgrade { on_upgrade, has_origin }).is_err() {
                return text(StatusCode::BAD_REQUEST, "one upgrade for a connection");
            }
            switching(&accept, named)
        }
        (&Method::GET | &Method::HEAD, "/healthz") => text(StatusCode::OK, "ok"),
        (&Method::GET | &Method::HEAD, "/") => {
            let mut response = text(StatusCode::OK, PLACEHOLDER);
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, html);
            let policy = HeaderValue::from_static("default-src 'none'; style-src 'self'; frame-ancestors 'none'");
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
        (_, link::PATH | "/healthz" | "/") => text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here"),
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The key of a well-formed WebSocket request (RFC 6455 section 4.2.1).
fn websocket_key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is_upgrade = has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)
}

fn names_subprotocol(headers: &HeaderMap) -> bool {
    has_token(headers, header::SEC_WEBSOCKET_PROTOCOL, link::SUBPROTOCOL)
}

/// Whether a page was served by this very host and port.
fn same_origin(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else { return false };
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

fn switching(accept: &str, with_subprotocol: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if with_subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(link::SUBPROTOCOL));
    }
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
