//! Short form of each attack: one address attacks while another is served. `make soak` measures the cost (`figures.rs`).

mod figures;
mod over_tls;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use support::attacks::{self, Attack, Kind};
use support::blobs::content;
use support::http;
use support::in_process::InProcess;
use support::processes::Processes;
use support::raw_link::RawLink;
use support::until;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame as RawFrame, FrameHeader};
use vouch::server::{Event, ServerConfig};
use vouch_core::digest::Digest;
use vouch_core::link::{NodeKey, Role};
use vouch_core::message::{Code, MAX_CHUNK, Message, Stream};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const HONEST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const MIB: usize = 1 << 20;

/// The blob that honest clients get.
fn blob() -> Vec<u8> {
    content(1, MIB)
}

/// A cluster under attack. Field order matters: the attack is dropped before the cluster.
struct Attacked {
    attack: Attack,
    cluster: InProcess,
}

impl Attacked {
    /// Starts a cluster, forms its committee with one put, and starts the attack.
    async fn start(kind: Kind, from: Ipv4Addr, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let cluster = InProcess::start_with(1, change).await;
        cluster.put(&blob()).await.unwrap();
        Self::start_on(kind, from, cluster).await
    }

    /// Starts an attack on a running cluster.
    async fn start_on(kind: Kind, from: Ipv4Addr, cluster: InProcess) -> Self {
        let attack = Attack::start(kind, cluster.address(), from);
        until("the attack has begun", || attack.connections() > 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self { attack, cluster }
    }

    /// Like `start`, and checks that an honest client is served during the attack.
    async fn start_and_serve(kind: Kind, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let attacked = Self::start(kind, ATTACKER, change).await;
        attacked.assert_serves().await;
        attacked
    }

    /// Asserts that puts and gets from another address succeed and that the member stays connected.
    async fn assert_serves(&self) {
        let cluster = &self.cluster;
        let identity = cluster.put(b"who serves").await.unwrap().committee().cluster();
        for seed in 10..13 {
            cluster.put(&content(seed, 300 << 10)).await.unwrap();
            assert!(cluster.get(identity, Digest::of(&blob())).await.unwrap().bytes == blob());
        }
        assert!(cluster.connected().contains(&"replica-0".into()));
    }

    /// Waits until the server reports which address was limited, and how.
    async fn until_reported(&self, how: &str) {
        let is_it =
            |event: &Event| matches!(event, Event::Limited(text) if text.contains("127.0.0.2: ") && text.contains(how));
        until(&format!("the operator hears: {how}"), || self.cluster.server_events().iter().any(is_it)).await;
    }
}

/// Waits until an address occupies every put slot: a further put from it is refused, and evicts none of its own puts.
async fn until_no_put_slot_is_free(address: &str, from: Ipv4Addr) {
    for _ in 0..1000 {
        let mut link = attacks::link(address, from).await.unwrap();
        link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
        link.send(&Message::Put { stream: Stream(1), offer: None, renew: false, authorisation: None }).await;
        let said = loop {
            match link.next().await {
                Some(Message::Progress { .. } | Message::Cluster(_)) => {}
                said => break said,
            }
        };
        match said {
            Some(Message::Failed(failed)) if failed.detail.contains("takes no more puts") => return,
            // this put took the last slot: give it back
            _ => drop(link),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("places are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_puts_from_one_address_are_evicted() {
    // each put sends often enough not to count as idle
    let kind = Kind::SlowPuts { links: 1, puts: 32, every: Duration::from_millis(500) };
    let attacked = Attacked::start(kind, ATTACKER, |config| config.max_puts = 32).await;
    until_no_put_slot_is_free(attacked.cluster.address(), ATTACKER).await;
    attacked.assert_serves().await;
    attacked.until_reported("puts ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_http_bodies_from_one_address_are_evicted() {
    let kind = Kind::SlowBodies { count: 40, rate: 1126 };
    let attacked = Attacked::start(kind, ATTACKER, |config| config.max_puts = 32).await;
    until_no_put_slot_is_free(attacked.cluster.address(), ATTACKER).await;
    attacked.assert_serves().await;
    attacked.until_reported("puts ended").await;
}

/// Puts that send a byte now and then end one by one, even when nobody needs their slots.
#[tokio::test(flavor = "multi_thread")]
async fn slow_puts_end_even_when_slots_are_free() {
    let cluster = InProcess::start_with(1, |config| {
        config.upload_window = Duration::from_secs(1);
        config.upload_rate = 4000;
    })
    .await;
    let mut link = RawLink::client(cluster.address()).await;
    for number in 1..=4 {
        link.send(&Message::Put { stream: Stream(number), offer: None, renew: false, authorisation: None }).await;
    }
    let (mut ready, mut ended, mut offset) = (0, Vec::new(), 0);
    let mut bytes = tokio::time::interval(Duration::from_millis(100));
    while ended.len() < 4 {
        tokio::select! {
            _ = bytes.tick(), if ready == 4 => {
                assert!(offset < 1000, "a byte now and then holds a put; ended: {ended:?}");
                for number in 1..=4 {
                    let bytes = Bytes::from_static(b"x");
                    link.send(&Message::Chunk { stream: Stream(number), offset, parents: Vec::new(), bytes }).await;
                }
                offset += 1;
            }
            said = link.next() => match said.expect("the link stays") {
                Message::Ready { .. } => ready += 1,
                Message::Failed(failed) => {
                    assert_eq!(failed.code, Code::TimedOut, "{failed}");
                    assert!(failed.detail.contains("expected at least "), "{failed}");
                    ended.push(failed.stream);
                }
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_links_that_answer_pings_are_evicted() {
    let kind = Kind::IdleLinks { count: 60 };
    Attacked::start_and_serve(kind, |config| config.max_links = 40).await.until_reported("connections closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_evicted() {
    let kind = Kind::HalfOpen { count: 60 };
    Attacked::start_and_serve(kind, |config| config.max_links = 40).await.until_reported("connections closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_with_unread_answers_are_evicted() {
    let kind = Kind::UnreadReads { links: 4, blob: Arc::new(blob()), members: 1 };
    Attacked::start_and_serve(kind, |config| config.read_budget = MAX_CHUNK)
        .await
        .until_reported("readers cut off")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_downloads_are_evicted() {
    let cluster = InProcess::start_with(1, |config| config.max_downloads = 4).await;
    cluster.put(&blob()).await.unwrap();
    cluster.put(&content(2, 8 * MIB)).await.unwrap();
    let kind = Kind::UnreadGets { count: 20, blob: Arc::new(content(2, 8 * MIB)) };
    let attacked = Attacked::start_on(kind, ATTACKER, cluster).await;
    // the attack holds all download slots
    attacked.until_reported("downloads refused").await;
    for _ in 0..3 {
        let answer = http::get(attacked.cluster.address(), &http::blob(&blob())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == blob());
    }
    attacked.assert_serves().await;
    attacked.until_reported("downloads cut off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_downloads_end_even_when_slots_are_free() {
    let cluster = InProcess::start_with(1, |config| config.reader_silence = Duration::from_secs(1)).await;
    cluster.put(&content(2, 32 * MIB)).await.unwrap();
    let kind = Kind::UnreadGets { count: 4, blob: Arc::new(content(2, 32 * MIB)) };
    let attacked = Attacked::start_on(kind, ATTACKER, cluster).await;
    // each attacker reconnects after the server ends its connection
    until("the server ends them", || attacked.attack.connections() >= 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_are_evicted() {
    let kind = Kind::Fragments { count: 30, bytes: 100 << 10, ping: Duration::from_secs(1) };
    // room for two messages
    Attacked::start_and_serve(kind, |config| config.receive_budget = 0)
        .await
        .until_reported("unfinished messages cut off")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_do_not_extend_the_hello_deadline() {
    let cluster = InProcess::start(1).await;
    let mut link = RawLink::open(cluster.address()).await;
    let mut pings = tokio::time::interval(Duration::from_secs(2));
    // a link that pings kept open would run into this timeout
    let frame = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            tokio::select! {
                _ = pings.tick() => {
                    let _ = link.send_frame(Frame::Ping(Bytes::new())).await;
                }
                frame = link.next_frame() => match frame {
                    Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                    frame => break frame,
                }
            }
        }
    });
    let said = frame.await.expect("the server ends the link").unwrap().unwrap();
    let Frame::Binary(said) = said else { panic!("expected a reason, got {said:?}") };
    let said = Message::decode(&said).unwrap();
    let Message::Failed(failed) = said else { panic!("expected a reason, got {said:?}") };
    assert_eq!(failed.code, Code::TimedOut, "{failed}");
    assert!(failed.detail.contains("did not say hello within 10 s"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn message_before_hello_is_limited_to_4096_bytes() {
    let cluster = InProcess::start(1).await;
    let mut link = RawLink::open(cluster.address()).await;
    let header = FrameHeader { is_final: false, opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
    let fragment = RawFrame::from_payload(header, vec![1; 5 << 10].into());
    link.send_frame(Frame::Frame(fragment)).await.unwrap();
    let failed = link.refused().await;
    assert!(failed.detail.contains("expected a message of at most 4096 bytes"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standbys_from_one_address_are_limited() {
    let attacked = Attacked::start_and_serve(Kind::Standbys { count: 40 }, |config| config.max_standbys = 16).await;
    attacked.until_reported("standbys refused").await;
    let connected = attacked.cluster.connected().len();
    assert!(connected <= 1 + 16, "{connected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flapping_standbys_do_not_flood_the_log() {
    let attacked = Attacked::start_and_serve(Kind::Flapping { count: 8 }, |_| {}).await;
    until("many links", || attacked.attack.connections() > 300).await;
    attacked.until_reported("joins refused").await;
    let events = attacked.cluster.server_events();
    let lines = events.iter().filter(|event| matches!(event, Event::Joined(..) | Event::Left(..))).count();
    // of a burst of 128 joins 64 are logged, then one every five seconds; each logged join has a leave
    assert!(lines < 200, "{lines} of {} links", attacked.attack.connections());
    attacked.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_by_available_file_descriptors() {
    let cluster = Processes::start_with_open_files(1, 256).await;
    let identity = cluster.put(&blob()).await.unwrap().committee().cluster();
    let attack = Attack::start(Kind::IdleLinks { count: 300 }, cluster.address(), ATTACKER);
    until("as many as there is room for", || attack.connections() > 300).await;
    for seed in 10..13 {
        cluster.put(&content(seed, 300 << 10)).await.unwrap();
        assert!(cluster.get(identity, Digest::of(&blob())).await.unwrap().bytes == blob());
    }
    until("the operator hears of it", || cluster.server.log().contains("limited: 127.0.0.2: ")).await;
    let log = cluster.server.log();
    assert!(!log.contains("cannot accept a connection"), "{log}");
    assert!(!log.contains(" left: "), "{log}");
    let lines = log.lines().filter(|line| line.starts_with("limited: ")).count();
    assert!(lines < 10, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn member_rejoins_from_the_attacking_address() {
    let mut attacked = Attacked::start(Kind::IdleLinks { count: 60 }, HONEST, |config| config.max_links = 40).await;
    attacked.cluster.stop_replica(0).await;
    attacked.cluster.start_replica(0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Attacked { attack, cluster } = attacked;
    let left = |event: &Event| matches!(event, Event::Left(name, _) if name == "replica-0");
    assert_eq!(cluster.server_events().iter().filter(|event| left(event)).count(), 1, "only when it was stopped");
    // a client of the attacker's address has no right to a connection during the attack, as it proves no key
    drop(attack);
    cluster.put(b"who serves").await.unwrap();
}
