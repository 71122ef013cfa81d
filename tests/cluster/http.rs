//! Connections to the server's port that are not valid links.

use std::time::{Duration, Instant};

use support::http;
use support::in_process::InProcess;
use support::raw_link::RawLink;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use vouch::link::SUBPROTOCOL;
use vouch_core::link::{Hello, NodeKey, Role};
use vouch_core::message::{Code, Message};

/// Sends `request` and returns everything received until the connection ends.
async fn exchange(address: &str, request: &str) -> String {
    String::from_utf8_lossy(&http::exchange(address, request.as_bytes()).await).into_owned()
}

fn upgrade(headers: &str) -> String {
    format!(
        "GET /v1/link HTTP/1.1\r\nHost: here\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_disconnected() {
    let cluster = InProcess::start(1).await;
    for garbage in ["\0\0\0\0 garbage\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = exchange(cluster.address(), garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    // few enough bytes that the server reads them all: unread bytes would reset the connection
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat((16 << 10) - 19));
    let answer = exchange(cluster.address(), &long).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    cluster.put(b"unharmed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_header_is_disconnected() {
    let cluster = InProcess::start(1).await;
    let began = Instant::now();
    let mut stream = TcpStream::connect(cluster.address()).await.unwrap();
    let mut buffer = [0; 1024];
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    loop {
        let dripped = stream.write_all(b"x").await;
        match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) if dripped.is_err() => break,
            Err(_) => assert!(began.elapsed() < Duration::from_secs(60), "slow bytes keep a connection"),
        }
    }
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    cluster.put(b"unharmed").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_disconnected() {
    let cluster = InProcess::start(1).await;
    let (began, mut silent) = (Instant::now(), TcpStream::connect(cluster.address()).await.unwrap());
    let mut upgraded = RawLink::open(cluster.address()).await;
    let mut answer = Vec::new();
    let nothing = tokio::time::timeout(Duration::from_secs(60), silent.read_to_end(&mut answer));
    let (nothing, failed) = tokio::join!(nothing, upgraded.refused());
    assert!(nothing.is_ok(), "a connection without a request");
    assert_eq!(failed.code, Code::TimedOut, "{failed}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_another_origin_cannot_open_links() {
    let cluster = InProcess::start(1).await;
    let address = cluster.address();
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://here.evil.example", ""] {
        match RawLink::open_with(address, &[("origin", origin)]).await {
            Err(WsError::Http(response)) => assert_eq!(response.status(), 403, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
    // the server's own pages may open links, as clients only
    let own = format!("http://{address}");
    let (mut link, _) = RawLink::open_with(address, &[("origin", &own)]).await.unwrap();
    link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
    let (mut link, _) = RawLink::open_with(address, &[("origin", &own)]).await.unwrap();
    link.send(&Message::Hello(Hello::new(Role::Replica, None, NodeKey([1; 32]), [0; 32]))).await;
    assert_eq!(link.refused().await.code, Code::Unexpected);
}

#[tokio::test(flavor = "multi_thread")]
async fn subprotocol_is_echoed_when_requested() {
    let cluster = InProcess::start(1).await;
    let (mut link, response) = RawLink::open_with(cluster.address(), &[]).await.unwrap();
    assert!(response.headers().get("sec-websocket-protocol").is_none());
    link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
    let (_, response) =
        RawLink::open_with(cluster.address(), &[("sec-websocket-protocol", SUBPROTOCOL)]).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
}

#[tokio::test(flavor = "multi_thread")]
async fn non_upgrade_requests_to_the_link_path_are_refused() {
    let cluster = InProcess::start(1).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    for (request, status) in [
        (get("/healthz"), 200),
        (get("/"), 200),
        (get("/v1/link"), 426),
        (get("/nothing"), 404),
        ("POST /v1/link HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(), 405),
        (upgrade("").replace("Version: 13", "Version: 8").replace("close, Upgrade", "close"), 426),
    ] {
        let answer = exchange(cluster.address(), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
}
