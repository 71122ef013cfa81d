//! The upgrade of a connection to a WebSocket (RFC 6455 section 4.2).

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::caller::Caller;
use super::problem::Problem;
use super::reply::{self, Body, has_token};
use crate::link;

/// A connection that is being upgraded to a link.
pub(super) struct Upgrade {
    pub(super) on_upgrade: hyper::upgrade::OnUpgrade,
    /// Whether the request is from a browser's page. Its link must be a client's.
    pub(super) has_origin: bool,
}

pub(super) fn switch(
    mut request: Request<()>,
    caller: &Caller,
    upgraded: &mpsc::Sender<Upgrade>,
) -> Result<Response<Body>, Problem> {
    let key = websocket_key(request.headers()).map(|key| link::accept_key(key.as_bytes()));
    let Some(accept) = key else {
        let detail = "this path speaks WebSocket, version 13";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", detail));
    };
    caller.admit()?;
    let has_origin = *caller != Caller::Program;
    let names_subprotocol = has_token(request.headers(), header::SEC_WEBSOCKET_PROTOCOL, link::SUBPROTOCOL);
    let on_upgrade = hyper::upgrade::on(&mut request);
    if upgraded.try_send(Upgrade { on_upgrade, has_origin }).is_err() {
        return Err(Problem::bad_request("one upgrade for a connection"));
    }
    let mut response = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    reply::insert(headers, header::SEC_WEBSOCKET_ACCEPT, &accept);
    if names_subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(link::SUBPROTOCOL));
    }
    Ok(response)
}

/// The key of a well-formed WebSocket request (RFC 6455 section 4.2.1).
fn websocket_key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let is_upgrade = has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_upgrade)
}
