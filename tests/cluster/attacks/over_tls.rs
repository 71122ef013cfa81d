//! The attacks again, against a server with TLS, and those on the TLS handshake.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use support::attacks::Kind;
use support::in_process::InProcess;
use support::tls_relay::TlsRelay;
use support::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use vouch::host::Host;
use vouch::server::{Event, ServerConfig};
use vouch::tls::{CertificateFiles, create_dev_certificates};
use vouch_core::message::MAX_CHUNK;

use super::{ATTACKER, Attacked, blob};

/// A cluster whose server speaks TLS, and the relay through which everybody reaches it.
struct Secured {
    cluster: InProcess,
    relay: TlsRelay,
    /// The server itself.
    server: String,
    _certificates: tempfile::TempDir,
}

impl Secured {
    async fn start(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let made = create_dev_certificates(&Host::system(), certificates.path(), &["localhost".into()]).unwrap();
        let files = CertificateFiles { certificate: made.certificate, key: made.key };
        let authority: PathBuf = made.authority;
        let mut cluster = InProcess::start_with(0, |config| {
            config.tls = Some(files);
            // The relay ends the TLS of the replica.
            config.binds_links = false;
            change(config);
        })
        .await;
        let server = cluster.address().to_owned();
        let relay = TlsRelay::start(&server, &authority).await;
        cluster.reach_at(relay.address().to_owned());
        cluster.start_replica(0).await;
        cluster.put(&blob()).await.unwrap();
        Self { cluster, relay, server, _certificates: certificates }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attacker_over_tls_is_evicted_and_others_are_served() {
    type Change = fn(&mut ServerConfig);
    let attacks: [(Kind, Change, &str); 6] = [
        (Kind::IdleLinks { count: 60 }, |config| config.max_links = 40, "connections closed"),
        (Kind::HalfOpen { count: 60 }, |config| config.max_links = 40, "connections closed"),
        (
            Kind::SlowPuts { links: 1, puts: 32, every: Duration::from_millis(500) },
            |config| config.max_puts = 32,
            "puts ended",
        ),
        (
            Kind::UnreadReads { links: 4, blob: Arc::new(blob()), members: 1 },
            |config| config.read_budget = MAX_CHUNK,
            "readers cut off",
        ),
        (
            Kind::Fragments { count: 30, bytes: 100 << 10, ping: Duration::from_secs(1) },
            |config| config.receive_budget = 0,
            "unfinished messages cut off",
        ),
        (Kind::Standbys { count: 40 }, |config| config.max_standbys = 16, "standbys refused"),
    ];
    for (kind, change, told) in attacks {
        let Secured { cluster, relay, _certificates, .. } = Secured::start(change).await;
        let is_of_puts = matches!(kind, Kind::SlowPuts { .. });
        let attacked = Attacked::start_on(kind, ATTACKER, cluster).await;
        if is_of_puts {
            super::until_no_put_slot_is_free(attacked.cluster.address(), ATTACKER).await;
        }
        attacked.assert_serves().await;
        attacked.until_reported(told).await;
        drop((attacked, relay));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_tls_handshakes_hold_no_place_that_others_need_and_end_in_time() {
    let Secured { cluster, relay: _relay, server, _certificates } =
        Secured::start(|config| config.max_links = 40).await;
    let mut held = Vec::new();
    // A record of a handshake that never ends, a single byte, and nothing.
    for said in [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"\x16", b""].iter().cycle().take(60) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ATTACKER, 0).into()).unwrap();
        let mut stream = socket.connect(server.parse().unwrap()).await.unwrap();
        let _ = stream.write_all(said).await;
        held.push(stream);
    }
    let told = |event: &Event| matches!(event, Event::Limited(text) if text.contains("127.0.0.2: "));
    for number in 0..3_u8 {
        cluster.put(&[number; 1000]).await.unwrap();
    }
    until("the operator hears of it", || cluster.server_events().iter().any(told)).await;
    // Also those that nobody needed the place of.
    for mut stream in held {
        let ended = async { while stream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {} };
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the server ends it");
    }
}
