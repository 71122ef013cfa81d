//! Connections from members, which no HTTP server accepts: the upgrade to a WebSocket, and nothing else.

use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};

use super::{
    ACCEPTED_READ, Allowance, HANDSHAKE_DEADLINE, Io, LinkError, LinkReader, LinkWriter, Meter, Metered, SUBPROTOCOL,
};
use super::{config, split};

/// The path of the WebSocket on a replica, for other members.
pub const MEMBER_PATH: &str = "/v1/peer";

/// Accepts a connection from somebody who may be a member. The request's headers count as bytes before the hello.
///
/// # Errors
/// It is no such request, or it did not come in time.
pub async fn accept_member(io: Box<dyn Io>, allowance: Allowance) -> Result<(LinkReader, LinkWriter), LinkError> {
    let host = allowance.host.clone();
    let meter = Meter::new(allowance);
    let io: Box<dyn Io> = Box::new(Metered { io, meter: meter.clone() });
    let upgrade = accept_hdr_async_with_config(io, answer, Some(config(ACCEPTED_READ)));
    let socket = host
        .timeout(HANDSHAKE_DEADLINE, upgrade)
        .await
        .map_err(|_| LinkError::Deadline { what: "ask for a WebSocket", after: HANDSHAKE_DEADLINE })?
        .map_err(LinkError::from)?;
    Ok(split(host, socket, None, Some(meter)))
}

/// Agrees to a member's request. Browsers send an origin: no page may talk to a member in a user's name.
#[expect(clippy::result_large_err, reason = "the socket library's callback")]
fn answer(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let refuse = |status| {
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = status;
        refusal
    };
    if request.uri().path() != MEMBER_PATH {
        return Err(refuse(StatusCode::NOT_FOUND));
    }
    if request.headers().contains_key(header::ORIGIN) {
        return Err(refuse(StatusCode::FORBIDDEN));
    }
    let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
    if request.headers().get(header::SEC_WEBSOCKET_PROTOCOL) != Some(&subprotocol) {
        return Err(refuse(StatusCode::BAD_REQUEST));
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::host::Host;
    use crate::link::tests::allowance;

    /// What the accepting end answers to a request, and the error that it gets.
    async fn answered(host: &Host, request: &str) -> (String, Result<(), LinkError>) {
        let (mut here, there) = tokio::io::duplex(16 << 10);
        let accepting = host.spawn({
            let allowance = allowance(host);
            async move { accept_member(Box::new(there), allowance).await.map(drop) }
        });
        // The accepting end may refuse before it has read everything.
        let _ = here.write_all(request.as_bytes()).await;
        let mut text = String::new();
        let _ = here.read_to_string(&mut text).await;
        (text.lines().next().unwrap_or_default().to_owned(), accepting.await.unwrap())
    }

    fn request(path: &str, more: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a:1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{more}\r\n"
        )
    }

    #[tokio::test]
    async fn only_members_requests_are_accepted() {
        let host = Host::system();
        let protocol = format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n");
        let (line, accepted) = answered(&host, &request(MEMBER_PATH, &protocol)).await;
        assert!(accepted.is_ok() && line.starts_with("HTTP/1.1 101"), "{line}, {accepted:?}");
        let origin = format!("{protocol}Origin: http://a:1\r\n");
        let refused = [
            ("404", request("/v1/link", &protocol)),
            ("403", request(MEMBER_PATH, &origin)),
            ("400", request(MEMBER_PATH, "")),
            ("400", request(MEMBER_PATH, "Sec-WebSocket-Protocol: vouch.v2\r\n")),
        ];
        for (status, request) in refused {
            let (line, accepted) = answered(&host, &request).await;
            assert!(accepted.is_err() && line.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {line}");
        }
        let (_, accepted) = answered(&host, "GET / HTTP/1.1\r\nHost: a:1\r\n\r\n").await;
        assert!(accepted.is_err());
    }

    #[tokio::test]
    async fn the_size_of_a_request_is_bounded() {
        let host = Host::system();
        let long = format!("X-Long: {}\r\n", "a".repeat(1 << 20));
        let (line, accepted) = answered(&host, &request(MEMBER_PATH, &long)).await;
        assert!(accepted.is_err() && !line.contains("101"), "{line}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_must_come_in_time() {
        let host = Host::on_runtime_clock();
        let (_here, there) = tokio::io::duplex(16);
        let began = host.monotonic();
        let accepted = accept_member(Box::new(there), allowance(&host)).await.map(drop);
        assert!(matches!(accepted, Err(LinkError::Deadline { .. })), "{accepted:?}");
        assert_eq!((host.monotonic() - began).as_secs(), HANDSHAKE_DEADLINE.as_secs());
    }

    #[tokio::test]
    async fn both_ends_of_a_members_connection_exchange_messages() {
        let host = Host::system();
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepting = host.spawn({
            let host = host.clone();
            async move {
                let (io, _) = listener.accept().await.unwrap();
                accept_member(io, allowance(&host)).await.unwrap()
            }
        });
        let (mut reader, mut writer) = crate::link::dial_member(&host, &address).await.unwrap();
        let (mut other_reader, mut other_writer) = accepting.await.unwrap();
        writer.send("to the other".into()).await.unwrap();
        other_writer.send("and back".into()).await.unwrap();
        assert_eq!(other_reader.next().await.unwrap(), "to the other");
        assert_eq!(reader.next().await.unwrap(), "and back");
        drop((writer, reader));
        let patience = Duration::from_secs(30);
        assert!(host.timeout(patience, other_reader.next()).await.unwrap().is_err());
    }
}
