//! A relay that loses, repeats, reorders, alters, records, redirects and forges.

use super::*;

/// Members that are linked over one relay.
fn linked(members: usize) -> World {
    let mut world = World::new(members);
    for member in 0..members {
        world.relay(member, 0);
    }
    world.pass(seconds(20));
    world
}

fn relay_of(world: &World, member: usize) -> WayId {
    world.ways_of(member)[0]
}

/// The frames that a member sends now, which do not arrive.
fn withheld(world: &mut World, from: usize, texts: &[&str]) -> Vec<Flying> {
    for text in texts {
        world.send(from, 1 - from, text);
    }
    world.flying.drain(..).collect()
}

fn pass_on(world: &mut World, frames: &[Flying]) {
    for Flying { to, way, bytes } in frames.iter().cloned() {
        world.frame(to, way, bytes);
    }
    world.settle();
}

#[test]
fn what_is_lost_is_lost_and_the_rest_arrives() {
    let mut world = linked(2);
    let frames = withheld(&mut world, 0, &["a", "b", "c"]);
    pass_on(&mut world, &[frames[0].clone(), frames[2].clone()]);
    assert_eq!(world.texts(1), ["a", "c"]);
    world.assert_linked(0, 1);
}

#[test]
fn a_repeated_frame_is_delivered_once() {
    let mut world = linked(2);
    let frames = withheld(&mut world, 0, &["a", "b"]);
    for _ in 0..3 {
        pass_on(&mut world, &frames);
    }
    assert_eq!(world.texts(1), ["a", "b"]);
    assert_eq!(world.processes[1].peers.dropped(), 4);
}

#[test]
fn of_frames_out_of_order_those_with_growing_numbers_are_delivered() {
    let mut world = linked(2);
    let mut frames = withheld(&mut world, 0, &["a", "b", "c", "d"]);
    frames.swap(0, 2);
    pass_on(&mut world, &frames);
    assert_eq!(world.texts(1), ["c", "d"]);
}

#[test]
fn altered_and_shorter_messages_are_not_delivered_and_close_no_relay() {
    let mut world = linked(2);
    let Flying { to, way, bytes } = withheld(&mut world, 0, &["message"]).remove(0);
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.to_vec();
            altered[position] ^= 1 << bit;
            world.frame(to, way, altered.into());
            // So that each is verified.
            world.pass(seconds(1));
        }
        world.frame(to, way, bytes.slice(..position));
    }
    assert!(world.texts(1).is_empty() && world.processes[1].closed.is_empty());
    world.frame(to, way, bytes);
    assert_eq!(world.texts(1), ["message"], "the genuine one is still new");
}

#[test]
fn a_frame_for_another_member_and_one_in_anothers_name_are_not_delivered() {
    let mut world = linked(3);
    let bytes = withheld(&mut world, 0, &["for 1"]).remove(0).bytes;
    let way = relay_of(&world, 2);
    world.frame(2, way, bytes.clone());
    // The receiver, or the sender, that the frame names is exchanged.
    for (position, other) in [(34, 2), (2, 2)] {
        let mut forged = bytes.to_vec();
        forged[position..position + 32].copy_from_slice(&key(other).0);
        for to in [1, 2] {
            let way = relay_of(&world, to);
            world.frame(to, way, forged.clone().into());
        }
    }
    assert!(world.texts(1).is_empty() && world.texts(2).is_empty());
}

#[test]
fn a_member_cannot_pass_on_what_was_sent_to_it_as_if_it_were_for_another() {
    let mut world = linked(3);
    // A message of member 0 to member 1, whose session member 2 copies from the frames that it saw.
    let header = FrameHeader { from: key(0), to: key(2), session: PeerSession([1; 16]), number: 1 << 40 };
    let forged = header.seal_message(b"by member 1", &PeerSession([2; 16]), &CLUSTER, &secret(1)).unwrap();
    let way = relay_of(&world, 2);
    world.frame(2, way, forged.into());
    assert!(world.texts(2).is_empty());
}

#[test]
fn frames_from_before_a_restart_of_the_receiver_are_never_delivered() {
    let mut world = linked(2);
    let withheld = withheld(&mut world, 0, &["late"]);
    world.assert_linked(0, 1);
    for _ in 0..3 {
        world.restart(1);
        world.relay(1, 0);
        world.pass(seconds(20));
        let way = relay_of(&world, 1);
        // Everything that was ever sent to any process of this member, and what was withheld, before and after the ends know each other.
        for round in 0..2 {
            let recorded: Vec<_> =
                world.recorded.iter().filter(|(from, _)| *from == 0).map(|(_, bytes)| bytes.clone()).collect();
            for bytes in recorded.into_iter().chain(withheld.iter().map(|frame| frame.bytes.clone())) {
                world.frame(1, way, bytes);
            }
            world.settle();
            assert!(world.texts(1).is_empty(), "round {round}: {:?}", world.texts(1));
        }
        world.pass(seconds(20));
        world.assert_linked(0, 1);
    }
}

#[test]
fn frames_from_before_a_restart_of_the_sender_are_not_delivered_again() {
    let mut world = linked(2);
    for start in 0..3 {
        let text = format!("in run {start}");
        world.send(0, 1, &text);
        world.settle();
        let delivered = world.processes[1].delivered.len();
        world.restart(0);
        world.relay(0, 0);
        world.pass(seconds(20));
        let way = relay_of(&world, 1);
        for _ in 0..2 {
            for (from, bytes) in world.recorded.clone() {
                if from == 0 {
                    world.frame(1, way, bytes);
                }
            }
            world.pass(seconds(20));
        }
        assert_eq!(world.processes[1].delivered.len(), delivered, "{:?}", world.texts(1));
        world.assert_linked(0, 1);
    }
}

#[test]
fn a_recorded_hello_does_not_change_where_messages_go() {
    let mut world = linked(2);
    world.restart(0);
    world.relay(0, 0);
    world.pass(seconds(20));
    let way = relay_of(&world, 1);
    for (from, bytes) in world.recorded.clone() {
        if from == 0 {
            world.frame(1, way, bytes);
        }
    }
    // Not even the answers have come yet.
    world.send(1, 0, "still for the process that runs");
    world.settle();
    assert_eq!(world.texts(0), ["still for the process that runs"]);
    assert_eq!(world.processes[1].addresses.len(), 1);
}

#[test]
fn a_hello_of_an_earlier_process_proves_nothing_to_a_new_one() {
    let mut world = linked(2);
    // The receiver restarts while the sender is away for good: only recordings are left of it.
    world.cut(0, relay_of(&world, 0));
    world.restart(1);
    let way = world.relay(1, 0);
    for _ in 0..3 {
        for (_, bytes) in world.recorded.clone() {
            world.frame(1, way, bytes);
        }
        world.pass(seconds(20));
    }
    assert!(world.processes[1].up.is_empty() && world.processes[1].addresses.is_empty());
    assert_eq!(world.processes[1].peers.reachable().count(), 0);
}

#[test]
fn after_so_many_restarts_that_no_more_sessions_fit_nothing_is_delivered_twice_and_the_ends_still_meet() {
    let mut world = linked(2);
    let mut sent = Vec::new();
    for start in 0..150 {
        let text = format!("in run {start}");
        world.send(0, 1, &text);
        sent.push(text);
        world.settle();
        world.restart(0);
        world.relay(0, 0);
        world.pass(seconds(20));
        world.assert_linked(0, 1);
        let delivered = world.processes[1].delivered.len();
        if start % 10 == 0 || (60..70).contains(&start) {
            let way = relay_of(&world, 1);
            for (from, bytes) in world.recorded.clone() {
                if from == 0 {
                    world.frame(1, way, bytes);
                }
            }
            assert_eq!(world.processes[1].delivered.len(), delivered);
            world.pass(seconds(20));
            world.assert_linked(0, 1);
        }
    }
    let texts = world.texts(1);
    assert!(sent.iter().all(|text| texts.iter().filter(|got| *got == text).count() == 1));
}

#[test]
fn a_relay_that_repeats_the_last_frame_does_not_seem_to_work() {
    let mut world = World::new(2);
    for server in 0..2 {
        world.relay(0, server);
        world.relay(1, server);
    }
    world.pass(seconds(20));
    world.assert_linked(0, 1);
    let relays = world.ways_of(0);
    let last = world.recorded.iter().rfind(|(from, _)| *from == 1).unwrap().1.clone();
    for _ in 0..20 {
        world.frame(0, relays[0], last.clone());
        world.pass(seconds(1));
    }
    world.send(0, 1, "over both");
    let frames: Vec<_> = world.flying.drain(..).collect();
    assert_eq!(frames.len(), 2, "the peer was not heard for 20 s");
}

#[test]
fn garbage_in_a_members_name_stops_neither_others_nor_it_for_long() {
    let mut world = linked(3);
    let way = relay_of(&world, 1);
    let bytes = withheld(&mut world, 0, &["x"]).remove(0).bytes;
    let mut forged = bytes.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..1000 {
        world.frame(1, way, forged.clone().into());
    }
    world.recorded.clear();
    world.assert_linked(1, 2);
    assert!(world.processes[1].closed.is_empty());
    world.frame(1, way, bytes.clone());
    assert!(!world.texts(1).contains(&"x"), "after so much garbage, its frames are dropped unverified");
    world.pass(seconds(1));
    world.frame(1, way, bytes);
    assert!(world.texts(1).contains(&"x"));
}
