//! The resume offset of an offered put.

use super::*;

const MIB: u64 = 1 << 20;
/// Not a whole number of blocks.
const LENGTH: u64 = 64 * MIB + 5;

fn offered() -> PutWorld {
    let world = PutWorld::new(4, 0..4, Some(receipt(LENGTH)));
    assert!(world.out.is_empty(), "the client waits");
    world
}

/// The resume offset sent to the client.
fn ready(out: &[PutOutput]) -> Option<u64> {
    answers(out).find_map(|answer| match answer {
        PutAnswer::Ready(offset) => Some(*offset),
        _ => None,
    })
}

fn left_out(out: &[PutOutput]) -> Vec<u16> {
    let member = |action: &PutAction| match action {
        PutAction::LeaveOut(member, ..) => Some(*member),
        _ => None,
    };
    actions(out).filter_map(member).collect()
}

fn rest_from(offset: u64) -> [PutInput; 2] {
    [PutInput::Chunk { offset, length: LENGTH - offset }, PutInput::End(receipt(LENGTH), None)]
}

#[test]
fn the_upload_begins_at_the_least_offset_of_all_members() {
    let mut world = offered();
    for (member, offset) in [(0, 64 * MIB), (1, 40 * MIB), (2, LENGTH)] {
        assert!(world.give(PutInput::Ready(member, offset)).is_empty(), "{member}");
    }
    // the first word counts
    world.give(PutInput::Ready(0, 0));
    let out = world.give(PutInput::Ready(3, 64 * MIB));
    assert_eq!(ready(out), Some(40 * MIB));
    let receiving = [0, 1, 2, 3].map(|member| (member, Stage::Receiving));
    assert_eq!(told(out), receiving, "after it may send, and nothing before");
    for input in rest_from(40 * MIB) {
        assert!(failure(world.give(input)).is_none());
    }
    for member in 0..3 {
        world.give(PutInput::Stored(member));
    }
    assert_eq!(submitted(world.give(PutInput::Stored(3))), Some(vec![0, 1, 2, 3]));
}

#[test]
fn a_member_that_lacks_too_much_is_left_out() {
    let mut world = offered();
    for member in 0..3 {
        world.give(PutInput::Ready(member, 64 * MIB));
    }
    let out = world.give(PutInput::Ready(3, 0));
    assert_eq!((ready(out), left_out(out)), (Some(64 * MIB), vec![3]));
    assert_eq!(told(out)[3], (3, Stage::Dropped));
    assert_eq!(world.members(), [0, 1, 2]);
}

#[test]
fn bytes_that_all_members_hold_are_not_sent() {
    let mut world = offered();
    for member in 0..4 {
        world.give(PutInput::Ready(member, LENGTH));
    }
    let out = world.give(PutInput::End(receipt(LENGTH), None));
    assert!(matches!(out, [PutOutput::Action(PutAction::ForwardEnd(..))]), "{out:?}");
    assert!(matches!(world.noted.last(), Some(PutAction::StoringBegan)));
}

#[test]
fn a_late_resume_offset_within_reach_still_takes_part() {
    let late = || {
        let mut world = offered();
        world.say(0..3, 32 * MIB);
        assert_eq!(ready(world.wait(LEAST_GRACE - Duration::from_millis(1))), None);
        assert_eq!(ready(world.wait(Duration::from_millis(1))), Some(32 * MIB));
        world
    };
    let mut world = late();
    assert!(world.give(PutInput::Ready(3, 32 * MIB)).is_empty());
    assert!(world.members().contains(&3));
    let mut world = late();
    let out = world.give(PutInput::Ready(3, 31 * MIB));
    assert_eq!((left_out(out), told(out)), (vec![3], vec![(3, Stage::Dropped)]), "its bytes do not come any more");

    // who was late before is not waited for
    let mut world = PutWorld::new(4, 0..4, Some(receipt(LENGTH)));
    world.context.not_awaited.insert(3);
    world.give(PutInput::Ready(0, 0));
    world.give(PutInput::Ready(1, 0));
    assert_eq!(ready(world.give(PutInput::Ready(2, 0))), Some(0));
}

#[test]
fn silent_members_are_named_after_the_time_to_read_the_blob() {
    let mut world = offered();
    world.give(PutInput::Ready(0, 0));
    world.give(PutInput::Ready(0, MIB));
    world.give(PutInput::Ready(1, 0));
    assert!(world.wait(Deadlines::default().storing).is_empty());
    let failed = failure(world.wait(Duration::from_millis(2001))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::TimedOut, &[2, 3][..]));
}

#[test]
fn impossible_offsets_are_refused() {
    for offset in [1, MIB - 1, LENGTH - 1, LENGTH + 1, 65 * MIB, u64::MAX] {
        let mut world = offered();
        let out = world.give(PutInput::Ready(0, offset));
        assert_eq!((left_out(out), ready(out)), (vec![0], None), "{offset}");
        // more than f of them are the reason that the client hears
        let failed = failure(world.give(PutInput::Ready(1, offset))).unwrap();
        assert_eq!((failed.code, failed.subjects.as_slice()), (Code::Unexpected, &[0, 1][..]), "{offset}");
        assert!(failed.detail.contains(&offset.to_string()), "{}", failed.detail);
    }
}

#[test]
fn members_may_refuse_or_disconnect_before_any_byte_is_sent() {
    let mut world = offered();
    assert!(world.give(PutInput::Failed(0, Failed::new(STREAM, Code::NoSpace, "full"))).is_empty());
    // what a member said that is gone is not counted
    assert_eq!(ready(world.say(1..4, 0)), Some(0));
    let mut gone = offered();
    gone.give(PutInput::Ready(0, 0));
    gone.lose(0);
    assert_eq!(ready(gone.say(1..4, 32 * MIB)), Some(32 * MIB));

    let mut full = offered();
    full.give(PutInput::Failed(0, Failed::new(STREAM, Code::NoSpace, "full")));
    let out = full.give(PutInput::Failed(1, Failed::new(STREAM, Code::NoSpace, "full")));
    assert!(is_cancelled(out), "{out:?}");
    assert_eq!(failure(out).unwrap().code, Code::NoSpace);
    assert!(told(out).is_empty(), "the client may not have been told to send: {out:?}");
}

#[test]
fn bytes_before_ready_or_at_another_offset_are_refused() {
    let code = |world: &mut PutWorld, input| failure(world.give(input)).map(|failed| failed.code);
    for input in rest_from(0) {
        assert_eq!(code(&mut offered(), input), Some(Code::Unexpected));
    }
    let begun = |offset| {
        let mut world = offered();
        world.say(0..4, offset);
        world
    };
    for offset in [0, 31 * MIB, 33 * MIB] {
        let chunk = PutInput::Chunk { offset, length: MIB };
        assert_eq!(code(&mut begun(32 * MIB), chunk), Some(Code::Unexpected), "{offset}");
    }
    assert_eq!(code(&mut begun(32 * MIB), PutInput::End(receipt(LENGTH), None)), Some(Code::LengthDiffers));
    let longer = PutInput::Chunk { offset: 32 * MIB, length: LENGTH - 32 * MIB + 1 };
    assert_eq!(code(&mut begun(32 * MIB), longer), Some(Code::LengthDiffers));
}

#[test]
fn a_stream_begins_at_once_without_resume_offsets() {
    let mut world = PutWorld::new(4, 0..3, None);
    assert_eq!(ready(&world.out), Some(0));
    assert_eq!(told(&world.out).len(), 3);
    assert!(world.give(PutInput::Ready(0, 7)).is_empty(), "an answer to nothing");
}

#[test]
fn a_member_that_claimed_bytes_and_did_not_store_is_doubted() {
    let doubted = |out: &[PutOutput]| -> Vec<u16> {
        let member = |action: &PutAction| if let PutAction::Doubt(member) = action { Some(*member) } else { None };
        actions(out).filter_map(member).collect()
    };
    let begun = |there: u64| {
        let mut world = offered();
        world.say(0..3, there);
        world.say([3], 0);
        world
    };
    let lied = || PutInput::Failed(0, Failed::new(STREAM, Code::NotHeld, "I never had it"));
    let mut world = begun(64 * MIB);
    assert_eq!(doubted(world.give(lied())), [0], "and not the one that was left out");
    let mut from_the_beginning = begun(0);
    from_the_beginning.give(lied());
    assert!(doubted(from_the_beginning.lose(1)).is_empty(), "it was sent all bytes");

    let mut silent = begun(64 * MIB);
    for input in rest_from(64 * MIB) {
        silent.give(input);
    }
    silent.give(PutInput::Stored(1));
    silent.give(PutInput::Stored(2));
    assert_eq!(doubted(silent.wait(Deadlines::default().storing + Duration::from_millis(1))), [0]);

    let mut at_the_vote = begun(64 * MIB);
    for input in rest_from(64 * MIB).into_iter().chain((0..3).map(PutInput::Stored)) {
        at_the_vote.give(input);
    }
    let few = Failed::new(STREAM, Code::NotEnoughReplicas, "few").with_subjects(vec![0, 3]);
    assert_eq!(doubted(at_the_vote.give(PutInput::Uncertified(few))), [0]);

    // and then it leaves nobody out
    let mut again = PutWorld::asked(4, 0..4, request(Some(receipt(LENGTH))));
    again.context.doubted.insert(0);
    again.give(PutInput::Begin);
    again.say(0..3, 64 * MIB);
    let out = again.say([3], 0);
    assert_eq!((ready(out), left_out(out)), (Some(0), vec![]));
}

/// An offer of a blob that was certified before.
fn offered_again(length: u64) -> PutWorld {
    let mut world = PutWorld::asked(4, 0..4, request(Some(receipt(length))));
    world.earlier = Some(world.certificate(&[0, 1, 2], receipt(length)));
    world.give(PutInput::Begin);
    world
}

#[test]
fn an_earlier_certificate_needs_a_quorum_that_holds_the_blob_now() {
    let world = || offered_again(LENGTH);
    // silent members and those that lack bytes are not awaited
    let mut all = world();
    assert!(certified(all.say([0, 3], LENGTH)).is_none());
    all.say([1], 0);
    let out = all.say([2], LENGTH);
    assert_eq!(certified(out).map(|found| found.claim.receipt.length), Some(LENGTH));
    assert!(is_cancelled(out), "the members are told");
    assert_eq!(ready(out), None);
    assert!(all.put.is_over());
    // two of four are no quorum: the bytes are asked for, and no earlier certificate is handed out any more
    let mut two = world();
    two.say([0, 1], LENGTH);
    two.say([2], LENGTH - 5);
    let out = two.say([3], 0);
    assert!(certified(out).is_none());
    assert_eq!(ready(out), Some(LENGTH - 5));
    let mut none = world();
    assert_eq!(ready(none.say(0..4, 0)), Some(0));
    for input in rest_from(0) {
        assert!(certified(none.give(input)).is_none());
    }
    for member in 0..3 {
        assert!(certified(none.give(PutInput::Stored(member))).is_none());
    }
    assert!(submitted(none.give(PutInput::Stored(3))).is_some(), "a new one is made");
}

#[test]
fn an_empty_blob_has_no_confirmed_holders() {
    let mut world = offered_again(0);
    let out = world.say(0..4, 0);
    assert!(certified(out).is_none() && ready(out) == Some(0));
}
