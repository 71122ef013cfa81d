//! A server behind a proxy that it trusts, and one that trusts none.

use std::time::Duration;

use support::http::{blob, get, put, request};
use support::in_process::InProcess;
use support::raw_link::RawLink;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vouch_core::link::{NodeKey, Role};

/// Connections that one address may hold.
const PLACES: usize = 4;
const PATIENCE: Duration = Duration::from_secs(20);

async fn behind_proxy(is_trusted: bool) -> InProcess {
    let change = |config: &mut vouch::server::ServerConfig| {
        config.max_links = PLACES;
        config.trusted_proxies = if is_trusted { vec!["127.0.0.1".parse().unwrap()] } else { Vec::new() };
    };
    InProcess::start_with(1, change).await
}

/// A connection of a proxy, over which it passes on requests.
struct Passing(TcpStream);

impl Passing {
    async fn open(address: &str) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Passes on a request of this client. Whether the server answered.
    async fn pass(&mut self, client: &str) -> bool {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n");
        let answered = async {
            self.0.write_all(head.as_bytes()).await.ok()?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"ok\n") {
                let mut piece = [0; 1024];
                let count = self.0.read(&mut piece).await.ok().filter(|count| *count > 0)?;
                answer.extend_from_slice(&piece[..count]);
                if answer.starts_with(b"HTTP/1.1 503 ") {
                    return None;
                }
            }
            answer.starts_with(b"HTTP/1.1 200 ").then_some(())
        };
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer or the end").is_some()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_count_for_the_client_that_a_trusted_proxy_names_and_else_for_the_proxy() {
    for is_trusted in [true, false] {
        let cluster = behind_proxy(is_trusted).await;
        let mut quiet = Passing::open(cluster.address()).await;
        assert!(quiet.pass("198.51.100.1").await);
        let mut greedy = Vec::new();
        for _ in 0..2 * PLACES {
            // Refused for a moment while those that it replaces are being closed.
            let passing = loop {
                let mut passing = Passing::open(cluster.address()).await;
                if passing.pass("198.51.100.2").await {
                    break passing;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            greedy.push(passing);
        }
        // The other client took the places of its own connections, or, where all are the proxy's, also of this one.
        assert_eq!(quiet.pass("198.51.100.1").await, is_trusted);
        if is_trusted {
            assert!(!greedy[0].pass("198.51.100.2").await, "its oldest connection was closed");
            // One connection of a proxy serves one client after another.
            assert!(quiet.pass("198.51.100.3").await && quiet.pass("198.51.100.1").await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_under_the_name_of_a_trusted_proxy_that_ends_tls() {
    for (is_trusted, proto, may) in [(true, "https", true), (true, "http", false), (false, "https", false)] {
        let cluster = behind_proxy(is_trusted).await;
        let address = cluster.address();
        assert_eq!(put(address, b"by a program").await.status, 201);
        let headers = [
            ("host", "vouch.example"),
            ("origin", "https://vouch.example"),
            ("x-forwarded-proto", proto),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        let answer = request(address, "PUT", "/v1/blobs", &headers, b"by a page").await;
        assert_eq!(answer.status, if may { 201 } else { 403 }, "{is_trusted} {proto}");
        let opened = RawLink::open_with(address, &headers).await;
        assert_eq!(opened.is_ok(), may, "{is_trusted} {proto}");
        if let Ok((mut link, _)) = opened {
            link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
        }
        assert_eq!(get(address, &blob(b"by a program")).await.status, 200);
    }
}
