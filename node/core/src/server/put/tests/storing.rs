//! Members that store: how long each is awaited, and what a put does without them.

use super::*;

#[test]
fn a_put_is_submitted_at_once_when_all_members_have_stored() {
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..3 {
        assert_eq!(submitted(world.give(PutInput::Stored(member))), None);
    }
    assert_eq!(submitted(world.give(PutInput::Stored(3))), Some(vec![0, 1, 2, 3]));
    let out = world.certify(&[0, 1, 2]);
    assert_eq!(told(out), [(0, Stage::Voted), (1, Stage::Voted), (2, Stage::Voted), (3, Stage::Dropped)]);
    assert!(certified(out).is_some_and(|certificate| certificate.signers.count() == 3));
    assert!(world.put.is_over());
}

#[test]
fn a_straggler_gets_only_its_grace_period() {
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..3 {
        world.give(PutInput::Stored(member));
    }
    assert_eq!(submitted(world.wait(LEAST_GRACE - MS)), None);
    let out = world.wait(MS);
    assert_eq!(submitted(out), Some(vec![0, 1, 2]));
    assert!(is_late(out, 3));
    assert!(
        actions(out).any(|action| matches!(action, PutAction::Submit { candidates, .. } if candidates.contains(&3))),
        "{out:?}"
    );
    // it may still sign, for the batcher hears of it; but it was late
    let out = world.give(PutInput::Stored(3));
    assert!(actions(out).any(|action| matches!(action, PutAction::AlsoHeld(3))) && !is_in_time(out, 3), "{out:?}");
}

#[test]
fn a_late_member_is_not_awaited_until_it_stores_in_time() {
    let late = |member| {
        let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
        world.context.not_awaited.insert(member);
        world.end();
        world
    };
    let mut world = late(3);
    world.give(PutInput::Stored(0));
    world.give(PutInput::Stored(1));
    let out = world.give(PutInput::Stored(2));
    assert_eq!(submitted(out), Some(vec![0, 1, 2]), "at once");
    assert!(!is_late(out, 3), "that is known");
    world.context.now += LEAST_GRACE - MS;
    assert!(is_in_time(world.give(PutInput::Stored(3)), 3));

    // before a quorum is as good
    let mut world = late(3);
    assert!(is_in_time(world.give(PutInput::Stored(3)), 3));
    // before the bytes' end it cannot have stored
    let mut world = PutWorld::begun(4, 0..4, None);
    world.context.not_awaited.insert(3);
    assert!(!is_in_time(world.give(PutInput::Stored(3)), 3));
    // where it is needed for a quorum it is waited for, late or not
    let mut world = late(3);
    world.lose(0);
    world.give(PutInput::Stored(1));
    assert_eq!(submitted(world.give(PutInput::Stored(2))), None);
    assert_eq!(submitted(world.give(PutInput::Stored(3))), Some(vec![1, 2, 3]));
}

#[test]
fn a_whole_blob_gets_a_single_answer() {
    let whole = |length| {
        let request = PutRequest { offer: Some(receipt(4)), renew: true, authorisation: None, whole: Some(length) };
        let mut world = PutWorld::asked(4, 0..4, request);
        world.give(PutInput::Begin);
        world
    };
    let mut world = whole(4);
    assert!(matches!(world.out.as_slice(), [PutOutput::Action(PutAction::ForwardBytes(_))]));
    assert!(world.give(PutInput::Failed(1, Failed::new(STREAM, Code::NoSpace, "full"))).is_empty());
    for member in [0, 2] {
        assert!(world.give(PutInput::Stored(member)).is_empty());
    }
    assert!(matches!(world.give(PutInput::Stored(3)), [PutOutput::Action(PutAction::Submit { .. })]));
    assert!(matches!(world.certify(&[0, 2, 3]), [PutOutput::Answer(PutAnswer::Certified(_))]));
    // its length is looked at, the digest is the replicas' matter
    assert_eq!(failure(&whole(5).out).unwrap().code, Code::LengthDiffers);
}

#[test]
fn below_a_quorum_the_put_fails_and_names_late_members() {
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    world.end();
    world.give(PutInput::Stored(0));
    world.give(PutInput::Stored(1));
    assert_eq!(submitted(world.wait(Deadlines::default().storing)), None);
    let failed = failure(world.wait(MS)).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::TimedOut, &[2, 3][..]));
}

#[test]
fn f_members_may_disconnect_and_one_more_fails_the_put_by_name() {
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    assert!(failure(world.lose(2)).is_none());
    world.end();
    world.give(PutInput::Stored(0));
    let failed = failure(world.lose(1)).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[1, 2][..]));
    assert!(failed.detail.contains("missing: replica-1, replica-2"), "{}", failed.detail);
}

#[test]
fn more_than_f_equal_refusals_become_the_reason() {
    let refusal = || Failed::new(STREAM, Code::DigestDiffers, "expected a, got b");
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    world.end();
    assert!(failure(world.give(PutInput::Failed(0, refusal()))).is_none(), "one may lie");
    let failed = failure(world.give(PutInput::Failed(1, refusal()))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::DigestDiffers, &[0, 1][..]));
}
