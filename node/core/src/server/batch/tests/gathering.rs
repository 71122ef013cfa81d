//! Which receipts a batch gets, and when it is proposed to whom.

use super::*;

#[test]
fn a_lone_receipt_is_proposed_at_once() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.advance();
    let asked = world.one_proposed();
    assert_eq!((asked.members.as_slice(), numbers(&asked)), (&[0, 1, 2, 3][..], vec![1]));
    for member in 0..4 {
        assert!(world.certified.is_empty());
        world.vote(&asked, member);
    }
    assert_eq!(world.signers(1), [0, 1, 2, 3]);
    assert_eq!(world.batches.next_tick(&world.context()), None, "nothing is left to do");
}

#[test]
fn a_receipt_lingers_while_other_puts_are_stored() {
    let mut world = BatchWorld::new(4);
    world.storing = 1;
    world.submit(1, 0..4);
    world.advance();
    assert!(world.proposed().is_empty());
    assert_eq!(world.batches.next_tick(&world.context()), Some(world.now + BatchPolicy::default().linger));
    world.now += Duration::from_millis(1);
    world.storing = 0;
    world.submit(2, 0..4);
    world.advance();
    assert_eq!(numbers(&world.one_proposed()), [1, 2]);
    // and no longer
    let mut world = BatchWorld::new(4);
    world.storing = 1;
    world.submit(1, 0..4);
    world.wait(BatchPolicy::default().linger);
    assert_eq!(numbers(&world.one_proposed()), [1]);
}

#[test]
fn the_next_batch_gathers_while_one_is_signed() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.advance();
    let first = world.one_proposed();
    for number in 2..=5 {
        world.submit(number, 0..4);
        world.advance();
    }
    assert!(world.proposed().is_empty());
    (0..4).for_each(|member| world.vote(&first, member));
    world.advance();
    let second = world.one_proposed();
    assert_eq!(numbers(&second), [2, 3, 4, 5]);
    // one that takes long does not block the others, and there are so many at once
    for round in 0..5 {
        world.submit(10 + round, 0..4);
        world.wait(BatchPolicy::default().wait - Duration::from_millis(1));
        assert!(world.proposed().is_empty());
        world.wait(Duration::from_millis(1));
        assert_eq!(world.proposed().len(), usize::from(round < 3), "{round}");
    }
    // the waiting ones go together when there is room
    (0..4).for_each(|member| world.vote(&second, member));
    world.advance();
    assert_eq!(numbers(&world.one_proposed()), [13, 14]);
    assert_eq!(world.certified.len(), 5);
}

#[test]
fn the_size_of_a_batch_is_bounded() {
    let mut world = BatchWorld::new(1);
    world.storing = 1;
    for number in 0..5000 {
        world.submit(number, [0]);
    }
    world.advance();
    assert_eq!(world.one_proposed().receipts.len(), 4096, "a full one waits for nothing");
}

#[test]
fn a_batch_is_proposed_only_to_members_that_hold_all_of_it() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.submit(2, [0, 1, 2]);
    world.submit(3, [1, 2, 3]);
    world.submit(4, [0, 1, 2, 3]);
    world.advance();
    assert_eq!((world.asked[0].members.as_slice(), numbers(&world.asked[0])), (&[0, 1, 2][..], vec![1, 2, 4]));
    let first = world.one_proposed();
    world.wait(BatchPolicy::default().wait);
    let second = world.one_proposed();
    assert_eq!((second.members.as_slice(), numbers(&second)), (&[1, 2, 3][..], vec![3]));
    // a member that stores the rest is asked as well
    world.give(BatchInput::AlsoHeld { put: Stream(2), member: 3 });
    let late = world.one_proposed();
    assert_eq!((late.batch, late.members.as_slice()), (first.batch, &[3][..]));
    for member in [0, 1, 3] {
        world.vote(&first, member);
    }
    world.wait(LEAST_GRACE);
    assert_eq!(world.signers(2), [0, 1, 3]);
}

#[test]
fn a_withdrawn_put_does_not_affect_others() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.submit(2, 0..4);
    world.give(BatchInput::Withdraw(Stream(1)));
    world.advance();
    let asked = world.one_proposed();
    assert_eq!(numbers(&asked), [2]);
    world.give(BatchInput::Withdraw(Stream(2)));
    (0..4).for_each(|member| world.vote(&asked, member));
    assert_eq!(world.certified.len(), 1, "a batch that is being signed is certified anyway");
}
