//! Which members a put waits for, under the test's clock.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Four members, of which three are a quorum.
struct FanoutWorld {
    fanout: Fanout,
    now: Duration,
    not_awaited: BTreeSet<u16>,
}

impl FanoutWorld {
    fn new() -> Self {
        let fanout = Fanout::new((0..4).collect(), 3);
        Self { fanout, now: Duration::from_secs(100), not_awaited: BTreeSet::new() }
    }

    fn give(&mut self, input: FanoutInput) -> Vec<FanoutOutput> {
        self.fanout.handle(input, self.now, &self.not_awaited)
    }

    /// A message that these members have no room for.
    fn send<const N: usize>(&mut self, without_room: [u16; N]) -> Vec<FanoutOutput> {
        self.give(FanoutInput::Queued { without_room: without_room.into() })
    }

    fn wait(&mut self, duration: Duration) -> Vec<FanoutOutput> {
        self.now += duration;
        self.give(FanoutInput::Tick)
    }

    fn members(&self) -> Vec<u16> {
        self.fanout.members().iter().copied().collect()
    }
}

fn sent(gone: &[u16], too_slow: &[u16]) -> Vec<FanoutOutput> {
    let cancel = |member: &u16| FanoutOutput::Cancel { member: *member, keep: true };
    let forwarded = Forwarded { gone: gone.to_vec(), too_slow: too_slow.to_vec() };
    too_slow.iter().map(cancel).chain([FanoutOutput::Sent(forwarded)]).collect()
}

#[test]
fn a_message_is_sent_at_once_if_all_members_have_room() {
    let mut world = FanoutWorld::new();
    assert_eq!(world.send([]), sent(&[], &[]));
    assert_eq!(world.members(), [0, 1, 2, 3]);
}

#[test]
fn a_quorum_without_room_is_awaited_until_the_deadline() {
    let mut world = FanoutWorld::new();
    let until = world.now + STALL_DEADLINE;
    assert_eq!(world.send([1, 2, 3]), [FanoutOutput::WaitUntil(until)]);
    world.now += SECOND;
    assert_eq!(world.give(FanoutInput::Took(2)), [FanoutOutput::WaitUntil(until)], "two are no quorum");
    assert_eq!(world.wait(STALL_DEADLINE - SECOND - MS), [FanoutOutput::WaitUntil(until)]);
    assert_eq!(world.wait(MS), sent(&[], &[1, 3]));
    assert_eq!(world.members(), [0, 2]);
}

#[test]
fn slow_members_have_one_time_budget_for_all_messages() {
    let mut world = FanoutWorld::new();
    world.send([2, 3]);
    world.now += 20 * SECOND;
    // the time until a quorum has room does not count
    let until = world.now + LAG_BUDGET;
    assert_eq!(world.give(FanoutInput::Took(2)), [FanoutOutput::WaitUntil(until)]);
    world.now += LAG_BUDGET - SECOND;
    assert_eq!(world.give(FanoutInput::Took(3)), sent(&[], &[]));
    // a second is left for all that follow
    world.now += 60 * SECOND;
    assert_eq!(world.send([3]), [FanoutOutput::WaitUntil(world.now + SECOND)]);
    assert_eq!(world.wait(SECOND), sent(&[], &[3]));
}

#[test]
fn after_the_time_budget_slow_members_are_left_out_at_once() {
    let mut world = FanoutWorld { fanout: Fanout::new((0..5).collect(), 3), ..FanoutWorld::new() };
    world.send([4]);
    assert_eq!(world.wait(LAG_BUDGET), sent(&[], &[4]));
    assert_eq!(world.send([3]), [FanoutOutput::WaitUntil(world.now)]);
    assert_eq!(world.give(FanoutInput::Tick), sent(&[], &[3]));
}

#[test]
fn a_member_is_slow_only_at_a_tick() {
    let mut world = FanoutWorld::new();
    world.send([2, 3]);
    world.now += STALL_DEADLINE;
    assert_eq!(world.give(FanoutInput::Took(2)), [FanoutOutput::WaitUntil(world.now + LAG_BUDGET)]);
    world.now += LAG_BUDGET;
    assert_eq!(world.give(FanoutInput::Took(3)), sent(&[], &[]));
}

#[test]
fn known_slow_members_are_awaited_only_below_a_quorum() {
    let mut world = FanoutWorld::new();
    world.not_awaited.insert(3);
    assert_eq!(world.send([3]), sent(&[], &[3]));
    let mut world = FanoutWorld::new();
    world.not_awaited.insert(3);
    assert_eq!(world.send([2, 3]), [FanoutOutput::WaitUntil(world.now + STALL_DEADLINE)]);
    world.now += SECOND;
    assert_eq!(world.give(FanoutInput::Took(3)), [FanoutOutput::WaitUntil(world.now + LAG_BUDGET)], "for member 2");
    // member 3 turned out slow meanwhile
    world.not_awaited.insert(2);
    assert_eq!(world.give(FanoutInput::Tick), sent(&[], &[2]));
}

#[test]
fn a_lost_link_is_not_slowness() {
    let mut world = FanoutWorld::new();
    world.send([2, 3]);
    world.give(FanoutInput::Gone(3));
    assert_eq!(world.give(FanoutInput::Gone(3)), [FanoutOutput::WaitUntil(world.now + STALL_DEADLINE)]);
    assert_eq!(world.give(FanoutInput::Took(2)), sent(&[3], &[]));
    assert_eq!(world.members(), [0, 1, 2]);
}

#[test]
fn each_members_report_counts_once() {
    let mut world = FanoutWorld::new();
    world.send([2, 3]);
    for member in [0, 9] {
        let out = world.give(FanoutInput::Took(member));
        assert_eq!(out, [FanoutOutput::WaitUntil(world.now + STALL_DEADLINE)], "{member} was not awaited");
    }
}

#[test]
fn only_a_member_that_does_not_know_is_sent_a_cancel() {
    let mut world = FanoutWorld::new();
    assert_eq!(world.give(FanoutInput::LeaveOut(1)), [FanoutOutput::Cancel { member: 1, keep: true }]);
    assert!(world.give(FanoutInput::LeaveOut(1)).is_empty(), "once");
    assert!(world.give(FanoutInput::Drop(2)).is_empty());
    assert_eq!(world.members(), [0, 3]);
    let cancelled = [0, 3].map(|member| FanoutOutput::Cancel { member, keep: false });
    assert_eq!(world.give(FanoutInput::Cancel { keep: false }), cancelled);
    assert!(world.members().is_empty());
}

#[test]
fn a_member_that_leaves_is_no_longer_awaited() {
    let mut world = FanoutWorld::new();
    world.send([3]);
    assert_eq!(world.give(FanoutInput::Drop(3)), sent(&[], &[]));
}
