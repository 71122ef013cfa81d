//! Ops that an honest node never makes: each changes nothing, and says why.

use vouch_core::bls::{VoteSecretKey, VoteSignature};
use vouch_core::committee::{KeyOffer, Policy};
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::Op;
use vouch_core::membership::{CommitteeChange, MembershipOp, NodeVote, SignedNodeVote};

use super::world::World;
use crate::log::state_machine::StateMachine;
use crate::membership::{MAX_PROPOSALS, MAX_STOP_AHEAD};

const WRONG: VoteSignature = VoteSignature([0xC0; 96]);

/// Orders an op that must change nothing.
fn assert_refused(world: &mut World, op: &MembershipOp, why: &str) {
    let before = world.state.snapshot();
    let effect = world.order(op);
    assert!(effect.starts_with("refused: ") && effect.contains(why), "{why}: {effect}");
    assert!(world.state.snapshot() == before, "{why}: the state changed");
}

fn stranger() -> NodeSecretKey {
    NodeSecretKey::from_bytes(&[200; 32])
}

fn propose(change: &CommitteeChange) -> MembershipOp {
    MembershipOp::Propose { change: change.clone(), operator: None }
}

#[test]
fn proposals_and_approvals() {
    let mut world = World::founded(4, Policy::Open);
    let change = world.changing(1, 0);
    let (id, record) = (change.id(), world.membership().committee().record().clone());
    let approval = |number, key: &NodeSecretKey| NodeVote::Approve { change: id, number }.sign(&record, key);
    let own = world.secret_of(world.members()[0]);
    assert_refused(&mut world, &MembershipOp::Approve(approval(1, &own)), "is not proposed");
    let epoch = CommitteeChange { epoch: 1, ..change.clone() };
    assert_refused(&mut world, &propose(&epoch), "committee that is to change");
    let crowd = CommitteeChange { removed: world.members()[..2].to_vec(), ..change.clone() };
    assert_refused(&mut world, &propose(&crowd), "at most 1 in one change");
    world.order(&propose(&change));
    assert_refused(&mut world, &propose(&change), "is proposed already");
    assert_refused(&mut world, &MembershipOp::Approve(approval(1, &stranger())), "a member of the committee");
    let forged = SignedNodeVote { node_key: world.members()[1], ..approval(1, &own) };
    assert_refused(&mut world, &MembershipOp::Approve(forged), "a signature by");
    world.order(&MembershipOp::Approve(approval(2, &own)));
    for number in [1, 2] {
        assert_refused(&mut world, &MembershipOp::Approve(approval(number, &own)), "expected more than 2");
    }
    assert_refused(&mut world, &MembershipOp::Fix { change: id }, "no change is under way");
    let certified = MembershipOp::Certified(world.certified());
    assert_refused(&mut world, &certified, "no epoch has ended");
    let malformed = Op::new(1, [0; 16], 0, vec![9]).unwrap();
    assert_eq!(world.effect_of(&malformed), "refused: operator's signature: expected 0 to 1, got 9");
}

#[test]
fn strangers_push_out_no_approved_proposal() {
    let mut world = World::founded(4, Policy::Open);
    let change = world.changing(1, 0);
    let (id, record) = (change.id(), world.membership().committee().record().clone());
    world.order(&propose(&change));
    let own = world.secret_of(world.members()[0]);
    world.order(&MembershipOp::Approve(NodeVote::Approve { change: id, number: 1 }.sign(&record, &own)));
    for number in 0..3 * MAX_PROPOSALS {
        let nonce = [u8::try_from(number).unwrap(); 16];
        world.order(&propose(&CommitteeChange { nonce, is_forced: true, ..change.clone() }));
    }
    assert_eq!(world.membership().approvals().proposals().len(), MAX_PROPOSALS);
    assert!(world.membership().approvals().proposals().contains_key(&id));
}

#[test]
fn offers_and_accepts() {
    let mut world = World::founded(4, Policy::Open);
    let record = world.membership().committee().record().clone();
    let joins = world.propose(1, 0);
    let own = world.secret_of(world.members()[0]);
    let vote = VoteSecretKey::generate(&[55; 32]).unwrap();
    assert_refused(
        &mut world,
        &MembershipOp::Offer(Box::new(KeyOffer::new(&record, &own, &vote))),
        "no change is under way",
    );
    world.approve_all();
    let of_stranger = KeyOffer::new(&record, &stranger(), &vote);
    assert_refused(&mut world, &MembershipOp::Offer(Box::new(of_stranger)), "one of a member of the next committee");
    let taken = world.vote_of(world.members()[1], 0);
    assert_refused(
        &mut world,
        &MembershipOp::Offer(Box::new(KeyOffer::new(&record, &own, &taken))),
        "another member's",
    );
    let mut forged = KeyOffer::new(&record, &own, &vote);
    forged.node_signature[0] ^= 1;
    assert_refused(&mut world, &MembershipOp::Offer(Box::new(forged)), "a signature by");
    let id = world.membership().running().unwrap().id;
    assert_refused(&mut world, &MembershipOp::Fix { change: id }, "expected the key offer of joiner-5");
    assert_refused(&mut world, &MembershipOp::Fix { change: ChangeId([1; 32]) }, "which is under way");
    let accept = |node_key| MembershipOp::Accept { node_key, signature: WRONG };
    assert_refused(&mut world, &accept(joins[0]), "no committee waits to be accepted");
    world.until_fixed();
    assert_refused(&mut world, &accept(joins[0]), "vote of member");
    assert_refused(&mut world, &accept(stranger().node_key()), "is not in the next committee");
    let late = KeyOffer::new(&record, &own, &vote);
    assert_refused(&mut world, &MembershipOp::Offer(Box::new(late)), "has its keys already");
    let stop = NodeVote::Stop { until: 1 }.sign(&record, &own);
    assert_refused(&mut world, &MembershipOp::Stop(stop), "no committee ends");
}

#[test]
fn stops_handoffs_and_seals() {
    let mut world = World::founded(4, Policy::Open);
    let record = world.membership().committee().record().clone();
    world.propose(1, 0);
    world.until_decided();
    let members = world.members();
    let own = world.secret_of(members[0]);
    let another = world.changing(1, 0);
    // The first block of the next epoch notes the log root.
    world.order(&propose(&another));
    assert_refused(&mut world, &propose(&another), "epoch 1 is decided");
    let stop = |until| MembershipOp::Stop(NodeVote::Stop { until }.sign(&record, &own));
    let latest = world.time() + MAX_STOP_AHEAD;
    assert_refused(&mut world, &stop(latest + 10), "time of the stop: expected at most");
    let foreign = NodeVote::Stop { until: 1 }.sign(&record, &stranger());
    assert_refused(&mut world, &MembershipOp::Stop(foreign), "a member of the committee");
    let sign = |node_key| MembershipOp::SignHandoff { node_key, signature: WRONG };
    assert_refused(&mut world, &sign(members[0]), "no handoff waits");
    world.order(&stop(latest));
    assert_refused(&mut world, &stop(latest), "has stopped already");
    world.until_stopped();
    assert_refused(&mut world, &stop(latest), "the closing is decided");
    assert_refused(&mut world, &sign(members[0]), "vote of member");
    assert_refused(&mut world, &sign(stranger().node_key()), "is not in the committee that ends");
    let certified = world.certified();
    world.until_epoch(1);
    let record = world.membership().committee().record().clone();
    let ready = || MembershipOp::SealReady(NodeVote::SealReady.sign(&record, &own));
    assert_refused(&mut world, &ready(), "time of the seal: expected at least");
    let mut forged = certified.clone();
    forged[0].body.count += 1;
    assert_refused(&mut world, &MembershipOp::Certified(forged), "epoch 0 is open until");
    world.pass(200);
    let mut forged = certified.clone();
    forged[0].body.count += 1;
    assert_refused(&mut world, &MembershipOp::Certified(forged), "another");
    let mut late = certified.clone();
    late[0].body.issued_at = world.time();
    assert_refused(&mut world, &MembershipOp::Certified(late), "issued_at: expected at most");
    let sign = MembershipOp::SignSeal { node_key: members[0], signature: WRONG };
    assert_refused(&mut world, &sign, "takes statements yet");
    world.until_sealed();
    assert_refused(&mut world, &MembershipOp::Certified(certified), "epoch 0 is sealed");
    assert_refused(&mut world, &ready(), "epoch 0 is sealed");
    assert_refused(&mut world, &sign, "epoch 0 is sealed");
}
