//! Networks over real sockets.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vouch_core::peer_frame::{FrameHeader, PeerHello, PeerSession};

use super::*;
use crate::host::tasks::JoinHandle;
use crate::link;

const CLUSTER: ClusterId = ClusterId([3; 32]);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn secret(i: usize) -> Arc<NodeSecretKey> {
    Arc::new(NodeSecretKey::from_bytes(&[u8::try_from(i).unwrap() + 1; 32]))
}

fn key(i: usize) -> NodeKey {
    secret(i).node_key()
}

/// A member that runs.
struct Member {
    host: Host,
    network: PeerNetwork,
    events: PeerEvents,
    address: Option<MemberAddress>,
    tasks: [JoinHandle<()>; 2],
}

impl Member {
    /// Starts a member that listens, on a free port or on the same one as before.
    async fn listening(i: usize, members: usize, folder: &Path, address: Option<&MemberAddress>) -> Self {
        let address = address.map_or("127.0.0.1:0", MemberAddress::as_str);
        Self::start(i, members, folder, Some(address)).await
    }

    async fn start(i: usize, members: usize, folder: &Path, listen_on: Option<&str>) -> Self {
        let host = Host::system();
        let listening = listen(&host, listen_on, None).await.unwrap();
        let address = listening.as_ref().map(|listening| listening.announced.clone());
        let (book, trouble) = AddressBook::open(host.disk(), folder);
        assert_eq!(trouble, None);
        let (network, events) = PeerNetwork::new(host.clone(), address.clone(), book);
        let connecting = Connections::new(network.clone(), listening).run(|trouble| panic!("{trouble}"));
        network.join(secret(i), CLUSTER, (0..members).map(key).collect());
        let keeping_time = network.clone();
        let tasks = [host.spawn(connecting), host.spawn(async move { keeping_time.keep_time().await })];
        Self { host, network, events, address, tasks }
    }

    /// Ends it as a crash would. The address is free afterwards.
    async fn stop(self) -> Option<MemberAddress> {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        self.address
    }

    /// Tells it where another member listens, as a frame that a server relayed would.
    fn learn(&self, i: usize, other: &Member) {
        self.network.state().addresses.set(key(i), other.address.clone());
        self.network.0.reachability.notify_waiters();
    }

    async fn event(&mut self) -> PeerEvent {
        self.host.timeout(PATIENCE, self.events.next()).await.expect("something happens").unwrap()
    }

    async fn until_up(&mut self, i: usize) {
        loop {
            if matches!(self.event().await, PeerEvent::Up(peer) if peer == key(i)) {
                return;
            }
        }
    }

    /// Waits for a message, and skips other events.
    async fn message(&mut self) -> (NodeKey, Bytes) {
        loop {
            if let PeerEvent::Message { from, bytes } = self.event().await {
                return (from, bytes);
            }
        }
    }

    fn has_way(&self, i: usize) -> bool {
        self.network.state().core.as_ref().unwrap().has_direct_way(&key(i))
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let wait = async {
            while !what(self) {
                self.host.sleep(Duration::from_millis(10)).await;
            }
        };
        self.host.timeout(PATIENCE, wait).await.expect("it comes about");
    }
}

/// Both send each other a message, over the direct way.
async fn assert_linked((a, one): (usize, &mut Member), (b, other): (usize, &mut Member), text: &str) {
    one.until(|one| one.has_way(b)).await;
    other.until(|other| other.has_way(a)).await;
    one.network.send(key(b), Bytes::copy_from_slice(text.as_bytes()));
    assert_eq!(other.message().await, (key(a), Bytes::copy_from_slice(text.as_bytes())));
    other.network.send(key(a), Bytes::copy_from_slice(text.as_bytes()));
    assert_eq!(one.message().await, (key(b), Bytes::copy_from_slice(text.as_bytes())));
}

#[tokio::test]
async fn members_find_each_other_and_again_after_restarts_without_a_server() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let mut other = Member::listening(1, 2, folders[1].path(), None).await;
    one.learn(1, &other);
    one.until_up(1).await;
    other.until_up(0).await;
    assert_linked((0, &mut one), (1, &mut other), "first").await;
    // Both have announced their addresses on the connection, and keep them.
    for (member, folder, peer) in [(&one, &folders[0], 1), (&other, &folders[1], 0)] {
        member
            .until(|_| AddressBook::open(Host::system().disk(), folder.path()).0.iter().any(|(k, _)| *k == key(peer)))
            .await;
    }
    for restarted in [[true, false], [false, true], [true, true]] {
        if restarted[0] {
            let address = one.stop().await;
            one = Member::listening(0, 2, folders[0].path(), address.as_ref()).await;
        }
        if restarted[1] {
            let address = other.stop().await;
            other = Member::listening(1, 2, folders[1].path(), address.as_ref()).await;
        }
        one.until_up(1).await;
        other.until_up(0).await;
        assert_linked((0, &mut one), (1, &mut other), &format!("{restarted:?}")).await;
    }
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_member_that_does_not_listen_dials_the_one_that_does() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let mut other = Member::start(1, 2, folders[1].path(), None).await;
    other.learn(0, &one);
    assert_linked((0, &mut one), (1, &mut other), "hello").await;
    assert!(AddressBook::open(one.host.disk(), folders[0].path()).0.iter().next().is_none());
}

#[tokio::test]
async fn a_broadcast_reaches_all_of_three() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut members = Vec::new();
    for (i, folder) in folders.iter().enumerate() {
        members.push(Member::listening(i, 3, folder.path(), None).await);
    }
    for i in 0..3 {
        for j in 0..3 {
            if i != j {
                members[i].learn(j, &members[j]);
            }
        }
    }
    for (i, member) in members.iter().enumerate() {
        member.until(|member| (0..3).all(|j| j == i || member.has_way(j))).await;
    }
    members[2].network.broadcast(Bytes::from_static(b"to all"));
    for member in &mut members[..2] {
        assert_eq!(member.message().await, (key(2), Bytes::from_static(b"to all")));
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let mut other = Member::listening(1, 2, folders[1].path(), None).await;
    one.learn(1, &other);
    for times in 0..3 {
        assert_linked((0, &mut one), (1, &mut other), &format!("{times}")).await;
        // What the core does to close a way.
        let ways: Vec<_> = other.network.state().ways.keys().copied().collect();
        for way in ways {
            other.network.state().ways.remove(&way);
        }
        one.until_up(1).await;
        other.until_up(0).await;
    }
}

#[tokio::test]
async fn a_message_of_the_greatest_size_and_many_small_ones_arrive_in_order() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let mut other = Member::start(1, 2, folders[1].path(), None).await;
    other.learn(0, &one);
    assert_linked((0, &mut one), (1, &mut other), "hello").await;
    let largest = Bytes::from(vec![7; vouch_core::limits::MAX_PEER_MESSAGE]);
    one.network.send(key(1), largest.clone());
    assert_eq!(other.message().await, (key(0), largest));
    for i in 0..1000 {
        one.network.send(key(1), Bytes::from(format!("{i}")));
    }
    for i in 0..1000 {
        assert_eq!(other.message().await.1, Bytes::from(format!("{i}")));
    }
}

#[tokio::test]
async fn messages_to_a_peer_that_does_not_read_are_bounded_and_block_nobody() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let mut other = Member::start(1, 2, folders[1].path(), None).await;
    other.learn(0, &one);
    assert_linked((0, &mut one), (1, &mut other), "hello").await;
    // Nobody takes the events of the other end, and its queue of them is bounded; the rest is dropped.
    let message = Bytes::from(vec![7; 64 << 10]);
    for _ in 0..1000 {
        one.network.send(key(1), message.clone());
    }
    let _ = other.message().await;
    one.network.send(key(1), Bytes::from_static(b"last"));
    let taken = async {
        while other.message().await.1 != Bytes::from_static(b"last") {
            one.network.send(key(1), Bytes::from_static(b"last"));
        }
    };
    Host::system().timeout(PATIENCE, taken).await.expect("the way works again");
}

#[tokio::test]
async fn a_member_that_floods_is_slowed_down_and_keeps_its_connection() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let mut other = Member::start(1, 2, folders[1].path(), None).await;
    other.learn(0, &one);
    assert_linked((0, &mut one), (1, &mut other), "hello").await;
    let large = Bytes::from(vec![7; vouch_core::limits::MAX_PEER_MESSAGE]);
    let flooding = async {
        while other.network.held_back().is_empty() {
            one.network.send(key(1), large.clone());
            assert_eq!(other.message().await, (key(0), large.clone()));
        }
    };
    Host::system().timeout(PATIENCE, flooding).await.expect("it sends more than is taken");
    assert!(matches!(other.network.held_back()[..], [(peer, HeldBack { dropped: 0, .. })] if peer == key(0)));
    let ways: Vec<_> = other.network.state().ways.keys().copied().collect();
    for number in 0..100 {
        one.network.send(key(1), large.clone());
        assert_eq!(other.message().await.1, large, "{number}");
    }
    let after: Vec<_> = other.network.state().ways.keys().copied().collect();
    assert_eq!((ways.len(), after), (1, ways), "it is the same connection");
}

/// A hello of a member, of a session that nobody knows.
fn recorded_hello(from: usize, to: usize) -> Bytes {
    let header = FrameHeader { from: key(from), to: key(to), session: PeerSession([9; 16]), number: 1 };
    let hello = PeerHello { echo: None, asks: true, address: None };
    header.seal_hello(&hello, &CLUSTER, &secret(from)).unwrap().into()
}

#[tokio::test]
async fn strangers_are_cut_off_and_a_flood_of_them_keeps_no_member_out() {
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut one = Member::listening(0, 2, folders[0].path(), None).await;
    let address = one.address.clone().unwrap();
    let host = Host::system();

    // What is no request, no frame, or a frame of no member ends the connection.
    let mut raw = host.connect(address.as_str()).await.unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let ended = host.timeout(PATIENCE, raw.read_to_end(&mut Vec::new())).await;
    assert!(ended.is_ok());
    for frame in [Bytes::from_static(b"noise"), recorded_hello(5, 0), recorded_hello(1, 7)] {
        let (mut reader, mut writer) = link::dial_member(&host, address.as_str()).await.unwrap();
        writer.send(frame).await.unwrap();
        let ended = host.timeout(PATIENCE, async { while reader.next().await.is_ok() {} }).await;
        assert!(ended.is_ok());
    }
    one.until(|one| one.network.state().ways.is_empty()).await;

    // A recorded hello is answered, and proves nothing: its connection ends, too, and so do silent ones.
    let mut idle = Vec::new();
    for i in 0..100 {
        let Ok((reader, mut writer)) = link::dial_member(&host, address.as_str()).await else { continue };
        if i % 2 == 0 {
            let _ = writer.send(recorded_hello(1, 0)).await;
        }
        idle.push((reader, writer));
    }
    assert!(one.network.state().ways.len() <= 18, "16 strangers, and those that are ending");
    let mut other = Member::start(1, 2, folders[1].path(), None).await;
    other.learn(0, &one);
    assert_linked((0, &mut one), (1, &mut other), "in spite of them").await;
    one.until(|one| one.network.state().ways.len() == 1).await;
    drop(idle);
}

#[tokio::test]
async fn before_this_end_is_a_member_nobody_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::system();
    let listening = listen(&host, Some("127.0.0.1:0"), None).await.unwrap();
    let address = listening.as_ref().unwrap().announced.clone();
    let (book, _) = AddressBook::open(host.disk(), folder.path());
    let (network, _events) = PeerNetwork::new(host.clone(), Some(address.clone()), book);
    let connecting = host.spawn(Connections::new(network.clone(), listening).run(|_| {}));
    assert!(link::dial_member(&host, address.as_str()).await.is_err());
    network.join(secret(0), CLUSTER, vec![key(0), key(1)]);
    assert!(link::dial_member(&host, address.as_str()).await.is_ok());
    connecting.abort();
}
