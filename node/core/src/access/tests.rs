//! The log's state about access.

mod admitting;

use vouch_core::access::{AccessChange, AccessOp, Decision, Grant, NO_LIMIT, Rules, TokenKey, Who};
use vouch_core::bls::VoteSecretKey;
use vouch_core::codec::Reader;
use vouch_core::committee::{CommitteeRecord, Member, MemberName, Policy};
use vouch_core::digest::ClusterId;
use vouch_core::limits::MAX_TOKENS;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::Op;

use super::Access;

const TOKENS: Rules = Rules { put: Who::Tokens, read: Who::Anyone };
const ALICE: TokenKey = TokenKey([1; 32]);

fn node(number: u8) -> NodeSecretKey {
    NodeSecretKey::from_bytes(&[number; 32])
}

fn operator() -> VoteSecretKey {
    VoteSecretKey::generate(&[8; 32]).unwrap()
}

fn name(name: &str) -> MemberName {
    MemberName::new(name).unwrap()
}

/// A committee of the nodes 1 to 4.
fn committee(policy: Policy, nonce: u8) -> CommitteeRecord {
    let member = |number: u8| Member {
        node_key: node(number).node_key(),
        vote_key: VoteSecretKey::generate(&[number; 32]).unwrap().vote_key(),
        name: name(&format!("node-{number}")),
    };
    CommitteeRecord::genesis_under(policy, [nonce; 16], (1..=4).map(member).collect()).unwrap()
}

fn grant(holder: &str) -> Grant {
    let name = name(holder);
    Grant { name, largest: NO_LIMIT, rate: NO_LIMIT, quota: NO_LIMIT, expires_at: NO_LIMIT }
}

/// The state of a cluster.
struct World {
    record: CommitteeRecord,
    access: Access,
    nonce: u64,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self { record: committee(policy, 0), access: Access::default(), nonce: 0 }
    }

    fn change(&self, number: u64, decision: Decision) -> AccessChange {
        AccessChange { cluster: self.record.cluster(), number, decision }
    }

    fn apply(&mut self, op: &AccessOp) -> String {
        self.nonce += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonce.to_le_bytes());
        let op = Op::new(op.kind(), nonce, 100, op.body()).unwrap();
        let effect = self.access.apply(&self.record, &op);
        let mut written = Vec::new();
        self.access.write(&mut written);
        assert_eq!(Access::read(&mut Reader::new(&written)).as_ref(), Ok(&self.access), "a restored state is the same");
        String::from_utf8(effect.bytes().to_vec()).unwrap()
    }

    fn approve(&mut self, number: u8, change: AccessChange) -> String {
        self.approve_as(number, change, self.nonce)
    }

    /// Approves with this number.
    fn approve_as(&mut self, member: u8, change: AccessChange, number: u64) -> String {
        self.apply(&AccessOp::approve(change, number, &self.record, &node(member)))
    }

    fn decide(&mut self, change: AccessChange, key: &VoteSecretKey) -> String {
        let operator = change.sign_as_operator(&self.record, key);
        self.apply(&AccessOp::Decide { operator, change })
    }
}

#[test]
fn a_quorum_of_members_makes_a_change() {
    let mut world = World::new(Policy::Open);
    let change = world.change(1, Decision::Rules(TOKENS));
    assert_eq!(world.approve(1, change), "node-1 approves: 1 of 3");
    assert_eq!(world.approve(1, change), "node-1 approves: 1 of 3", "a member counts once");
    assert_eq!(world.approve(4, change), "node-4 approves: 2 of 3");
    assert_eq!((world.access.number(), world.access.rules()), (0, Rules::default()));
    let done = world.approve(2, change);
    assert!(done.ends_with("access change 1: holders of tokens may put, anyone may read"), "{done}");
    assert_eq!((world.access.number(), world.access.rules()), (1, TOKENS));
    assert!(world.access.has_made(&change));
    let late = world.approve(3, change);
    assert!(late.starts_with("refused: number of the change: expected 2"), "{late}");
}

#[test]
fn a_members_latest_approval_counts() {
    let mut world = World::new(Policy::Open);
    let (first, second) = (Decision::Grant(ALICE, grant("alice")), Decision::Rules(TOKENS));
    let (first, second) = (world.change(1, first), world.change(1, second));
    world.approve(1, first);
    world.approve(2, first);
    assert_eq!(world.approve(1, second), "node-1 approves: 1 of 3");
    assert_eq!(world.approve(3, first), "node-3 approves: 2 of 3", "one of the first two approves another change now");
    assert_eq!(world.access.number(), 0);
}

#[test]
fn an_approval_that_was_given_up_cannot_be_repeated() {
    let mut world = World::new(Policy::Open);
    let (first, second) =
        (world.change(1, Decision::Rules(TOKENS)), world.change(1, Decision::Grant(ALICE, grant("a"))));
    world.approve_as(1, first, 5);
    world.approve_as(1, second, 6);
    for number in [5, 6] {
        let refused = world.approve_as(1, first, number);
        assert!(refused.starts_with("refused: number of the approval: expected more than 6"), "{refused}");
    }
    assert_eq!(world.approve_as(1, first, 7), "node-1 approves: 1 of 3");
}

#[test]
fn approvals_of_another_committee_or_by_others_do_not_count() {
    let mut world = World::new(Policy::Open);
    let change = world.change(1, Decision::Rules(TOKENS));
    let stranger = world.approve(9, change);
    assert!(stranger.starts_with("refused: voter: expected a member of the committee"), "{stranger}");
    let elsewhere = AccessOp::approve(change, 1, &committee(Policy::Open, 1), &node(1));
    let refused = world.apply(&elsewhere);
    assert!(refused.starts_with("refused: vote: expected a signature by"), "{refused}");
    // A committee that takes over begins anew.
    world.approve(1, change);
    world.approve(2, change);
    let cluster = world.record.cluster();
    world.record = committee(Policy::Open, 2);
    let (own, done) = (AccessChange { cluster: world.record.cluster(), ..change }, AccessChange { cluster, ..change });
    assert_eq!(world.approve(3, own), "node-3 approves: 1 of 3");
    assert!(world.approve(4, done).starts_with("refused: cluster of the change"));
}

#[test]
fn the_operator_decides_alone_where_there_is_one() {
    let mut world = World::new(Policy::Operator(operator().vote_key()));
    let change = world.change(1, Decision::Grant(ALICE, grant("alice")));
    assert!(world.approve(1, change).starts_with("refused: expected the operator's signature"));
    let other = VoteSecretKey::generate(&[9; 32]).unwrap();
    assert!(world.decide(change, &other).starts_with("refused: operator's signature"));
    let elsewhere = change.sign_as_operator(&committee(Policy::Operator(operator().vote_key()), 1), &operator());
    let refused = world.apply(&AccessOp::Decide { operator: elsewhere, change });
    assert!(refused.starts_with("refused: operator's signature"), "{refused}");
    assert_eq!(world.access.number(), 0);
    let done = world.decide(change, &operator());
    assert!(done.starts_with("access change 1: token ") && done.ends_with(" of alice"), "{done}");
    let mut open = World::new(Policy::Open);
    let change = open.change(1, Decision::Rules(TOKENS));
    assert!(open.decide(change, &operator()).starts_with("refused: expected approvals by members"));
}

#[test]
fn a_recorded_grant_does_not_undo_a_revocation() {
    let mut world = World::new(Policy::Operator(operator().vote_key()));
    let granted = world.change(1, Decision::Grant(ALICE, grant("alice")));
    let revoked = world.change(2, Decision::Revoke(ALICE));
    world.decide(granted, &operator());
    world.decide(revoked, &operator());
    assert!(world.access.tokens().is_empty());
    for change in [granted, revoked] {
        assert!(world.decide(change, &operator()).starts_with("refused: number of the change: expected 3"));
    }
    let skipped = world.change(4, Decision::Rules(TOKENS));
    assert!(world.decide(skipped, &operator()).starts_with("refused: number of the change: expected 3"));
    let again = world.change(3, Decision::Revoke(ALICE));
    assert!(world.decide(again, &operator()).starts_with("refused: there is no token"));
    assert_eq!(world.access.number(), 2);
}

#[test]
fn the_number_of_tokens_is_bounded_and_a_grant_can_be_replaced() {
    let mut world = World::new(Policy::Operator(operator().vote_key()));
    let mut key = [0; 32];
    for number in 0..MAX_TOKENS as u64 {
        key[..8].copy_from_slice(&number.to_be_bytes());
        world.access.tokens.insert(TokenKey(key), grant("many"));
    }
    let more = world.change(1, Decision::Grant(TokenKey([255; 32]), grant("one more")));
    assert!(world.decide(more, &operator()).starts_with("refused: expected at most 4096 tokens"));
    let replaced = world.change(1, Decision::Grant(TokenKey(key), grant("other")));
    assert!(world.decide(replaced, &operator()).starts_with("access change 1"));
    assert_eq!(world.access.tokens()[&TokenKey(key)].name, name("other"));
    let size = {
        let mut written = Vec::new();
        world.access.write(&mut written);
        written.len()
    };
    assert!(size < crate::log::state_machine::MAX_MACHINE_SNAPSHOT / 8, "{size}");
}

#[test]
fn nothing_decided_has_no_encoding_as_in_releases_without_tokens() {
    let mut written = Vec::new();
    Access::default().write(&mut written);
    assert!(written.is_empty());
    assert_eq!(Access::read(&mut Reader::new(&[])), Ok(Access::default()));
    assert!(Access::read(&mut Reader::new(&[0])).is_err());
    let other = AccessChange { cluster: ClusterId([1; 32]), number: 1, decision: Decision::Rules(TOKENS) };
    let mut world = World::new(Policy::Open);
    assert!(world.approve(1, other).starts_with("refused: cluster of the change"));
    assert_eq!(world.access, Access::default());
}
