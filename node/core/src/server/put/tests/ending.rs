//! How a put ends: by its client's silence, by eviction, by an earlier certificate, or given up.

use super::*;

fn chunk(offset: u64) -> PutInput {
    PutInput::Chunk { offset, length: 1 }
}

fn receiving() -> PutWorld {
    let world = PutWorld::begun(4, 0..4, None);
    assert!(world.put.is_receiving());
    world
}

/// One that waits for its certificate; members 0 to 2 stored.
fn certifying() -> PutWorld {
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    world.end();
    world.store(0..3);
    assert_eq!(submitted(world.wait(LEAST_GRACE)), Some(vec![0, 1, 2]));
    world
}

#[test]
fn a_silent_client_that_owes_bytes_ends_its_put() {
    let mut world = receiving();
    assert!(world.wait(POLICY.client_silence).is_empty());
    let out = world.wait(MS);
    let failed = failure(out).unwrap();
    assert_eq!((failed.code, failed.stream), (Code::TimedOut, STREAM));
    assert_eq!(failed.detail, "expected bytes of the file within 30 s, got none");
    assert!(is_cancelled(out), "the members keep what came: {out:?}");
    assert!(world.put.is_over());
}

#[test]
fn bytes_restart_the_clients_silence() {
    let mut world = receiving();
    world.wait(POLICY.client_silence);
    world.give(chunk(0));
    assert!(world.wait(POLICY.client_silence).is_empty());
    assert!(failure(world.wait(MS)).is_some());
}

#[test]
fn silence_counts_from_ready() {
    let mut world = PutWorld::new(4, 0..4, Some(receipt(4)));
    world.context.now += POLICY.client_silence + MS;
    world.say(0..4, 0);
    assert!(world.wait(POLICY.client_silence).is_empty());
    assert!(failure(world.wait(MS)).is_some());
}

#[test]
fn silence_does_not_count_while_members_have_no_room() {
    let mut world = receiving();
    // the link is not read until the bytes are queued
    world.put.handle(chunk(0), &world.context);
    world.context.now += POLICY.client_silence;
    world.give(PutInput::Forwarded(Forwarded::default()));
    assert!(world.wait(POLICY.client_silence).is_empty());
    assert!(failure(world.wait(MS)).is_some());
}

#[test]
fn silence_does_not_count_when_no_bytes_are_owed() {
    // before it may send, and after the end
    let mut opening = PutWorld::new(4, 0..4, Some(receipt(4)));
    assert!(opening.wait(POLICY.client_silence + MS).is_empty());
    let mut storing = PutWorld::begun(4, 0..4, Some(receipt(4)));
    storing.end();
    assert!(storing.wait(POLICY.client_silence + MS).is_empty());
}

#[test]
fn a_slow_upload_fails_with_the_reason() {
    let mut world = receiving();
    let out = world.give(PutInput::TooSlow("expected more".into()));
    assert!(is_cancelled(out));
    let failed = failure(out).unwrap();
    assert_eq!((failed.code, failed.detail.as_str()), (Code::TimedOut, "expected more"));
}

#[test]
fn an_evicted_put_ends() {
    let mut world = receiving();
    let out = world.give(PutInput::PlaceTaken);
    assert!(is_cancelled(out));
    assert_eq!(failure(out).unwrap().code, Code::Busy);
    assert!(world.put.is_over());
}

#[test]
fn a_receipt_that_expired_during_the_upload_is_refused() {
    let mut world = receiving();
    world.give(PutInput::Chunk { offset: 0, length: 4 });
    let out = world.give(PutInput::End(Receipt { expires_at: UNIX, ..receipt(4) }, None));
    assert!(is_cancelled(out) && !actions(out).any(|action| matches!(action, PutAction::ForwardEnd(..))), "{out:?}");
    assert_eq!(failure(out).unwrap().code, Code::Expired);
}

#[test]
fn giving_up_cancels_at_the_members_or_withdraws_from_the_batcher() {
    for keep in [true, false] {
        let mut world = receiving();
        let out = world.give(PutInput::GiveUp { keep });
        assert!(matches!(out, [PutOutput::Action(PutAction::Cancel { keep: kept })] if *kept == keep), "{out:?}");
        let mut world = certifying();
        let out = world.give(PutInput::GiveUp { keep });
        assert!(matches!(out, [PutOutput::Action(PutAction::Withdraw)]), "{out:?}");
        assert!(world.put.is_over() && world.certify(&[0, 1, 2]).is_empty());
    }
}

#[test]
fn a_put_counts_as_storing_only_while_it_is_stored() {
    let storing = |world: &PutWorld| -> Vec<bool> {
        let began = |action: &PutAction| match action {
            PutAction::StoringBegan => Some(true),
            PutAction::StoringEnded => Some(false),
            _ => None,
        };
        world.noted.iter().filter_map(began).collect()
    };
    let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
    assert!(storing(&world).is_empty());
    world.end();
    assert_eq!(storing(&world), [true]);
    world.store(0..4);
    assert_eq!(storing(&world), [true, false], "it is submitted");
    for input in [PutInput::GiveUp { keep: true }, PutInput::PlaceTaken, chunk(4)] {
        let mut world = PutWorld::begun(4, 0..4, Some(receipt(4)));
        world.end();
        world.give(input);
        assert_eq!(storing(&world), [true, false]);
    }
}

#[test]
fn a_stream_reuses_an_earlier_certificate_if_one_promises_as_much() {
    let ended = |request: PutRequest, is_certified: bool| {
        let mut world = PutWorld::asked(4, 0..4, request);
        world.earlier = is_certified.then(|| world.certificate(&[1, 2, 3], receipt(4)));
        world.give(PutInput::Begin);
        if request.whole.is_none() {
            world.say(0..4, 0);
            world.end();
        }
        world.store(0..3);
        world.looked_up.clear();
        world.wait(LEAST_GRACE);
        world
    };
    let (offer, whole) = (Some(receipt(4)), Some(4));
    for reusing in [request(None), PutRequest { offer, renew: false, authorisation: None, whole }] {
        let world = ended(reusing, true);
        assert_eq!(world.looked_up, [receipt(4)]);
        assert!(certified(&world.out).is_some_and(|found| found.signers.contains(3)), "{:?}", world.out);
        assert!(world.put.is_over());
        let world = ended(reusing, false);
        assert_eq!(submitted(&world.out), Some(vec![0, 1, 2]));
    }
    let renewed = PutRequest { renew: true, ..request(None) };
    for anew in [renewed, PutRequest { offer, renew: true, authorisation: None, whole }, request(offer)] {
        let world = ended(anew, true);
        assert!(world.looked_up.is_empty() && submitted(&world.out).is_some(), "{anew:?}");
    }
}

#[test]
fn an_earlier_certificate_is_not_returned_if_its_holders_disconnect() {
    let mut world = PutWorld::begun(4, 0..4, None);
    world.earlier = Some(world.certificate(&[0, 1, 2], receipt(4)));
    world.end();
    world.give(PutInput::Stored(0));
    world.give(PutInput::Stored(1));
    world.put.handle(PutInput::Stored(2), &world.context);
    world.context.now += LEAST_GRACE;
    let out = world.put.handle(PutInput::Tick, &world.context);
    assert!(matches!(out.last(), Some(PutOutput::Action(PutAction::FindEarlier(_)))), "{out:?}");
    world.lose(2);
    let found = PutInput::Earlier(world.earlier.clone());
    let out = world.give(found);
    assert!(certified(out).is_none());
    assert_eq!(submitted(out), Some(vec![0, 1]), "the batcher waits for the third holder");
}

#[test]
fn answers_count_only_on_the_link_of_the_request() {
    let mut world = receiving();
    let mut connected = links(0..4);
    connected.insert(3, link(3, 2));
    world.give(PutInput::Connected(connected.clone()));
    assert_eq!(world.members(), [0, 1, 2]);
    assert!(world.noted.iter().any(|action| matches!(action, PutAction::Drop(3))), "{:?}", world.noted);
    connected.remove(&2);
    let failed = failure(world.give(PutInput::Connected(connected))).unwrap();
    assert_eq!(failed.subjects, [2, 3]);
}

#[test]
fn members_without_room_in_time_are_left_out_and_recorded_as_slow() {
    let mut world = receiving();
    let out = world.give(PutInput::Forwarded(Forwarded { gone: vec![], too_slow: vec![1] }));
    assert_eq!((observed(out, Observed::TookBytesTooSlowly), told(out)), (vec![1], vec![(1, Stage::Dropped)]));
    let out = world.give(PutInput::Forwarded(Forwarded { gone: vec![2], too_slow: vec![] }));
    assert!(observed(out, Observed::TookBytesTooSlowly).is_empty());
    assert_eq!(failure(out).unwrap().subjects, [1, 2]);
}

#[test]
fn a_put_that_ends_early_reports_the_end_of_its_grace_period() {
    let mut world = certifying();
    let until = world.context.now;
    world.certify(&[0, 1, 2]);
    assert_eq!(world.ended_before(), Some(until));
    // all stored
    let mut world = certifying();
    world.give(PutInput::Stored(3));
    world.certify(&[0, 1, 2]);
    assert_eq!(world.ended_before(), None);
    // the same when nothing is certified
    let mut world = certifying();
    world.give(PutInput::Uncertified(Failed::new(STREAM, Code::Storage, "disk")));
    assert_eq!(world.ended_before(), Some(until));
}
