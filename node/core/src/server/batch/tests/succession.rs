//! While a change of members is approved, enough of those that stay must hold a blob and vote.

use super::*;
use crate::fixture::node_key;

impl BatchWorld {
    /// A committee of seven, of which members 0 to 4 stay in the next one: four of them must hold each blob.
    fn with_change() -> Self {
        let mut world = Self::new(7);
        world.approve();
        world
    }

    fn approve(&mut self) {
        let record = self.committee.record();
        let next = record.members().iter().take(5).map(|member| member.node_key).collect();
        self.staying = StayingMembers::new(record, &next);
    }

    fn also_held(&mut self, number: u32, member: u16) {
        self.give(BatchInput::AlsoHeld { put: Stream(number), member });
        self.advance();
    }
}

#[test]
fn a_quorum_of_those_that_leave_certifies_nothing() {
    let mut world = BatchWorld::with_change();
    world.submit(1, [0, 1, 2, 5, 6]);
    world.advance();
    assert!(world.proposed().is_empty() && world.failed.is_empty(), "three of those that stay hold it, and others may");
    world.also_held(1, 3);
    let asked = world.one_proposed();
    assert_eq!(asked.members, [0, 1, 2, 3, 5, 6]);
    for member in [5, 6, 0, 1, 2] {
        world.vote(&asked, member);
    }
    world.wait(Duration::from_secs(3));
    assert!(world.certified.is_empty(), "a quorum, with three of those that stay");
    world.vote(&asked, 3);
    assert_eq!(world.signers(1), [0, 1, 2, 3, 5, 6]);
}

#[test]
fn a_blob_that_too_few_of_those_that_stay_can_hold_fails_and_they_are_named() {
    let mut world = BatchWorld::with_change();
    world.submit(1, [0, 1, 2, 5, 6]);
    world.advance();
    for member in [3, 4] {
        world.give(BatchInput::NeverHeld { put: Stream(1), member });
    }
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[3, 4][..]));
    assert!(failed.detail.contains("the committee changes"), "{}", failed.detail);
    // So does one that is submitted without candidates, at once.
    let (put, holders) = (Stream(2), [0, 1, 2, 5, 6].into());
    world.give(BatchInput::Submit { put, receipt: receipt(2), holders, candidates: BTreeSet::new() });
    world.advance();
    assert!(world.failed.contains_key(&put) && world.proposed().is_empty());
}

#[test]
fn a_change_that_is_approved_meanwhile_counts_for_batches_that_are_being_signed() {
    let mut world = BatchWorld::new(7);
    world.submit(1, [0, 1, 2, 5, 6]);
    world.advance();
    let before = world.one_proposed();
    world.approve();
    [0, 1, 2, 5, 6].into_iter().for_each(|member| world.vote(&before, member));
    world.advance();
    assert!(world.certified.is_empty() && world.failed.is_empty());
    world.also_held(1, 4);
    let after = world.one_proposed();
    assert_eq!(after.members, [0, 1, 2, 4, 5, 6]);
    after.members.iter().for_each(|member| world.vote(&after, *member));
    world.advance();
    assert_eq!(world.signers(1), [0, 1, 2, 4, 5, 6]);
}

#[test]
fn blobs_share_a_batch_only_with_enough_of_those_that_stay() {
    for (is_approved, batches) in [(false, vec![vec![1, 2]]), (true, vec![vec![1], vec![2]])] {
        let mut world = BatchWorld::new(7);
        if is_approved {
            world.approve();
        }
        world.submit(1, [0, 1, 2, 3, 5, 6]);
        world.submit(2, [0, 1, 2, 4, 5, 6]);
        world.wait(Duration::from_secs(1));
        assert_eq!(world.proposed().iter().map(numbers).collect::<Vec<_>>(), batches);
    }
}

#[test]
fn without_members_that_stay_a_quorum_suffices() {
    let mut world = BatchWorld::new(4);
    world.staying = StayingMembers::new(world.committee.record(), &(10..14).map(node_key).collect());
    world.submit(1, [0, 1, 2]);
    world.advance();
    let asked = world.one_proposed();
    [0, 1, 2].into_iter().for_each(|member| world.vote(&asked, member));
    assert_eq!(world.signers(1), [0, 1, 2]);
}
