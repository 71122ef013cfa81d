//! What a put waits for before its members are told of it.

use super::*;

fn asked(request: PutRequest) -> PutWorld {
    PutWorld::asked(4, 0..4, request)
}

/// Gives an input and completes nothing.
fn only(world: &mut PutWorld, input: PutInput) -> Vec<PutOutput> {
    world.put.handle(input, &world.context)
}

/// One that has a place and a committee, and no quorum.
fn waiting() -> PutWorld {
    let mut world = asked(request(None));
    world.admission = Admission::Wait;
    world.give(PutInput::Begin);
    assert!(world.put.is_waiting());
    world
}

/// What the roster is asked, if it is.
fn admission_asked(out: &[PutOutput]) -> Option<bool> {
    actions(out).find_map(|action| match action {
        PutAction::AskAdmission { has_waited } => Some(*has_waited),
        _ => None,
    })
}

#[test]
fn a_put_without_a_place_is_refused_as_busy() {
    let mut world = asked(request(None));
    assert!(matches!(only(&mut world, PutInput::Begin)[..], [PutOutput::Action(PutAction::ClaimPlace)]));
    let out = only(&mut world, PutInput::Claimed(false));
    assert_eq!(failure(&out).unwrap().code, Code::Busy);
    assert!(world.put.is_over() && out.len() == 1, "{out:?}");
}

#[test]
fn an_offer_that_expires_before_it_can_be_certified_is_refused() {
    let offer = |expires_at| Receipt { expires_at, ..receipt(4) };
    let mut world = asked(request(Some(offer(UNIX))));
    assert_eq!(failure(world.give(PutInput::Begin)).unwrap().code, Code::Expired);
    assert!(world.put.is_over() && world.noted.is_empty(), "no member hears of it");
    assert!(!PutWorld::new(4, 0..4, Some(offer(UNIX + 1))).put.is_over());
}

#[test]
fn without_a_committee_the_reason_is_reported() {
    let mut world = asked(request(None));
    only(&mut world, PutInput::Begin);
    assert!(matches!(only(&mut world, PutInput::Claimed(true))[..], [PutOutput::Action(PutAction::FindCommittee)]));
    let failed = Failed::new(STREAM, Code::NoCommittee, "two of four replicas are here");
    let out = only(&mut world, PutInput::Committee(Err(failed.clone())));
    assert_eq!(failure(&out), Some(&failed));
    assert!(world.put.is_over());
}

#[test]
fn a_put_waits_for_a_quorum_and_later_accepts_slow_members() {
    let mut world = waiting();
    let connected = links([0, 1]);
    assert_eq!(admission_asked(&only(&mut world, PutInput::Connected(connected))), Some(false));
    world.context.now += POLICY.quorum_wait - MS;
    assert_eq!(admission_asked(&only(&mut world, PutInput::Tick)), Some(false));
    world.context.now += MS;
    assert_eq!(admission_asked(&only(&mut world, PutInput::Tick)), Some(true));
    world.admission = Admission::Begin { members: links([0, 1, 3]), left_out: [2].into() };
    let out = world.give(PutInput::Tick);
    assert_eq!(told(out)[2], (2, Stage::Dropped));
    assert_eq!(world.members(), [0, 1, 3]);
    let Some(PutAction::Open { members, quorum }) = world.noted.first() else { panic!("{:?}", world.noted) };
    assert_eq!((members, quorum), (&BTreeSet::from([0, 1, 3]), &3));
}

#[test]
fn below_a_quorum_missing_members_are_named() {
    let mut world = waiting();
    world.admission = Admission::TooFew { connected: [0, 3].into() };
    let failed = failure(world.give(PutInput::Tick)).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[1, 2][..]));
    assert!(world.put.is_over());
}

#[test]
fn a_waiting_put_is_evicted_without_messages_to_members() {
    let mut taken = waiting();
    let out = taken.give(PutInput::PlaceTaken);
    assert_eq!(failure(out).unwrap().code, Code::Busy);
    let mut cancelled = waiting();
    assert!(cancelled.give(PutInput::GiveUp { keep: true }).is_empty());
    for mut world in [taken, cancelled] {
        assert!(world.put.is_over());
        assert!(admission_asked(&only(&mut world, PutInput::Tick)).is_none());
    }
}

#[test]
fn an_earlier_certificate_is_looked_up_only_if_it_may_be_returned() {
    let (offer, renew, whole) = (Some(receipt(4)), true, Some(4));
    for (asked_for, looked_up) in [
        (PutRequest { offer, renew: false, authorisation: None, whole: None }, 1),
        (PutRequest { offer, renew, authorisation: None, whole: None }, 0),
        (PutRequest { offer, renew: false, authorisation: None, whole }, 0),
        (PutRequest { offer: None, renew: false, authorisation: None, whole: None }, 0),
    ] {
        let mut world = asked(asked_for);
        world.give(PutInput::Begin);
        assert_eq!(world.looked_up.len(), looked_up, "{asked_for:?}");
    }
}

#[test]
fn members_may_disconnect_during_the_lookup_of_an_earlier_certificate() {
    let mut world = asked(request(Some(receipt(4))));
    for input in [PutInput::Begin, PutInput::Claimed(true), PutInput::Committee(Ok(world.committee.clone()))] {
        only(&mut world, input);
    }
    let members = links(0..4);
    let out = only(&mut world, PutInput::Admission(Admission::Begin { members, left_out: BTreeSet::new() }));
    assert!(matches!(out.last(), Some(PutOutput::Action(PutAction::FindEarlier(_)))), "{out:?}");
    let failed = failure(world.give(PutInput::Connected(links([0, 1])))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[2, 3][..]));
    assert!(only(&mut world, PutInput::Earlier(None)).is_empty(), "the put is over");
}
