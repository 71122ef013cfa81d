//! Trees of large batches, which are built elsewhere.

use super::*;

/// Numbers of puts that make a batch too large to be built inline.
const LARGE: std::ops::RangeInclusive<u32> = 0..=64;

#[test]
fn only_the_tree_of_a_large_batch_is_a_request() {
    for (count, is_requested) in [(1, false), (BUILT_INLINE, false), (LARGE.count(), true)] {
        let mut world = BatchWorld::new(1);
        (world.builds_late, world.storing) = (true, 1);
        (0..).take(count).for_each(|number| world.submit(number, [0]));
        world.wait(BatchPolicy::default().linger);
        assert_eq!((world.asked.is_empty(), world.unbuilt.len()), (is_requested, usize::from(is_requested)), "{count}");
        world.build();
        assert_eq!(world.one_proposed().receipts.len(), count);
    }
}

#[test]
fn a_batch_that_is_being_built_counts_as_being_signed() {
    let mut world = BatchWorld::new(4);
    (world.builds_late, world.storing) = (true, 1);
    LARGE.for_each(|number| world.submit(number, 0..4));
    world.wait(BatchPolicy::default().linger);
    assert_eq!(world.batches.next_tick(&world.context()), None, "the completion is the next event");
    // the next receipts gather meanwhile, and overtake the batch if its tree takes longer than they may wait
    world.storing = 0;
    (90..93).for_each(|number| world.submit(number, 0..4));
    world.advance();
    assert!(world.asked.is_empty());
    world.wait(BatchPolicy::default().wait);
    assert_eq!(numbers(&world.one_proposed()), [90, 91, 92]);
    world.build();
    let large = world.one_proposed();
    assert_eq!(numbers(&large), LARGE.collect::<Vec<_>>(), "in the order of their submission");
    // at the limit of batches, none begins
    let at_once = BatchPolicy::default().at_once;
    let mut world = BatchWorld::new(4);
    world.builds_late = true;
    for number in (0..).take(at_once + 1) {
        LARGE.for_each(|receipt| world.submit(100 * number + receipt, 0..4));
        world.wait(BatchPolicy::default().wait);
    }
    assert_eq!(world.unbuilt.len(), at_once);
}

#[test]
fn members_that_store_while_a_batch_is_built_are_asked_too() {
    let mut world = BatchWorld::new(4);
    (world.builds_late, world.storing) = (true, 1);
    for number in LARGE {
        world.submit(number, if number == 3 { 0..3 } else { 0..4 });
    }
    world.wait(BatchPolicy::default().linger);
    world.give(BatchInput::AlsoHeld { put: Stream(3), member: 3 });
    world.give(BatchInput::Lost(1));
    world.build();
    let asked = world.one_proposed();
    assert_eq!(asked.members, [0, 1, 2, 3], "the shell reports the lost one again when it cannot send");
    world.give(BatchInput::Lost(1));
    [0, 2, 3].into_iter().for_each(|member| world.vote(&asked, member));
    assert_eq!(world.certified.len(), LARGE.count());
    assert_eq!(world.signers(3), [0, 2, 3]);
}

#[test]
fn the_puts_of_a_batch_that_cannot_be_built_fail() {
    let mut world = BatchWorld::new(1);
    (world.builds_late, world.storing) = (true, 1);
    LARGE.for_each(|number| world.submit(number, [0]));
    world.wait(BatchPolicy::default().linger);
    let (batch, ..) = world.unbuilt.remove(0);
    world.give(BatchInput::Built { batch, receipts: None });
    assert_eq!(world.failed.len(), LARGE.count());
    assert_eq!(world.failed[&Stream(0)].code, Code::Storage);
    world.give(BatchInput::Built { batch, receipts: None });
    assert!(world.asked.is_empty() && world.batches.next_tick(&world.context()).is_none());
}
