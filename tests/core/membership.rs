//! The values of `tests/vectors/membership.json`, written by the independent implementation.

use serde::Deserialize;
use support::committee::{node_key, node_secret, vote_secret};
use vouch_core::Limits;
use vouch_core::bls::{Possession, VoteKey, VoteSignature};
use vouch_core::committee::{Committee, CommitteeRecord, KeyOfferFormatError, Member, MemberName};
use vouch_core::digest::ChangeId;
use vouch_core::link::NodeKey;
use vouch_core::membership::{
    AddedMember, ChangeError, ChangeFormatError, CommitteeChange, MembershipOp, MembershipOpError, NodeVoteError,
    SignedNodeVote, verify_operator,
};
use vouch_core::merkle::TreeHash;
use vouch_core::statement::{Accept, Body, Handoff, Seal};
use vouch_core::tally::Tally;

use crate::vectors::{array, hex};

#[derive(Deserialize)]
struct File {
    committees: Committees,
    bodies: Bodies,
    changes: Vec<ChangeCase>,
    operator: OperatorCases,
    votes: Vec<VoteCase>,
    ops: Vec<OpCase>,
    invalid: Vec<InvalidCase>,
}

#[derive(Deserialize)]
struct Committees {
    genesis: String,
    next: String,
    pops: [Vec<String>; 2],
}

#[derive(Deserialize)]
struct Bodies {
    handoff: HandoffBody,
    seal: SealBody,
}

#[derive(Deserialize)]
struct HandoffBody {
    closing: u64,
    height: u64,
    log_root: String,
}

#[derive(Deserialize)]
struct SealBody {
    count: u64,
    root: String,
}

#[derive(Deserialize)]
struct ChangeCase {
    name: String,
    change: String,
    identity: String,
    operator_signature: String,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct OperatorCases {
    change: String,
    key: String,
    signatures: Vec<OperatorCase>,
}

#[derive(Deserialize)]
struct OperatorCase {
    name: String,
    signature: String,
    valid: bool,
}

#[derive(Deserialize)]
struct VoteCase {
    name: String,
    kind: u16,
    body: String,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct OpCase {
    name: String,
    kind: u16,
    body: String,
}

#[derive(Deserialize)]
struct InvalidCase {
    name: String,
    kind: Option<u16>,
    bytes: String,
    verdict: String,
}

fn file() -> File {
    let text = std::fs::read_to_string(crate::vectors::directory().join("membership.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Committees {
    /// The committee of four, and the one of seven after it.
    fn proven(&self) -> [Committee; 2] {
        let genesis = CommitteeRecord::decode(&hex(&self.genesis), &Limits::default()).unwrap();
        let next = CommitteeRecord::decode_later(&hex(&self.next), &Limits::default()).unwrap();
        let mut pops = self.pops.iter();
        [genesis, next].map(|record| {
            let pops = pops.next().unwrap().iter().map(|pop| Possession(array(pop))).collect();
            Committee::proven(record, pops).unwrap()
        })
    }
}

fn signed_vote(kind: u16, body: &str) -> SignedNodeVote {
    match MembershipOp::decode(kind, &hex(body)).unwrap() {
        MembershipOp::Approve(signed) | MembershipOp::Stop(signed) | MembershipOp::SealReady(signed) => signed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_match_the_vectors() {
    let File { committees, changes, operator, .. } = file();
    let [committee, _] = committees.proven();
    for ChangeCase { name, change, identity, operator_signature, refused } in &changes {
        let decoded = CommitteeChange::decode(&hex(change)).unwrap();
        assert_eq!(decoded.encode(), hex(change), "{name}");
        assert_eq!(decoded.id(), ChangeId(array(identity)), "{name}");
        // Signatures are deterministic, so equal ones are over equal statements.
        let signature = decoded.sign_as_operator(&vote_secret("operator"));
        assert_eq!(signature, VoteSignature(array(operator_signature)), "{name}");
        let got = decoded.check(committee.record()).err().map(|error| match error {
            ChangeError::AnotherCommittee { .. } => "committee",
            ChangeError::Unsorted { .. } => "order",
            ChangeError::NotAMember { .. } => "removed",
            ChangeError::AlreadyAMember { .. } => "added",
            ChangeError::TooManyRemoved { .. } => "most-removed",
            ChangeError::TooMany { .. } | ChangeError::TooLarge { .. } => "size",
        });
        assert_eq!(got, refused.as_deref(), "{name}");
    }
    for rule in ["committee", "order", "removed", "added", "most-removed"] {
        assert!(changes.iter().any(|case| case.refused.as_deref() == Some(rule)), "{rule}");
    }
    let key = VoteKey(array(&operator.key));
    let change = CommitteeChange::decode(&hex(&operator.change)).unwrap();
    for OperatorCase { name, signature, valid } in &operator.signatures {
        let got = verify_operator(&key, &change, &VoteSignature(array(signature)));
        assert_eq!(got.is_ok(), *valid, "{name}: {got:?}");
    }
    assert!(operator.signatures.iter().any(|case| case.valid));
}

#[test]
fn a_committee_grows_to_1000_members_and_no_further() {
    let member = |number: u16| {
        let [low, high] = number.to_le_bytes();
        let mut node = node_key(1);
        (node.0[0], node.0[1]) = (low, high);
        let mut vote = vote_secret("any").vote_key();
        (vote.0[1], vote.0[2]) = (low, high);
        Member { node_key: node, vote_key: vote, name: MemberName::new("any").unwrap() }
    };
    let of_990 = CommitteeRecord::genesis([0; 16], (0..990).map(member).collect()).unwrap();
    let growing = |by: u16| {
        let added = (990..990 + by).map(member).map(|Member { node_key, name, .. }| AddedMember { node_key, name });
        CommitteeChange::new(&of_990, [0; 16], false, Vec::new(), added.collect())
    };
    assert!(growing(10).is_ok());
    assert_eq!(growing(11), Err(ChangeError::TooLarge { got: 1001 }));
}

#[test]
fn node_votes_match_the_vectors() {
    let File { committees, votes, .. } = file();
    let ([committee, _], mut signed) = (committees.proven(), 0);
    for VoteCase { name, kind, body, refused } in &votes {
        let vote = signed_vote(*kind, body);
        let got = vote.verify(committee.record()).err().map(|error| match error {
            NodeVoteError::NotAMember(_) => "voter",
            NodeVoteError::Signature(_) => "signature",
        });
        assert_eq!(got, refused.as_deref(), "{name}");
        // Signatures are deterministic: the core signs the same bytes as the independent implementation.
        let secrets = (0..4).map(|i| node_secret(&format!("membership/{i}")));
        for voter in secrets.filter(|secret| secret.node_key() == vote.node_key && refused.is_none()) {
            assert_eq!(vote.vote.sign(committee.record(), &voter), vote, "{name}");
            signed += 1;
        }
    }
    assert_eq!(signed, 4);
}

/// Checks one member's signature on a statement of its committee.
fn member_signed<B: Body + std::fmt::Debug>(committee: &Committee, body: B, node: &NodeKey, by: VoteSignature) {
    let member = committee.record().position(node).unwrap();
    Tally::new(committee.record(), body).add(committee, member, by).unwrap();
}

#[test]
fn ops_match_the_vectors_and_every_signature_in_them_is_valid() {
    let File { committees, bodies, ops, .. } = file();
    let [committee, next] = committees.proven();
    let (record, mut kinds, mut proposed) = (committee.record(), Vec::new(), None);
    for OpCase { name, kind, body } in &ops {
        let op = MembershipOp::decode(*kind, &hex(body)).unwrap();
        assert_eq!((op.kind(), op.body()), (*kind, hex(body)), "{name}");
        kinds.push(*kind);
        match &op {
            MembershipOp::Propose { change, operator } => {
                change.check(record).unwrap();
                if let Some(signature) = operator {
                    verify_operator(&vote_secret("operator").vote_key(), change, signature).unwrap();
                }
                proposed = Some(change.id());
            }
            MembershipOp::Approve(signed) | MembershipOp::Stop(signed) | MembershipOp::SealReady(signed) => {
                signed.verify(record).unwrap();
            }
            MembershipOp::Offer(offer) => {
                offer.verify(record).unwrap();
            }
            MembershipOp::Fix { change } => assert_eq!(Some(*change), proposed),
            MembershipOp::Accept { node_key, signature } => {
                member_signed(&next, Accept { proposal: proposed.unwrap().0 }, node_key, *signature);
            }
            MembershipOp::SignHandoff { node_key, signature } => {
                let HandoffBody { closing, height, ref log_root } = bodies.handoff;
                let (next, log_root) = (next.record().digest(), TreeHash(array(log_root)));
                member_signed(&committee, Handoff { closing, next, height, log_root }, node_key, *signature);
            }
            MembershipOp::Certified(statements) => {
                let mut identities = Vec::new();
                for statement in statements {
                    identities.push(statement.verify(&committee).unwrap());
                }
                identities.dedup();
                assert_eq!(identities.len(), statements.len(), "{name}");
            }
            MembershipOp::SignSeal { node_key, signature } => {
                let root = TreeHash(array(&bodies.seal.root));
                let seal = Seal { epoch: 0, committee: record.digest(), count: bodies.seal.count, root };
                member_signed(&next, seal, node_key, *signature);
            }
        }
    }
    kinds.dedup();
    assert_eq!(kinds, (MembershipOp::FIRST_KIND..=MembershipOp::LAST_KIND).collect::<Vec<_>>());
}

#[test]
fn invalid_bytes_are_refused() {
    let File { invalid, .. } = file();
    assert!(invalid.len() >= 75, "{}", invalid.len());
    for InvalidCase { name, kind, bytes, verdict } in invalid {
        let bytes = hex(&bytes);
        let is_unknown = match kind {
            None => matches!(CommitteeChange::decode(&bytes).unwrap_err(), ChangeFormatError::UnknownVersion(_)),
            Some(kind) => matches!(
                MembershipOp::decode(kind, &bytes).unwrap_err(),
                MembershipOpError::UnknownKind { .. }
                    | MembershipOpError::Change(ChangeFormatError::UnknownVersion(_))
                    | MembershipOpError::Offer(KeyOfferFormatError::UnknownVersion(_))
            ),
        };
        assert_eq!(if is_unknown { "cannot-check" } else { "invalid" }, verdict, "{name}");
    }
}
