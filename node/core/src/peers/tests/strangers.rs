//! Connections of strangers, and members that break the protocol.

use super::*;

fn seal(from: usize, to: usize, session: u8, number: u64, hello: &PeerHello) -> Bytes {
    let header = FrameHeader { from: key(from), to: key(to), session: PeerSession([session; 16]), number };
    header.seal_hello(hello, &CLUSTER, &secret(from)).unwrap().into()
}

fn hello() -> PeerHello {
    PeerHello { echo: None, asks: true, address: None }
}

/// Member 0 accepts a connection. Returns its way.
fn accept(world: &mut World) -> WayId {
    let way = world.way();
    // Nobody reads at the other end.
    world.ways.insert((0, way), Other::Server(99));
    world.input(0, PeersInput::WayUp(way, WayKind::Accepted));
    way
}

#[test]
fn a_connection_on_which_no_member_is_heard_is_closed_after_five_seconds() {
    let mut world = World::new(2);
    let silent = accept(&mut world);
    // A recording of a member's hello shows nothing: anyone may have it.
    let recorded = accept(&mut world);
    world.frame(0, recorded, seal(1, 0, 9, 1, &hello()));
    world.pass(Duration::from_millis(4999));
    assert!(world.processes[0].closed.is_empty());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.processes[0].closed, [(silent, WayClosed::Silent), (recorded, WayClosed::Silent)]);
    assert_eq!(world.processes[0].peers.next_tick(), None);
}

#[test]
fn a_dialled_connection_on_which_the_peer_is_not_heard_is_closed_after_ten_seconds() {
    let mut world = World::new(2);
    let way = world.way();
    world.ways.insert((0, way), Other::Server(99));
    world.input(0, PeersInput::WayUp(way, WayKind::Dialled(key(1))));
    world.pass(seconds(10));
    assert_eq!(world.processes[0].closed, [(way, WayClosed::Silent)]);
}

#[test]
fn malformed_forged_and_foreign_frames_close_a_connection_at_once() {
    let good = seal(1, 0, 9, 1, &hello());
    let altered = |position: usize| {
        let mut bytes = good.to_vec();
        bytes[position] ^= 1;
        Bytes::from(bytes)
    };
    let stranger = |from: usize, to: usize| seal(from, to, 9, 1, &hello());
    let other_cluster = {
        let header = FrameHeader { from: key(1), to: key(0), session: PeerSession([9; 16]), number: 1 };
        Bytes::from(header.seal_hello(&hello(), &ClusterId([4; 32]), &secret(1)).unwrap())
    };
    let cases = [
        ("empty", Bytes::new()),
        ("noise", Bytes::from_static(b"GET / HTTP/1.1")),
        ("another version", altered(0)),
        ("cut", good.slice(..good.len() - 1)),
        ("forged", altered(good.len() - 1)),
        ("forged session", altered(70)),
        ("of a stranger", stranger(5, 0)),
        ("for another member", stranger(1, 2)),
        ("its own", stranger(0, 0)),
        ("of another cluster", other_cluster),
    ];
    for (name, bytes) in cases {
        let mut world = World::new(3);
        let way = accept(&mut world);
        world.frame(0, way, bytes);
        let closed = &world.processes[0].closed;
        assert!(
            matches!(&closed[..], [(closed, why)] if *closed == way && *why != WayClosed::Silent),
            "{name}: {closed:?}"
        );
        assert_eq!(world.processes[0].peers.dropped(), 1, "{name}");
        assert!(world.recorded.is_empty(), "{name}: a stranger got an answer");
        assert_eq!(world.processes[0].peers.next_tick(), None, "{name}");
        // On a closed way, nothing is heard any more.
        world.frame(0, way, good.clone());
        assert!(world.recorded.is_empty(), "{name}");
    }
}

#[test]
fn every_bit_of_a_hello_counts() {
    let good = seal(1, 0, 9, 1, &PeerHello { address: Some(address(1)), ..hello() });
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut world = World::new(2);
            let way = accept(&mut world);
            let mut bytes = good.to_vec();
            bytes[position] ^= 1 << bit;
            world.frame(0, way, bytes.into());
            world.frame(0, way, good.slice(..position));
            assert_eq!(world.processes[0].closed.len(), 1, "{position}, {bit}");
            assert!(world.recorded.is_empty(), "{position}, {bit}");
        }
    }
}

#[test]
fn a_connection_carries_the_frames_of_one_member() {
    let mut world = World::new(3);
    let (here, there) = world.dial(1, 0);
    world.settle();
    world.frame(0, there, seal(2, 0, 9, 1, &hello()));
    let why = WayClosed::AnotherMember { expected: key(1), got: key(2) };
    assert_eq!(world.processes[0].closed, [(there, why)]);
    assert!(!world.ways.contains_key(&(1, here)));
    let (here, _) = world.dial(1, 0);
    world.settle();
    world.frame(1, here, seal(2, 1, 9, 1, &hello()));
    let why = WayClosed::AnotherMember { expected: key(0), got: key(2) };
    assert_eq!(world.processes[1].closed, [(here, why)]);
}

#[test]
fn a_message_of_a_session_that_is_not_known_gets_no_answer_on_a_new_connection() {
    let mut world = World::new(2);
    let way = accept(&mut world);
    let header = FrameHeader { from: key(1), to: key(0), session: PeerSession([9; 16]), number: 1 };
    for _ in 0..100 {
        // Anyone could have written it.
        let bytes = header.seal_message(b"?", &PeerSession([8; 16]), &CLUSTER, &secret(7)).unwrap();
        world.frame(0, way, bytes.into());
    }
    assert!(world.recorded.is_empty());
    assert!(world.processes[0].closed.is_empty(), "it may have overtaken a hello");
}

#[test]
fn a_copy_of_a_members_last_frame_opens_no_connection() {
    let mut world = World::new(2);
    world.relay(0, 0);
    world.relay(1, 0);
    world.settle();
    world.assert_linked(0, 1);
    let last = world.recorded.iter().rfind(|(from, _)| *from == 1).unwrap().1.clone();
    let way = accept(&mut world);
    let mut forged = last.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for bytes in [last, forged.into()] {
        world.frame(0, way, bytes);
        assert!(world.processes[0].closed.is_empty() && !world.processes[0].peers.is_proven(way));
    }
    world.pass(seconds(5));
    assert_eq!(world.processes[0].closed, [(way, WayClosed::Silent)]);
}

#[test]
fn the_number_of_connections_is_bounded() {
    let mut world = World::new(3);
    let accepted: Vec<_> = (0..2 * 2 + 16).map(|_| accept(&mut world)).collect();
    assert!(world.processes[0].closed.is_empty());
    let surplus = accept(&mut world);
    assert_eq!(world.processes[0].closed, [(surplus, WayClosed::TooMany { limit: 20 })]);
    world.cut(0, accepted[0]);
    accept(&mut world);
    assert_eq!(world.processes[0].closed.len(), 1);

    world.processes[0].closed.clear();
    for _ in 0..65 {
        world.relay(0, 0);
    }
    assert!(matches!(world.processes[0].closed[..], [(_, WayClosed::TooMany { limit: 64 })]));

    world.processes[0].closed.clear();
    let mut dial = |peer| {
        let way = world.way();
        world.ways.insert((0, way), Other::Server(99));
        world.input(0, PeersInput::WayUp(way, WayKind::Dialled(key(peer))));
        world.processes[0].closed.last().map(|(_, why)| why.clone())
    };
    assert_eq!((dial(1), dial(2), dial(1)), (None, None, None));
    assert_eq!(dial(1), Some(WayClosed::TooMany { limit: 2 }));
    assert_eq!(dial(7), Some(WayClosed::NotAMember(key(7))));
}

#[test]
fn of_the_connections_that_one_member_opened_the_two_heard_last_stay() {
    let mut world = World::new(2);
    let mut ways = Vec::new();
    for _ in 0..4 {
        let (here, there) = world.dial(1, 0);
        world.pass(seconds(2));
        ways.push(there);
        // The connection dies, and only the end that dialled notices.
        world.ways.remove(&(1, here));
        world.input(1, PeersInput::WayDown(here));
    }
    let replaced = |way| (way, WayClosed::Replaced);
    assert_eq!(world.processes[0].closed, [replaced(ways[0]), replaced(ways[1])]);
    world.dial(1, 0);
    world.settle();
    world.assert_linked(0, 1);
}

#[test]
fn a_flood_of_recorded_hellos_gets_one_answer_a_second_and_delays_no_other_way() {
    let mut world = World::new(2);
    let relay = world.relay(0, 0);
    world.pass(seconds(20));
    world.recorded.clear();
    for i in 0..1000u64 {
        world.frame(0, relay, seal(1, 0, u8::try_from(i % 200).unwrap(), 1, &hello()));
        world.pass(Duration::from_millis(10));
    }
    assert!((10..=14).contains(&world.recorded.len()), "got {} answers in 10 s", world.recorded.len());
    let dropped = world.processes[0].peers.dropped();
    assert!((960..=980).contains(&dropped), "of 1000, {dropped} were dropped unverified: all but 16 and one a second");
    for i in 0..20 {
        world.frame(0, relay, seal(1, 0, i, 1, &hello()));
    }
    world.dial(0, 1);
    world.settle();
    world.assert_linked(0, 1);
}
