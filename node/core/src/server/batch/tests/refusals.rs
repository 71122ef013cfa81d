//! Members that refuse receipts, and puts that lack a quorum.

use super::*;

#[test]
fn a_member_that_refuses_a_receipt_is_left_out() {
    for (code, subjects) in
        [(Code::NotHeld, &[1][..]), (Code::NotHeld, &[]), (Code::NotHeld, &[999]), (Code::Clock, &[])]
    {
        let mut world = BatchWorld::new(4);
        (0..3).for_each(|number| world.submit(number, 0..4));
        world.advance();
        let asked = world.one_proposed();
        world.refuse(&asked, 2, code, subjects);
        for member in [0, 1, 3] {
            world.vote(&asked, member);
        }
        assert_eq!(world.certified.len(), 3, "{code}: at once");
        assert_eq!(world.signers(1), [0, 1, 3]);
    }
}

#[test]
fn a_bad_receipt_fails_alone() {
    let mut world = BatchWorld::new(4);
    (0..4).for_each(|number| world.submit(number, 0..4));
    world.advance();
    let asked = world.one_proposed();
    // every honest member refuses it; one also refuses a good receipt, which is a lie
    world.refuse(&asked, 3, Code::Expired, &[2, 0]);
    world.refuse(&asked, 1, Code::Expired, &[2]);
    world.advance();
    let failed = &world.failed[&Stream(2)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::Expired, &[1, 3][..]));
    let again = world.one_proposed();
    assert_eq!((again.members.as_slice(), numbers(&again)), (&[0, 1, 2][..], vec![0, 1, 3]));
    for member in 0..3 {
        world.vote(&again, member);
    }
    assert_eq!(world.certified.keys().copied().collect::<Vec<_>>(), [Stream(0), Stream(1), Stream(3)]);
}

#[test]
fn refusals_of_different_receipts_split_a_batch() {
    let mut world = BatchWorld::new(4);
    (0..3).for_each(|number| world.submit(number, 0..4));
    world.advance();
    let asked = world.one_proposed();
    world.refuse(&asked, 0, Code::NotHeld, &[0]);
    world.refuse(&asked, 1, Code::NotHeld, &[2]);
    world.advance();
    world.wait(BatchPolicy::default().wait);
    let split = world.proposed();
    let got: Vec<_> = split.iter().map(|asked| (asked.members.clone(), numbers(asked))).collect();
    assert_eq!(got, [(vec![1, 2, 3], vec![0, 1]), (vec![0, 2, 3], vec![2])]);
    for asked in &split {
        asked.members.clone().into_iter().for_each(|member| world.vote(asked, member));
    }
    assert_eq!(world.certified.len(), 3);
    assert!(world.failed.is_empty());
}

#[test]
fn a_liar_and_a_slow_member_fail_no_put() {
    let below_quorum = || {
        let mut world = BatchWorld::new(4);
        world.submit(1, [0, 1, 2]);
        world.advance();
        let asked = world.one_proposed();
        world.vote(&asked, 1);
        world.refuse(&asked, 0, Code::NotHeld, &[]);
        world.advance();
        assert!(world.failed.is_empty() && world.proposed().is_empty(), "the last one may store it yet");
        world
    };
    let mut world = below_quorum();
    world.give(BatchInput::AlsoHeld { put: Stream(1), member: 3 });
    world.advance();
    let again = world.one_proposed();
    assert_eq!(again.members, [1, 2, 3]);
    again.members.iter().for_each(|member| world.vote(&again, *member));
    assert_eq!(world.signers(1), [1, 2, 3]);

    let ends: [fn(&mut BatchWorld); 3] = [
        |world| world.give(BatchInput::NeverHeld { put: Stream(1), member: 3 }),
        |world| world.give(BatchInput::Lost(3)),
        |world| world.wait(VOTING + Duration::from_millis(1)),
    ];
    for end in ends {
        let mut world = below_quorum();
        end(&mut world);
        assert_eq!(world.failed[&Stream(1)].code, Code::NotEnoughReplicas);
        assert_eq!(world.batches.next_tick(&world.context()), None);
    }
}

#[test]
fn without_a_quorum_every_put_names_the_missing_members() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.submit(2, 0..4);
    world.advance();
    let asked = world.one_proposed();
    world.give(BatchInput::Lost(0));
    assert!(world.failed.is_empty());
    world.give(BatchInput::Lost(3));
    world.advance();
    assert_eq!(world.failed.len(), 2);
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[0, 3][..]));
    // votes that come now are for nobody
    world.vote(&asked, 1);
    assert!(world.certified.is_empty());
}
