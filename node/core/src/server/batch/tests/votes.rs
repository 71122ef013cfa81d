//! Late, false and verified votes.

use super::*;

#[test]
fn a_lying_member_is_left_out_and_fails_no_put() {
    let mut world = BatchWorld::new(4);
    for number in 0..3 {
        world.submit(number, 0..4);
    }
    world.advance();
    let asked = world.one_proposed();
    // by another key; over another batch; by a member that was not asked
    let signature = world.signature(&asked, 2);
    world.give(BatchInput::Vote { batch: asked.batch, member: 1, signature });
    world.vote(&asked, 1);
    for member in [0, 2] {
        world.vote(&asked, member);
        world.vote(&asked, member);
    }
    assert!(world.certified.is_empty(), "a vote counts once");
    world.vote(&asked, 3);
    assert_eq!(world.signers(0), [0, 2, 3]);
    assert_eq!(world.certified.len(), 3);
    assert_eq!(world.false_votes, [1]);
}

#[test]
fn votes_are_verified_together_and_those_of_liars_apart() {
    let mut world = BatchWorld::new(4);
    let propose = |world: &mut BatchWorld, number| {
        world.submit(number, 0..4);
        world.advance();
        world.one_proposed()
    };
    let first = propose(&mut world, 1);
    (0..4).for_each(|member| world.vote(&first, member));
    assert_eq!(std::mem::take(&mut world.verified), [vec![0, 1, 2], vec![3]], "from a quorum on");

    let second = propose(&mut world, 2);
    world.vote(&second, 0);
    let signature = world.signature(&second, 2);
    world.give(BatchInput::Vote { batch: second.batch, member: 1, signature });
    assert!(world.verified.is_empty());
    [3, 2].into_iter().for_each(|member| world.vote(&second, member));
    assert_eq!(std::mem::take(&mut world.verified), [vec![0, 1, 3], vec![2]]);
    assert_eq!(world.signers(2), [0, 2, 3]);

    let third = propose(&mut world, 3);
    world.refuse(&third, 0, Code::Clock, &[]);
    [1, 2].into_iter().for_each(|member| world.vote(&third, member));
    assert!(world.verified.is_empty());
    world.vote(&third, 3);
    assert_eq!(world.verified, [vec![1], vec![2, 3]], "a liar's vote fails alone");
    assert_eq!(world.signers(3), [1, 2, 3]);
}

#[test]
fn a_silent_member_delays_only_one_batch() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.advance();
    let first = world.one_proposed();
    (0..3).for_each(|member| world.vote(&first, member));
    world.wait(LEAST_GRACE - Duration::from_millis(1));
    assert!(world.certified.is_empty());
    world.wait(Duration::from_millis(1));
    assert_eq!(world.signers(1), [0, 1, 2]);
    // the next batch does not wait for it
    world.submit(2, 0..4);
    world.advance();
    let second = world.one_proposed();
    (0..3).for_each(|member| world.vote(&second, member));
    assert_eq!(world.signers(2), [0, 1, 2]);
    // an answer to the first is long late, one to the second is in time
    world.vote(&first, 3);
    assert!(world.late.contains(&3));
    world.vote(&second, 3);
    assert!(!world.late.contains(&3));
    world.submit(3, 0..4);
    world.advance();
    let third = world.one_proposed();
    (0..3).for_each(|member| world.vote(&third, member));
    assert!(!world.certified.contains_key(&Stream(3)), "it is waited for again");
    world.vote(&third, 3);
    assert_eq!(world.signers(3), [0, 1, 2, 3]);
}

#[test]
fn too_few_votes_fail_at_the_deadline_and_name_silent_members() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.advance();
    let asked = world.one_proposed();
    world.vote(&asked, 1);
    world.vote(&asked, 2);
    world.wait(VOTING);
    assert!(world.failed.is_empty());
    world.wait(Duration::from_millis(1));
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::TimedOut, &[0, 3][..]));
}

#[test]
fn a_verified_vote_counts_after_its_member_disconnects() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.advance();
    let asked = world.one_proposed();
    world.vote(&asked, 0);
    world.give(BatchInput::Lost(0));
    world.give(BatchInput::Lost(3));
    world.vote(&asked, 1);
    world.vote(&asked, 2);
    assert_eq!(world.signers(1), [0, 1, 2]);
}

#[test]
fn every_false_voter_is_reported() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.advance();
    let asked = world.proposed().remove(0);
    let other = Asked { receipts: vec![receipt(2)], ..asked.clone() };
    // a signature of another statement, and no signature at all
    world.vote(&asked, 2);
    let lies = [(0, world.signature(&other, 0)), (1, VoteSignature([0x5A; 96]))];
    for (member, signature) in lies {
        world.give(BatchInput::Vote { batch: asked.batch, member, signature });
    }
    world.vote(&asked, 3);
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotAuthenticated, [0, 1].as_slice()));
    for name in ["replica-0", "replica-1"] {
        assert!(failed.detail.contains(&format!("{name}: the vote is not the member's signature")), "{failed}");
    }
}
