//! One test for each rule of the table.

use super::*;
use crate::fixture::{TestCommittee, node_key};

const NOW: Duration = Duration::from_secs(100);
const MS: Duration = Duration::from_millis(1);

fn link(replica: u8, number: u64) -> LinkId {
    LinkId { node_key: node_key(replica), number }
}

fn failed(code: Code, why: &str) -> Message {
    Message::failed(Stream(1), code, why)
}

/// Four members, each with a link.
struct HealthWorld {
    health: Health,
    committee: CommitteeRecord,
}

impl HealthWorld {
    fn new() -> Self {
        let mut health = Health::default();
        (1..=4).for_each(|replica| health.connected(link(replica, replica.into())));
        Self { health, committee: TestCommittee::of([1, 2, 3, 4]).committee.record().clone() }
    }

    fn member(&self, replica: u8) -> u16 {
        self.committee.position(&node_key(replica)).unwrap()
    }

    fn observe(&mut self, replica: u8, observed: Observed) -> Option<HealthNotice> {
        self.health.observe(&link(replica, replica.into()), observed, NOW)
    }

    fn reply(&mut self, replica: u8, message: &Message) -> Option<String> {
        self.health.record_reply(&link(replica, replica.into()), message, NOW)
    }

    fn trouble(&self, replica: u8) -> Option<Trouble> {
        self.health.trouble(&node_key(replica), NOW)
    }

    /// A new link of a replica replaces its earlier one.
    fn reconnect(&mut self, replica: u8) {
        self.health.connected(link(replica, 100));
    }

    fn is_healthy(&self) -> bool {
        self.health.records.is_empty()
    }
}

#[test]
fn a_slow_reader_is_left_out_of_puts_until_its_queue_is_empty() {
    let mut world = HealthWorld::new();
    let news = world.observe(2, Observed::TookBytesTooSlowly).unwrap();
    assert_eq!(news.code, Code::TimedOut);
    assert!(world.observe(2, Observed::TookBytesTooSlowly).is_some(), "another put continued without it");
    assert!(
        world.health.is_left_out_of_puts(&node_key(2), NOW) && !world.health.is_left_out_of_puts(&node_key(1), NOW)
    );
    assert_eq!(world.health.not_awaited_with_bytes(&world.committee, NOW), [world.member(2)].into());
    assert!(world.health.not_awaited_to_store(&world.committee, NOW).is_empty(), "it may still store in time");
    assert_eq!(world.trouble(2), Some(Trouble::Lagging));
    assert_eq!(world.observe(2, Observed::TookAllBytes), None);
    assert!(!world.health.is_left_out_of_puts(&node_key(2), NOW) && world.is_healthy());
}

#[test]
fn a_late_storer_is_not_awaited_until_it_stores_in_time() {
    let mut world = HealthWorld::new();
    assert!(world.observe(3, Observed::StoredTooLate).is_some());
    assert_eq!(world.observe(3, Observed::StoredTooLate), None, "reported once");
    assert_eq!(world.health.not_awaited_to_store(&world.committee, NOW), [world.member(3)].into());
    assert!(world.health.not_awaited_to_vote(&world.committee, NOW).is_empty(), "it may still vote in time");
    assert_eq!(world.health.not_awaited_with_bytes(&world.committee, NOW), [world.member(3)].into());
    assert!(!world.health.is_left_out_of_puts(&node_key(3), NOW), "it still takes part in puts");
    assert_eq!(world.trouble(3), Some(Trouble::Late));
    world.observe(3, Observed::VotedInTime);
    assert_eq!(world.trouble(3), Some(Trouble::Late));
    world.observe(3, Observed::StoredInTime);
    assert!(world.is_healthy());
}

#[test]
fn an_answer_after_the_end_of_a_put_may_be_in_time() {
    for (put, at, is_late) in
        [(Stream(1), NOW + 49 * MS, false), (Stream(1), NOW + 50 * MS, true), (Stream(2), NOW, true)]
    {
        let mut world = HealthWorld::new();
        world.observe(3, Observed::StoredTooLate);
        world.health.put_ended(Stream(1), NOW + 50 * MS);
        world.health.stored_after_end(&link(3, 3), put, at);
        assert_eq!(world.trouble(3).is_some(), is_late, "{put:?} {at:?}");
    }
}

#[test]
fn a_late_voter_is_not_awaited_until_it_votes_in_time() {
    let mut world = HealthWorld::new();
    assert!(world.observe(3, Observed::VotedTooLate).is_some());
    assert_eq!(world.observe(3, Observed::VotedTooLate), None, "reported once");
    assert_eq!(world.health.not_awaited_to_vote(&world.committee, NOW), [world.member(3)].into());
    assert!(world.health.not_awaited_to_store(&world.committee, NOW).is_empty());
    world.observe(3, Observed::StoredInTime);
    assert_eq!(world.health.not_awaited_to_vote(&world.committee, NOW).len(), 1);
    world.observe(3, Observed::VotedInTime);
    assert!(world.is_healthy());
}

#[test]
fn storage_and_clock_trouble_end_with_a_vote_or_a_report() {
    let mut world = HealthWorld::new();
    let stored = |stream| Message::Stored { stream };
    let storage = || Some(Trouble::StorageFailed("disk".into()));
    let clock = || Some(Trouble::ClockInDoubt("off".into()));
    for (message, expected) in [
        (failed(Code::Storage, "disk"), storage()),
        (failed(Code::NoSpace, "full"), storage()),
        (stored(Stream(1)), None),
        (failed(Code::ClockInDoubt, "off"), clock()),
        (stored(Stream(1)), clock()),
        (stored(Stream::REPLICA), None),
        // the last report counts
        (failed(Code::Storage, "disk"), storage()),
        (failed(Code::ClockInDoubt, "off"), clock()),
        (failed(Code::Storage, "disk"), storage()),
        (stored(Stream(1)), None),
    ] {
        world.reply(4, &message);
        assert_eq!(world.trouble(4), expected, "{message:?}");
    }
}

#[test]
fn a_replicas_report_is_logged_when_it_changes() {
    let mut world = HealthWorld::new();
    let by_itself = |code, why: &str| Message::failed(Stream::REPLICA, code, why);
    assert_eq!(world.reply(1, &failed(Code::Storage, "disk")), None, "the put reports it to its client");
    assert_eq!(world.reply(1, &by_itself(Code::Storage, "disk")), None);
    let line = world.reply(1, &by_itself(Code::Storage, "another disk"));
    assert_eq!(line.as_deref(), Some("says that its storage failed: another disk"));
    let line = world.reply(1, &by_itself(Code::ClockInDoubt, "off by 70 s"));
    assert_eq!(line.as_deref(), Some("says that it signs nothing: off by 70 s"));
    assert_eq!(world.reply(1, &failed(Code::ClockInDoubt, "off by 71 s")), None);
    assert_eq!(world.trouble(1), Some(Trouble::ClockInDoubt("off by 71 s".into())));
}

#[test]
fn a_replica_that_failed_a_get_is_read_last_for_ten_minutes() {
    let mut world = HealthWorld::new();
    let second = Duration::from_secs(1);
    let mut blame = |replica, at: u32| world.health.blame(&node_key(replica), Fault::FailedGet, at * second);
    assert_eq!(blame(1, 100), None, "reported by each get");
    blame(3, 200);
    let read_last = |at: u32| world.health.read_last(at * second);
    let [first, third] = [1, 3].map(node_key);
    assert_eq!(read_last(100), [first, third].into());
    assert_eq!(read_last(699), [first, third].into());
    assert_eq!(read_last(700), [third].into());
    assert!(read_last(800).is_empty());
    assert!(world.health.doubted(&world.committee, 200 * second).is_empty());
    world.health.blame(&node_key(3), Fault::FailedGet, 700 * second);
    assert_eq!(world.health.read_last(1299 * second), [third].into(), "a new fault restarts the ten minutes");
}

#[test]
fn a_replica_that_lacked_claimed_bytes_is_doubted_for_ten_minutes() {
    let mut world = HealthWorld::new();
    assert_eq!(world.health.blame(&node_key(2), Fault::LackedWhatItOffered, NOW), None);
    let doubted = |at| world.health.doubted(&world.committee, at);
    assert_eq!(doubted(NOW + FAULT_COUNTS - MS), [world.member(2)].into());
    assert!(doubted(NOW + FAULT_COUNTS).is_empty());
    assert!(world.health.read_last(NOW).is_empty());
}

#[test]
fn votes_of_a_false_voter_are_verified_apart_for_ever() {
    let mut world = HealthWorld::new();
    let news = world.health.blame(&node_key(2), Fault::VotedFalsely, NOW).unwrap();
    assert_eq!(news.code, Code::NotAuthenticated);
    assert_eq!(world.health.blame(&node_key(2), Fault::VotedFalsely, NOW), None, "reported once");
    assert_eq!(world.health.verified_apart(&world.committee, 1000 * FAULT_COUNTS), [world.member(2)].into());
}

#[test]
fn a_new_link_resets_slowness_but_not_faults() {
    let everything = |world: &mut HealthWorld| {
        for observed in [Observed::TookBytesTooSlowly, Observed::StoredTooLate, Observed::VotedTooLate] {
            world.observe(2, observed);
        }
        world.reply(2, &failed(Code::Storage, "disk"));
        for fault in [Fault::FailedGet, Fault::LackedWhatItOffered, Fault::VotedFalsely] {
            world.health.blame(&node_key(2), fault, NOW);
        }
    };
    let check = |world: &HealthWorld| {
        let (health, committee) = (&world.health, &world.committee);
        let ended = [health.not_awaited_to_store(committee, NOW), health.not_awaited_to_vote(committee, NOW)];
        assert!(ended.iter().all(BTreeSet::is_empty) && !health.is_left_out_of_puts(&node_key(2), NOW));
        assert_eq!(health.read_last(NOW), [node_key(2)].into());
        let kept = [health.doubted(committee, NOW), health.verified_apart(committee, NOW)];
        assert!(kept.iter().all(|members| *members == [world.member(2)].into()), "{kept:?}");
    };
    let mut world = HealthWorld::new();
    everything(&mut world);
    world.reconnect(2);
    check(&world);
    assert_eq!(world.trouble(2), None);

    let mut world = HealthWorld::new();
    everything(&mut world);
    world.health.disconnected(link(2, 2));
    check(&world);
    assert_eq!(world.trouble(2), Some(Trouble::Missing));
}

#[test]
fn observations_on_an_earlier_link_are_ignored() {
    let mut world = HealthWorld::new();
    world.reconnect(2);
    assert_eq!(world.observe(2, Observed::StoredTooLate), None);
    assert_eq!(world.reply(2, &failed(Code::Storage, "disk")), None);
    world.health.disconnected(link(2, 2));
    assert_eq!(world.trouble(2), None);
    assert!(world.is_healthy());
    world.health.observe(&link(2, 100), Observed::StoredTooLate, NOW);
    world.observe(2, Observed::StoredInTime);
    assert_eq!(world.trouble(2), Some(Trouble::Late));
}

#[test]
fn health_follows_the_node_key_into_another_committee() {
    let mut world = HealthWorld::new();
    world.observe(4, Observed::StoredTooLate);
    for replica in [2, 4] {
        world.health.blame(&node_key(replica), Fault::LackedWhatItOffered, NOW);
    }
    let next = TestCommittee::of([4, 5, 6, 7]).committee.record().clone();
    let place = next.position(&node_key(4)).unwrap();
    assert_eq!(world.health.not_awaited_to_store(&next, NOW), [place].into());
    assert_eq!(world.health.doubted(&next, NOW), [place].into(), "only members of the committee are returned");
}
