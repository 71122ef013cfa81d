//! One address attacks, and another one is served: a short form of each attack. What it costs, `make soak` measures.

mod figures;

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
use vouch::server::{Config, Event};
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

/// A cluster under an attack. The attack ends first.
struct Attacked {
    attack: Attack,
    cluster: InProcess,
}

impl Attacked {
    /// A cluster of tasks, a committee, and an attack that has begun.
    async fn start(kind: Kind, from: Ipv4Addr, change: impl FnOnce(&mut Config)) -> Self {
        let cluster = InProcess::start_with(1, change).await;
        cluster.put(&blob()).await.unwrap();
        Self::begin(kind, from, cluster).await
    }

    /// An attack on a cluster that is there.
    async fn begin(kind: Kind, from: Ipv4Addr, cluster: InProcess) -> Self {
        let attack = Attack::start(kind, cluster.address(), from);
        until("the attack has begun", || attack.connections() > 0).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self { attack, cluster }
    }

    /// The same, and what an honest client does then succeeds.
    async fn beside(kind: Kind, change: impl FnOnce(&mut Config)) -> Self {
        let attacked = Self::start(kind, ATTACKER, change).await;
        attacked.serves().await;
        attacked
    }

    /// Puts and gets of another address succeed, and the member stays.
    async fn serves(&self) {
        let cluster = &self.cluster;
        let identity = cluster.put(b"who serves").await.unwrap().committee.cluster();
        for seed in 10..13 {
            cluster.put(&content(seed, 300 << 10)).await.unwrap();
            assert!(cluster.get(identity, Digest::of(&blob())).await.unwrap().bytes == blob());
        }
        assert!(cluster.connected().contains(&"replica-0".into()));
    }

    /// The operator hears who was limited, and how.
    async fn until_told(&self, how: &str) {
        let is_it =
            |event: &Event| matches!(event, Event::Limited(text) if text.contains("127.0.0.2: ") && text.contains(how));
        until(&format!("the operator hears: {how}"), || self.cluster.server_events().iter().any(is_it)).await;
    }
}

/// Waits until an address has every place of a put, and no put of its own gives way to another one of it.
async fn until_no_put_is_left(address: &str, from: Ipv4Addr) {
    for _ in 0..1000 {
        let mut link = attacks::link(address, from).await.unwrap();
        link.hello(Role::Client, None, NodeKey::ANONYMOUS).await;
        link.send(&Message::Put { stream: Stream(1), offer: None, renew: false }).await;
        let said = loop {
            match link.next().await {
                Some(Message::Progress { .. } | Message::Cluster(_)) => {}
                said => break said,
            }
        };
        match said {
            Some(Message::Failed(failed)) if failed.detail.contains("takes no more puts") => return,
            // this took the last place: it is given back
            _ => drop(link),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("places are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_puts_of_one_address_give_way() {
    // none of them is idle
    let kind = Kind::SlowPuts { links: 1, puts: 32, every: Duration::from_millis(500) };
    let attacked = Attacked::start(kind, ATTACKER, |config| config.max_puts = 32).await;
    until_no_put_is_left(attacked.cluster.address(), ATTACKER).await;
    attacked.serves().await;
    attacked.until_told("puts ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_of_one_address_give_way() {
    let kind = Kind::SlowBodies { count: 40, rate: 1126 };
    let attacked = Attacked::start(kind, ATTACKER, |config| config.max_puts = 32).await;
    until_no_put_is_left(attacked.cluster.address(), ATTACKER).await;
    attacked.serves().await;
    attacked.until_told("puts ended").await;
}

/// Puts of a link that bring a byte now and then end one by one, though nobody needs their places.
#[tokio::test(flavor = "multi_thread")]
async fn slow_puts_end_though_nobody_waits() {
    let cluster = InProcess::start_with(1, |config| {
        config.upload_window = Duration::from_secs(1);
        config.upload_rate = 4000;
    })
    .await;
    let mut link = RawLink::client(cluster.address()).await;
    for number in 1..=4 {
        link.send(&Message::Put { stream: Stream(number), offer: None, renew: false }).await;
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
async fn links_that_answer_pings_give_way() {
    let kind = Kind::IdleLinks { count: 60 };
    Attacked::beside(kind, |config| config.max_links = 40).await.until_told("connections closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_give_way() {
    let kind = Kind::HalfOpen { count: 60 };
    Attacked::beside(kind, |config| config.max_links = 40).await.until_told("connections closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_whose_answers_nobody_takes_give_way() {
    let kind = Kind::UnreadReads { links: 4, blob: Arc::new(blob()), members: 1 };
    Attacked::beside(kind, |config| config.read_budget = MAX_CHUNK).await.until_told("readers cut off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_take_nothing_give_way() {
    let cluster = InProcess::start_with(1, |config| config.max_downloads = 4).await;
    cluster.put(&blob()).await.unwrap();
    cluster.put(&content(2, 8 * MIB)).await.unwrap();
    let kind = Kind::UnreadGets { count: 20, blob: Arc::new(content(2, 8 * MIB)) };
    let attacked = Attacked::begin(kind, ATTACKER, cluster).await;
    // they hold all places
    attacked.until_told("downloads refused").await;
    for _ in 0..3 {
        let answer = http::get(attacked.cluster.address(), &http::blob(&blob())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == blob());
    }
    attacked.serves().await;
    attacked.until_told("downloads cut off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_take_nothing_end_though_nobody_waits() {
    let cluster = InProcess::start_with(1, |config| config.reader_silence = Duration::from_secs(1)).await;
    cluster.put(&content(2, 32 * MIB)).await.unwrap();
    let kind = Kind::UnreadGets { count: 4, blob: Arc::new(content(2, 32 * MIB)) };
    let attacked = Attacked::begin(kind, ATTACKER, cluster).await;
    // each comes again when the server ended its connection
    until("the server ends them", || attacked.attack.connections() >= 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_messages_give_way() {
    let kind = Kind::Fragments { count: 30, bytes: 100 << 10, ping: Duration::from_secs(1) };
    // room for two messages
    Attacked::beside(kind, |config| config.receive_budget = 0).await.until_told("unfinished messages cut off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_do_not_stand_for_a_hello() {
    let cluster = InProcess::start(1).await;
    let mut link = RawLink::open(cluster.address()).await;
    let mut pings = tokio::time::interval(Duration::from_secs(2));
    // a link that pings keep open never ends here
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
async fn before_its_hello_a_link_holds_little() {
    let cluster = InProcess::start(1).await;
    let mut link = RawLink::open(cluster.address()).await;
    let header = FrameHeader { is_final: false, opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
    let fragment = RawFrame::from_payload(header, vec![1; 5 << 10].into());
    link.send_frame(Frame::Frame(fragment)).await.unwrap();
    let failed = link.refused().await;
    assert!(failed.detail.contains("expected a message of at most 4096 bytes"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standbys_of_one_address_leave_room() {
    let attacked = Attacked::beside(Kind::Standbys { count: 40 }, |config| config.max_standbys = 16).await;
    attacked.until_told("standbys refused").await;
    let connected = attacked.cluster.connected().len();
    assert!(connected <= 1 + 16, "{connected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standbys_that_come_and_go_fill_no_log() {
    let attacked = Attacked::beside(Kind::Flapping { count: 8 }, |_| {}).await;
    until("many links", || attacked.attack.connections() > 300).await;
    attacked.until_told("joins refused").await;
    let events = attacked.cluster.server_events();
    let lines = events.iter().filter(|event| matches!(event, Event::Joined(..) | Event::Left(..))).count();
    // of 128 that may join at once 64 are told, and one more every five seconds; each of them leaves
    assert!(lines < 200, "{lines} of {} links", attacked.attack.connections());
    attacked.serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_by_the_descriptors_that_there_are() {
    let cluster = Processes::start_with_open_files(1, 256).await;
    let identity = cluster.put(&blob()).await.unwrap().committee.cluster();
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
async fn a_member_comes_back_from_the_address_that_attacks() {
    let mut attacked = Attacked::start(Kind::IdleLinks { count: 60 }, HONEST, |config| config.max_links = 40).await;
    attacked.cluster.stop_replica(0).await;
    attacked.cluster.start_replica(0).await;
    attacked.serves().await;
}
