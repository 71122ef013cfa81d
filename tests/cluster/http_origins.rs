//! Which origins may put, and which may read.

use support::http::{Answer, blob, get, put, request};
use support::in_process::InProcess;
use support::raw_link::RawLink;
use tokio_tungstenite::tungstenite::Error as WsError;
use vouch_core::link::{NodeKey, Role};

const FRIEND: &str = "https://vouch.example";

async fn with_friend() -> InProcess {
    let cluster = InProcess::start_with(1, |config| config.allowed_origins = vec![FRIEND.parse().unwrap()]).await;
    assert_eq!(put(cluster.address(), b"letter").await.status, 201, "a program has no origin");
    cluster
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn only_own_and_allowed_origins_may_put() {
    let cluster = with_friend().await;
    let address = cluster.address();
    let port = port(address);
    let own = |host: &str| (format!("{host}:{port}"), format!("http://{host}:{port}"));
    let (by_ip, by_name, by_rebound) = (own("127.0.0.1"), own("localhost"), own("evil.example"));
    for (host, origin, may) in [
        (address, by_ip.1.as_str(), true),
        (&by_name.0, &by_name.1, true),
        (address, FRIEND, true),
        ("vouch.example", FRIEND, true),
        // DNS rebinding: a foreign name that resolves here; the browser treats it as the same origin
        (&by_rebound.0, &by_rebound.1, false),
        (address, &by_name.1, false),
        (address, "http://127.0.0.1:1", false),
        (address, &by_ip.1.replace("http:", "https:"), false),
        (address, "http://vouch.example", false),
        (address, "https://vouch.example.evil.example", false),
        (address, "http://evil.example", false),
        (address, "null", false),
        (address, "", false),
    ] {
        let headers = [("Host", host), ("Origin", origin)];
        let answer = request(address, "PUT", "/v1/blobs", &headers, b"by a page").await;
        let got = (answer.status, answer.header("access-control-allow-origin"));
        let expected = (if may { 201 } else { 403 }, (origin == FRIEND).then_some(FRIEND));
        assert_eq!(got, expected, "Host: {host}, Origin: {origin}");
        if !may {
            assert_eq!(answer.problem(), "origin-not-allowed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_own_and_allowed_origins_may_open_links() {
    let cluster = with_friend().await;
    let address = cluster.address();
    let rebound = format!("evil.example:{}", port(address));
    let (mut link, _) = RawLink::open_with(address, &[("origin", FRIEND)]).await.unwrap();
    link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
    for (host, origin) in [(rebound.as_str(), format!("http://{rebound}")), (address, "null".into())] {
        match RawLink::open_with(address, &[("host", host), ("origin", &origin)]).await {
            Err(WsError::Http(response)) => assert_eq!(response.status(), 403, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxed_page_needs_the_null_origin_allowed() {
    let cluster = InProcess::start_with(1, |config| config.allowed_origins = vec!["null".parse().unwrap()]).await;
    let answer = request(cluster.address(), "PUT", "/v1/blobs", &[("Origin", "null")], b"by a file").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (201, Some("null")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_origins_may_read() {
    let cluster = with_friend().await;
    let address = cluster.address();
    let ask = async |origin: &'static str, path: &str| request(address, "GET", path, &[("Origin", origin)], b"").await;
    let cors = |answer: &Answer| answer.headers.iter().filter(|(name, _)| name.starts_with("access-control-")).count();
    let blob = blob(b"letter");
    let certificate = blob.replace("blobs", "certificates");
    for path in [&blob, &certificate, "/v1/cluster", "/v1/nothing", "/v1/blobs/not-a-digest"] {
        let friend = ask(FRIEND, path).await;
        assert_eq!(friend.header("access-control-allow-origin"), Some(FRIEND), "{path}");
        assert_eq!(
            friend.header("access-control-expose-headers"),
            Some("ETag, Location, Content-Length, Content-Range, Accept-Ranges")
        );
        assert_eq!(friend.header("access-control-allow-credentials"), None);
        for answer in [ask("http://evil.example", path).await, get(address, path).await] {
            assert_eq!(cors(&answer), 0, "{path}: {:?}", answer.headers);
            assert_eq!(answer.header("vary"), Some("origin"), "or a cache would mix them up");
            assert_eq!(answer.status, friend.status);
        }
    }
    let policy = "cross-origin-resource-policy";
    assert_eq!(ask(FRIEND, &blob).await.header(policy), Some("cross-origin"));
    assert_eq!(ask("http://evil.example", &blob).await.header(policy), Some("same-origin"));
    // scripts of other origins may not read the page or the monitoring endpoints
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(cors(&ask(FRIEND, path).await), 0, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn preflight_requests_are_answered() {
    let cluster = with_friend().await;
    let address = cluster.address();
    let ask = async |origin: &str, path: &str| {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "PUT")];
        request(address, "OPTIONS", path, &headers, b"").await
    };
    let friend = ask(FRIEND, "/v1/blobs").await;
    assert_eq!((friend.status, friend.body.len()), (204, 0));
    assert_eq!(friend.header("access-control-allow-origin"), Some(FRIEND));
    assert_eq!(friend.header("access-control-allow-methods"), Some("PUT, OPTIONS"));
    assert_eq!(
        friend.header("access-control-allow-headers"),
        Some("Authorization, Content-Type, If-None-Match, Range, If-Range")
    );
    assert_eq!(friend.header("access-control-max-age"), Some("600"));
    assert_eq!(ask(FRIEND, "/v1/cluster").await.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS"));
    let evil = ask("http://evil.example", "/v1/blobs").await;
    assert_eq!((evil.status, evil.problem().as_str()), (403, "origin-not-allowed"));
    assert_eq!(evil.header("access-control-allow-origin"), None);
}
