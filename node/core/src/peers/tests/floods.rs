//! A member that sends more than an honest one would.

use super::*;
use crate::peers::frame_budget::HeldBack;

/// A message of this size makes a frame of a block of the log, with its certificate.
const BLOCK: usize = 66_000;
/// A genuine message of the greatest size.
const LARGE: usize = 190_000;

impl World {
    fn send_sized(&mut self, from: usize, to: usize, size: usize) {
        self.input(from, PeersInput::Send { to: key(to), message: vec![7; size].into() });
        self.settle();
        self.recorded.clear();
    }

    fn held_back(&self, member: usize, peer: usize) -> HeldBack {
        let held_back = self.processes[member].peers.held_back();
        held_back.filter(|(of, _)| **of == key(peer)).map(|(_, held_back)| held_back).next().unwrap_or_default()
    }

    fn pause(&mut self, member: usize, way: WayId) -> Option<Duration> {
        self.processes[member].peers.pause(way, self.now).map(|until| until - self.now)
    }
}

/// The number of frames of the greatest size that are taken in so many seconds.
fn large_frames(seconds: usize) -> usize {
    let kib = usize::try_from(MIB_PER_SECOND).unwrap() << 10;
    // A frame has 154 bytes more than its message.
    (4 + seconds) * kib / (LARGE + 154).div_ceil(1024)
}

#[test]
fn what_a_relay_passes_on_of_a_flooding_member_is_dropped_and_nothing_of_others() {
    let mut world = World::new(3);
    for member in 0..3 {
        world.relay(member, 0);
    }
    world.pass(seconds(20));
    for round in 1..4 {
        for number in 0..600 {
            world.send_sized(1, 0, LARGE);
            if number % 50 == 0 {
                world.assert_linked(0, 2);
            }
        }
        let from = |peer| world.processes[0].delivered.iter().filter(|(from, _)| *from == key(peer)).count();
        let (most, expected) = (from(1), large_frames(round - 1));
        assert!(most.abs_diff(expected) < 3, "round {round}: {most} frames, expected about {expected}");
        assert_eq!(from(2), 12 * round);
        assert_eq!(world.held_back(0, 1), HeldBack { pauses: 0, dropped: (600 * round - most) as u64 });
        world.pass(seconds(1));
    }
    // Nothing that it sends later is lost.
    world.pass(seconds(1));
    world.assert_linked(0, 1);
    assert!(world.processes[0].closed.is_empty());
    assert_eq!(world.held_back(0, 2), HeldBack::default());
}

#[test]
fn a_connection_of_a_flooding_member_is_not_read_for_a_moment_and_nothing_is_lost() {
    let mut world = World::new(2);
    let (_, way) = world.dial(1, 0);
    world.pass(seconds(20));
    let (began, mut pauses) = (world.now, 0);
    for number in 0..600 {
        world.send_sized(1, 0, LARGE);
        assert_eq!(world.processes[0].delivered.drain(..).count(), 1, "message {number}");
        while let Some(pause) = world.pause(0, way) {
            assert!(
                pause < Duration::from_millis(100),
                "{pause:?}: the other end must not think that this one is dead"
            );
            pauses += 1;
            world.now += pause;
        }
    }
    let mib = u32::try_from(600 * (LARGE >> 10)).unwrap() >> 10;
    let least = seconds(1) * mib / MIB_PER_SECOND - seconds(4);
    assert!(world.now - began > least, "{:?} instead of {least:?}", world.now - began);
    assert!(pauses > 200 && world.held_back(0, 1) == HeldBack { pauses, dropped: 0 });
    assert!(world.processes[0].closed.is_empty());
}

#[test]
fn many_small_frames_are_as_bounded_as_large_ones() {
    let mut world = World::new(2);
    let (_, way) = world.dial(1, 0);
    world.pass(seconds(20));
    let mut taken = 0;
    while world.pause(0, way).is_none() {
        world.send_sized(1, 0, 1);
        taken += 1;
        assert!(taken < 5 * FRAMES_PER_SECOND, "no end");
    }
    assert_eq!(taken, 4 * FRAMES_PER_SECOND);
    world.now += seconds(1) / FRAMES_PER_SECOND;
    assert_eq!(world.pause(0, way), None);
}

/// Nothing is verified of these, but reading them costs time, too.
#[test]
fn frames_that_are_not_new_count_on_a_connection() {
    let mut world = World::new(2);
    let (_, way) = world.dial(1, 0);
    world.pass(seconds(20));
    world.send(1, 0, "once");
    let frame = world.flying.front().unwrap().bytes.clone();
    world.settle();
    world.send(1, 0, "again");
    world.settle();
    let mut taken = 0;
    while world.pause(0, way).is_none() {
        world.frame(0, way, frame.clone());
        taken += 1;
        assert!(taken < 5 * FRAMES_PER_SECOND, "no end");
    }
    assert_eq!(taken + 2, 4 * FRAMES_PER_SECOND);
    assert_eq!(world.texts(0), ["once", "again"]);
}

/// A lying relay must not be able to silence a member on its connection, or on another relay.
#[test]
fn forged_and_repeated_frames_use_up_nothing_of_the_member_that_they_name() {
    let mut world = World::new(2);
    let relay = world.relay(0, 0);
    world.dial(1, 0);
    world.relay(1, 0);
    world.pass(seconds(20));
    world.send(1, 0, "recorded");
    let recorded = world.flying.front().unwrap().bytes.clone();
    world.settle();
    // A new frame of the right session, by its looks.
    let header = *PeerFrame::decode(&recorded).unwrap().header();
    let header = FrameHeader { number: header.number + 1000, ..header };
    let forged = header.seal_message(&vec![7; LARGE], &PeerSession([8; 16]), &CLUSTER, &secret(2)).unwrap();
    for _ in 0..40_000 {
        world.frame(0, relay, recorded.clone());
        world.frame(0, relay, forged.clone().into());
    }
    world.assert_linked(0, 1);
    assert_eq!(world.held_back(0, 1), HeldBack::default());
}

#[test]
fn an_honest_member_that_sends_blocks_for_as_long_as_it_takes_is_never_held_back() {
    let mut world = World::new(2);
    let (_, way) = world.dial(1, 0);
    world.pass(seconds(20));
    // As fast as 200 blocks a second, in batches as answers have: several times what a processor checks.
    for batch in 0..60 {
        for _ in 0..32 {
            world.send_sized(1, 0, BLOCK);
            assert_eq!(world.pause(0, way), None, "batch {batch}");
        }
        world.processes[0].delivered.clear();
        world.now += seconds(32) / 200;
    }
    assert_eq!(world.held_back(0, 1), HeldBack::default());
}
