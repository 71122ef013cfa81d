//! Two ends that are honest, over ways that come and go.

use super::*;

/// Makes ways between members 0 and 1.
type Connect = fn(&mut World);

const COMBINATIONS: [(&str, Connect); 6] = [
    ("dialled", |world| {
        world.dial(0, 1);
    }),
    ("dialled by the other", |world| {
        world.dial(1, 0);
    }),
    ("dialled by both", |world| {
        world.dial(0, 1);
        world.dial(1, 0);
    }),
    ("one relay", |world| {
        world.relay(0, 0);
        world.relay(1, 0);
    }),
    ("two relays", |world| {
        for server in 0..2 {
            world.relay(1, server);
            world.relay(0, server);
        }
    }),
    ("dialled, and a relay", |world| {
        world.relay(0, 0);
        world.dial(0, 1);
        world.relay(1, 0);
    }),
];

#[test]
fn over_every_way_both_ends_are_up_and_nothing_is_sent_while_idle() {
    for (name, connect) in COMBINATIONS {
        let mut world = World::new(2);
        connect(&mut world);
        world.settle();
        for (member, peer) in [(0, 1), (1, 0)] {
            assert_eq!(world.processes[member].up, [key(peer)], "{name}");
            assert_eq!(world.processes[member].addresses, [(key(peer), Some(address(peer)))], "{name}");
        }
        world.assert_linked(0, 1);
        world.pass(seconds(60));
        let sent = world.recorded.len();
        world.pass(seconds(3600));
        assert_eq!(world.recorded.len(), sent, "{name}: frames while idle");
        assert!(
            world.processes.iter().all(|process| process.peers.next_tick().is_none()),
            "{name}: a timer while idle"
        );
        world.assert_linked(0, 1);
        assert!(world.processes.iter().all(|process| process.closed.is_empty()), "{name}");
    }
}

#[test]
fn after_restarts_of_one_end_or_both_they_find_each_other_again() {
    for (name, connect) in COMBINATIONS {
        let mut world = World::new(2);
        for restarted in [&[][..], &[0], &[1], &[0, 1], &[1], &[0]] {
            for member in restarted {
                world.restart(*member);
            }
            for member in 0..2 {
                for way in world.ways_of(member) {
                    world.cut(member, way);
                }
                world.processes[member].up.clear();
            }
            connect(&mut world);
            world.pass(seconds(1));
            assert_eq!(world.processes[0].up, [key(1)], "{name}, {restarted:?}");
            assert_eq!(world.processes[1].up, [key(0)], "{name}, {restarted:?}");
            world.assert_linked(0, 1);
            world.pass(seconds(20));
        }
    }
}

#[test]
fn an_end_that_restarts_behind_a_relay_is_found_although_only_its_link_was_cut() {
    let mut world = World::new(2);
    world.relay(0, 0);
    world.relay(1, 0);
    world.pass(seconds(20));
    for _ in 0..3 {
        world.restart(1);
        world.send(0, 1, "lost: nobody is there");
        world.settle();
        world.relay(1, 0);
        world.settle();
        assert_eq!(world.processes[1].up, [key(0)]);
        assert_eq!(world.processes[0].up.pop(), Some(key(1)));
        world.assert_linked(0, 1);
        world.pass(seconds(20));
    }
}

#[test]
fn a_message_that_cannot_be_verified_leads_to_an_introduction() {
    let mut world = World::new(2);
    world.dial(0, 1);
    world.settle();
    // The other end forgets everything, and the way stays: as when a relay's link outlives a restart.
    world.processes[1] = world.process(1, 2);
    let there = world.ways_of(1)[0];
    world.input(1, PeersInput::WayUp(there, WayKind::Relay));
    world.flying.clear();
    world.now += seconds(1);
    world.send(0, 1, "of no use");
    world.settle();
    assert!(world.texts(1).is_empty());
    world.pass(seconds(2));
    world.assert_linked(0, 1);
}

#[test]
fn messages_take_the_direct_way_while_it_works_and_all_ways_after_a_silence() {
    let mut world = World::new(2);
    let (direct, _) = world.dial(0, 1);
    let relays = [world.relay(0, 0), world.relay(0, 1)];
    world.relay(1, 0);
    world.relay(1, 1);
    world.settle();
    let ways = |world: &mut World| {
        let message = Bytes::from_static(b"x");
        let outputs = world.processes[0].peers.handle(PeersInput::Send { to: key(1), message }, world.now);
        let ways = outputs.into_iter().map(|output| match output {
            PeersOutput::Transmit { way, .. } => way,
            other => panic!("{other:?}"),
        });
        ways.collect::<Vec<_>>()
    };
    world.assert_linked(0, 1);
    assert_eq!(ways(&mut world), [direct]);
    world.pass(seconds(9));
    assert_eq!(ways(&mut world), [direct]);
    world.pass(seconds(1));
    assert_eq!(ways(&mut world), [direct, relays[0], relays[1]], "it was not heard for long");
    world.cut(0, direct);
    world.settle();
    assert_eq!(world.processes[0].up, [key(1), key(1)], "it is out of reach until it is heard on a relay");
    assert_eq!(ways(&mut world).len(), 1, "the relay on which it was heard last");
    world.pass(seconds(10));
    assert_eq!(ways(&mut world), relays);
    for relay in relays {
        world.cut(0, relay);
    }
    assert!(ways(&mut world).is_empty());
}

#[test]
fn a_connection_is_proven_although_a_relay_works_already() {
    let mut world = World::new(2);
    for member in 0..2 {
        world.relay(member, 0);
    }
    world.pass(seconds(20));
    let (here, there) = world.dial(0, 1);
    assert!(!world.processes[0].peers.is_proven(here) && !world.processes[1].peers.is_proven(there));
    world.settle();
    assert!(world.processes[0].peers.is_proven(here) && world.processes[1].peers.is_proven(there));
    world.pass(seconds(20));
    assert!(world.processes.iter().all(|process| process.closed.is_empty()));
    assert_eq!(world.processes[0].up, [key(1)], "it was reachable all the time");
}

#[test]
fn an_end_that_alone_notices_the_loss_of_a_connection_asks_over_the_relay() {
    let mut world = World::new(2);
    for member in 0..2 {
        world.relay(member, 0);
    }
    world.pass(seconds(20));
    let (here, _) = world.dial(0, 1);
    world.pass(seconds(20));
    world.assert_linked(0, 1);
    world.ways.remove(&(0, here));
    world.input(0, PeersInput::WayDown(here));
    assert_eq!(world.processes[0].peers.reachable().count(), 0);
    world.settle();
    assert_eq!((world.processes[0].up.len(), world.processes[1].up.len()), (2, 1));
}

#[test]
fn a_message_that_a_relay_delivered_first_still_shows_that_the_connection_works() {
    let mut world = World::new(2);
    let relay = world.relay(0, 0);
    world.relay(1, 0);
    let (direct, _) = world.dial(0, 1);
    world.pass(seconds(20));
    world.send(1, 0, "over both");
    let frames: Vec<_> = world.flying.drain(..).collect();
    for way in [relay, direct] {
        let frame = frames.iter().find(|frame| frame.way == way).unwrap();
        world.frame(0, way, frame.bytes.clone());
    }
    assert_eq!(world.texts(0), ["over both"]);
    world.send(0, 1, "over the connection");
    assert_eq!(world.flying.len(), 1);
    world.settle();
    assert_eq!(world.texts(1), ["over the connection"]);
}

#[test]
fn a_connection_on_which_the_peer_was_not_heard_gets_no_messages() {
    let mut world = World::new(2);
    for member in 0..2 {
        world.relay(member, 0);
    }
    world.pass(seconds(20));
    let way = world.way();
    world.ways.insert((0, way), Other::Server(99));
    world.input(0, PeersInput::WayUp(way, WayKind::Dialled(key(1))));
    world.recorded.clear();
    world.send(0, 1, "over the relay");
    assert_eq!(world.recorded.len(), 1);
}

#[test]
fn a_relay_is_not_used_to_greet_a_peer_with_a_connection() {
    let mut world = World::new(2);
    world.dial(0, 1);
    world.settle();
    world.recorded.clear();
    world.relay(0, 0);
    world.relay(1, 0);
    world.pass(seconds(20));
    assert!(world.recorded.is_empty());
}

#[test]
fn the_number_of_members_is_bounded() {
    let mut world = World::new(2);
    let many = (0..1100u16).map(|i| NodeKey([&i.to_le_bytes()[..], &[7; 30]].concat().try_into().unwrap())).collect();
    world.input(0, PeersInput::Members(many));
    assert_eq!(world.processes[0].peers.peers.len(), usize::from(MAX_MEMBERS));
}

#[test]
fn a_lost_way_that_is_found_again_makes_the_peer_reachable_again() {
    let mut world = World::new(2);
    for times in 1..4 {
        let (way, _) = world.dial(0, 1);
        world.settle();
        assert_eq!(world.processes[0].up.len(), times);
        assert_eq!(world.processes[1].up.len(), times);
        assert!(world.processes[0].peers.has_direct_way(&key(1)));
        world.cut(0, way);
        assert!(!world.processes[0].peers.has_direct_way(&key(1)));
        assert_eq!(world.processes[0].peers.reachable().count(), 0);
        world.send(0, 1, "lost");
        world.pass(seconds(20));
    }
    assert!(world.texts(1).is_empty());
    assert_eq!(world.processes[0].addresses.len(), 1, "the address was announced once, as it did not change");
}

#[test]
fn lost_hellos_are_repeated_a_few_times_and_then_when_there_is_a_message() {
    let mut world = World::new(2);
    world.relay(0, 0);
    let mut sent = vec![world.recorded.len()];
    for _ in 0..100 {
        let before = world.recorded.len();
        world.pass(seconds(1));
        sent.push(world.recorded.len() - before);
    }
    assert_eq!(sent.iter().sum::<usize>(), 4, "a greeting and three repetitions");
    assert_eq!(sent[50..].iter().sum::<usize>(), 0);
    world.recorded.clear();
    for _ in 0..100 {
        world.send(0, 1, "lost: no session is known");
        world.pass(Duration::from_millis(100));
    }
    assert!((10..=11).contains(&world.recorded.len()), "one hello a second, got {}", world.recorded.len());
}

#[test]
fn a_broadcast_reaches_every_peer_and_nobody_else() {
    let mut world = World::new(4);
    for member in 0..4 {
        world.relay(member, 0);
    }
    world.dial(0, 1);
    world.pass(seconds(1));
    world.input(0, PeersInput::Broadcast(Bytes::from_static(b"to all")));
    world.settle();
    assert!(world.texts(0).is_empty());
    for member in 1..4 {
        assert_eq!(world.texts(member), ["to all"]);
    }
}

#[test]
fn a_message_of_the_greatest_size_arrives_and_a_longer_one_does_not() {
    use vouch_core::limits::MAX_PEER_MESSAGE;
    let mut world = World::new(2);
    world.dial(0, 1);
    world.settle();
    let longer = Bytes::from(vec![7; MAX_PEER_MESSAGE + 1]);
    world.input(0, PeersInput::Send { to: key(1), message: longer.clone() });
    world.input(0, PeersInput::Send { to: key(1), message: longer.slice(1..) });
    world.settle();
    assert_eq!(world.processes[1].delivered, [(key(0), longer.slice(1..))]);
    assert_eq!(world.processes[0].peers.dropped(), 1);
}

#[test]
fn members_that_go_and_come_back_start_anew() {
    let mut world = World::new(3);
    world.relay(0, 0);
    world.relay(1, 0);
    let (_, way) = world.dial(1, 0);
    world.settle();
    world.assert_linked(0, 1);
    world.input(0, PeersInput::Members(vec![key(0), key(2)]));
    assert_eq!(world.processes[0].closed, [(way, WayClosed::NotAMember(key(1)))]);
    world.send(1, 0, "no member any more");
    world.settle();
    let delivered = world.processes[0].delivered.len();
    world.input(0, PeersInput::Members(vec![key(0), key(1), key(2)]));
    world.pass(seconds(10));
    assert_eq!(world.processes[0].delivered.len(), delivered);
    // Everything that it ever sent, again: none of it counts, although this end forgot how far it had read.
    let relay = world.ways_of(0)[0];
    for (from, bytes) in world.recorded.clone() {
        if from == 1 {
            world.frame(0, relay, bytes);
        }
    }
    world.settle();
    assert_eq!(world.processes[0].delivered.len(), delivered);
    world.pass(seconds(10));
    world.assert_linked(0, 1);
}
