//! Members that change their committee, over a log that is one list of blocks. The log's own simulation has the rest.

mod bad_ops;
mod world;

use vouch_core::committee::Policy;
use world::World;

use super::{Consent, Duty, OwnState, SEAL_DELAY, TURN_TIME};

#[test]
fn one_member_becomes_four_then_seven_then_four() {
    let mut world = World::founded(1, Policy::Open);
    for (joins, leaves) in [(3, 0), (3, 0), (0, 2), (0, 1), (0, 0)] {
        world.change(joins, leaves);
    }
    let sizes: Vec<_> = (0..=5).map(|epoch| world.chain().record(epoch).unwrap().n()).collect();
    assert_eq!(sizes, [1, 4, 7, 5, 4, 4]);
    world.assert_all_verify();
}

#[test]
fn members_get_new_vote_keys_in_each_epoch_unless_they_are_away() {
    let mut world = World::founded(4, Policy::Open);
    let away = world.members()[0];
    world.set_away(away, true);
    world.change(0, 0);
    let keys = |world: &World, epoch| {
        let members = world.chain().record(epoch).unwrap().members().to_vec();
        members.into_iter().map(|member| (member.node_key, member.vote_key)).collect::<Vec<_>>()
    };
    for ((node_key, before), (_, after)) in keys(&world, 0).into_iter().zip(keys(&world, 1)) {
        assert_eq!(before == after, node_key == away, "{node_key}");
    }
    world.set_away(away, false);
    world.change(0, 0);
    assert!(keys(&world, 1).iter().zip(keys(&world, 2)).all(|(before, after)| before.1 != after.1));
    world.assert_all_verify();
}

#[test]
fn the_operator_must_sign_a_change_where_the_policy_says_so() {
    let mut world = World::founded(4, Policy::Operator(World::operator().vote_key()));
    world.propose_unsigned(1, 0);
    assert!(world.effects().last().unwrap().contains("expected the operator's signature"));
    world.run(200);
    assert_eq!(world.epoch(), 0);
    world.change(1, 0);
    world.change(0, 1);
    assert_eq!((world.epoch(), world.members().len()), (2, 4));
    world.assert_all_verify();
}

#[test]
fn nobody_joins_or_accepts_while_its_clock_is_in_doubt_or_while_it_lacks_blobs() {
    type Hinder = fn(&mut World, vouch_core::link::NodeKey, bool);
    for hinder in [World::set_in_doubt as Hinder, World::set_lacking] {
        // a node that joins: its offer is awaited
        let mut world = World::founded(4, Policy::Open);
        let joining = world.propose(1, 0)[0];
        hinder(&mut world, joining, true);
        world.run(100);
        assert!(world.membership().running().is_some_and(|running| running.next.is_none()));
        hinder(&mut world, joining, false);
        world.until_epoch(1);
        // two of four members that stay: without them, there is no quorum of accepts
        let mut world = World::founded(4, Policy::Open);
        let hindered = [world.members()[0], world.members()[1]];
        world.propose(0, 0);
        hindered.into_iter().for_each(|node| hinder(&mut world, node, true));
        world.run(100);
        assert!(world.membership().running().is_some_and(|running| running.next.is_some()));
        assert_eq!(world.epoch(), 0);
        hindered.into_iter().for_each(|node| hinder(&mut world, node, false));
        world.until_epoch(1);
    }
}

#[test]
fn one_member_after_another_reports_the_certificates_of_an_ended_epoch() {
    let mut world = World::founded(4, Policy::Open);
    world.propose(0, 0);
    world.until_epoch(1);
    let sealing = world.membership().sealing().unwrap();
    let due = sealing.closing + SEAL_DELAY + 1;
    let turns = |seconds: u64| {
        let of = |node_key: &vouch_core::link::NodeKey| {
            let own = OwnState { node_key, unix_seconds: Some(due + seconds), holds_everything: true };
            world.membership().duties(own, |_| None).contains(&Duty::ReportCertificates { is_turn: true })
        };
        world.members().iter().filter(|member| of(member)).count()
    };
    assert_eq!([0, 9, 10, 20, 30].map(turns), [1, 1, 2, 3, 4]);
    // every one of them may say meanwhile that none is missing
    let all = world.members();
    let may_say = |node_key: &vouch_core::link::NodeKey| {
        let own = OwnState { node_key, unix_seconds: Some(due), holds_everything: true };
        let duties = world.membership().duties(own, |_| None);
        duties.iter().any(|duty| matches!(duty, Duty::ReportCertificates { .. }))
    };
    assert!(all.iter().all(may_say));
}

#[test]
fn the_later_of_two_changes_that_the_operator_signed_replaces_the_earlier_one() {
    let mut world = World::founded(4, Policy::Operator(World::operator().vote_key()));
    let (first, missing) = world.propose_as(1, 0, None);
    world.set_lost(missing[0]);
    world.run(20);
    assert_eq!(world.running(), Some(first));
    // No owner's approval outweighs the operator's signature.
    world.set_consent(first, Some(Consent::Named(9)));
    let (_, joining) = world.propose_as(1, 0, None);
    world.until_epoch(1);
    assert!(world.members().contains(&joining[0]) && !world.members().contains(&missing[0]));
}

#[test]
fn the_change_that_owners_approve_later_replaces_the_one_that_they_approved_before() {
    let mut world = World::founded(4, Policy::Open);
    let (automatic, missing) = world.propose_as(1, 0, Some(Consent::Automatic));
    world.set_lost(missing[0]);
    world.run(20);
    assert_eq!(world.running(), Some(automatic));
    let (second, missing) = world.propose_as(1, 0, Some(Consent::Named(1)));
    world.set_lost(missing[0]);
    world.run(20);
    assert_eq!(world.running(), Some(second));
    let (third, _) = world.propose_as(0, 1, Some(Consent::Named(2)));
    world.run(1);
    assert_ne!(world.running(), Some(second), "its members begin to approve another one");
    world.until_epoch(1);
    assert_eq!(world.members().len(), 3);
    assert!(!world.membership().approvals().proposals().contains_key(&third));
}

#[test]
fn changes_that_nobody_named_take_turns_and_the_first_one_gets_another() {
    let mut world = World::founded(4, Policy::Open);
    let waiting: Vec<_> = (0..3).map(|_| world.propose_as(1, 0, Some(Consent::Automatic))).collect();
    let lost: Vec<_> = waiting.iter().map(|(_, joining)| joining[0]).collect();
    lost.iter().for_each(|node| world.set_away(*node, true));
    world.approve_all();
    let mut turns = vec![world.running().unwrap()];
    let since = |world: &World| world.membership().running().unwrap().since;
    while turns.len() < 5 {
        let before = since(&world);
        world.until("another one runs", |membership| membership.running().unwrap().since != before);
        assert!(since(&world) >= before + TURN_TIME);
        turns.push(world.running().unwrap());
    }
    let ids: Vec<_> = waiting.iter().map(|(id, _)| *id).collect();
    assert_eq!(turns, [ids[0], ids[1], ids[2], ids[0], ids[1]]);
    // A node that comes back joins with its turn.
    world.set_away(lost[2], false);
    world.until_epoch(1);
    assert!(world.members().contains(&lost[2]));
}

#[test]
fn a_change_without_a_rival_is_not_given_up() {
    let mut world = World::founded(4, Policy::Open);
    let joining = world.propose(1, 0);
    world.set_away(joining[0], true);
    world.run(600);
    let since = world.membership().running().unwrap().since;
    world.set_away(joining[0], false);
    world.until_epoch(1);
    assert!(world.time() > since + TURN_TIME);
}

#[test]
fn whatever_is_lost_delayed_or_repeated_there_is_one_successor_and_all_certificates_verify() {
    for seed in 0..10 {
        let mut world = World::random(seed);
        for _ in 0..4 {
            world.change_at_random();
        }
        world.assert_all_verify();
    }
}
