//! The ops by which the rules of access change. Each carries its own signatures, so any member may submit it for anyone.

use thiserror::Error;

use super::change::{AccessChange, AccessChangeFormatError};
use crate::bls::VoteSignature;
use crate::codec::{DecodeError, Reader};
use crate::committee::CommitteeRecord;
use crate::link::{NodeKey, NodeSecretKey};
use crate::membership::NodeVote;

/// An op about access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessOp {
    /// The operator decides a change.
    Decide {
        /// The operator's signature on the change.
        operator: VoteSignature,
        /// The change.
        change: AccessChange,
    },
    /// A member approves a change, where there is no operator.
    Approve {
        /// The member.
        node_key: NodeKey,
        /// Greater than in its earlier approvals.
        number: u64,
        /// Its signature, as [`NodeVote::ApproveAccess`].
        signature: [u8; 64],
        /// The change.
        change: AccessChange,
    },
}

impl AccessOp {
    /// The kind of [`Decide`](Self::Decide).
    pub const DECIDE: u16 = 11;
    /// The kind of [`Approve`](Self::Approve).
    pub const APPROVE: u16 = 12;

    /// Whether an op of this kind is about access.
    pub fn has_kind(kind: u16) -> bool {
        (Self::DECIDE..=Self::APPROVE).contains(&kind)
    }

    /// A member's approval of a change, in the name of this committee.
    pub fn approve(change: AccessChange, number: u64, committee: &CommitteeRecord, node: &NodeSecretKey) -> Self {
        let signed = NodeVote::ApproveAccess { change: change.id(), number }.sign(committee, node);
        Self::Approve { node_key: signed.node_key, number, signature: signed.signature, change }
    }

    /// The change.
    pub fn change(&self) -> &AccessChange {
        match self {
            Self::Decide { change, .. } | Self::Approve { change, .. } => change,
        }
    }

    /// The op's kind.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Decide { .. } => Self::DECIDE,
            Self::Approve { .. } => Self::APPROVE,
        }
    }

    /// The op's body.
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Decide { operator, .. } => out.extend_from_slice(&operator.0),
            Self::Approve { node_key, number, signature, .. } => {
                out.extend_from_slice(&node_key.0);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(signature);
            }
        }
        out.extend_from_slice(&self.change().encode());
        out
    }

    /// Decodes the body of an op of this kind.
    ///
    /// # Errors
    /// See [`AccessOpError`].
    pub fn decode(kind: u16, body: &[u8]) -> Result<Self, AccessOpError> {
        let mut reader = Reader::new(body);
        match kind {
            Self::DECIDE => {
                let operator = VoteSignature(reader.array("operator's signature")?);
                Ok(Self::Decide { operator, change: AccessChange::decode(reader.rest())? })
            }
            Self::APPROVE => {
                let node_key = NodeKey(reader.array("node key")?);
                let number = reader.safe_u64("number of the approval")?;
                let signature = reader.array("signature")?;
                Ok(Self::Approve { node_key, number, signature, change: AccessChange::decode(reader.rest())? })
            }
            got => Err(AccessOpError::UnknownKind { got }),
        }
    }
}

/// Why the body of an op is malformed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccessOpError {
    /// The bytes do not follow the layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The change is malformed.
    #[error(transparent)]
    Change(#[from] AccessChangeFormatError),
    /// No op about access has this kind.
    #[error("kind of an op about access: expected {} or {}, got {got}", AccessOp::DECIDE, AccessOp::APPROVE)]
    UnknownKind {
        /// The kind.
        got: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Grant, NO_LIMIT, Rules, TokenKey, Who, verify_access_operator};
    use super::*;
    use crate::bls::VoteSecretKey;
    use crate::committee::{Committee, CommitteeRecord, Member, MemberName};
    use crate::digest::ClusterId;
    use crate::link::NodeSecretKey;

    fn node() -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[1; 32])
    }

    fn committee() -> Committee {
        let vote = VoteSecretKey::generate(&[1; 32]).unwrap();
        let name = MemberName::new("own").unwrap();
        let member = Member { node_key: node().node_key(), vote_key: vote.vote_key(), name };
        let record = CommitteeRecord::genesis([0; 16], vec![member]).unwrap();
        Committee::proven(record, vec![vote.prove_possession()]).unwrap()
    }

    fn changes() -> Vec<AccessChange> {
        let grant = Grant {
            name: MemberName::new("alice").unwrap(),
            largest: 1 << 30,
            rate: 1,
            quota: 0,
            expires_at: NO_LIMIT,
        };
        let rules = |put, read| Decision::Rules(Rules { put, read });
        let decisions = [
            rules(Who::Tokens, Who::Anyone),
            rules(Who::Anyone, Who::Tokens),
            Decision::Grant(TokenKey([3; 32]), grant),
            Decision::Revoke(TokenKey([3; 32])),
        ];
        let change = |(number, decision)| AccessChange { cluster: ClusterId([9; 32]), number, decision };
        (1..).zip(decisions).map(change).collect()
    }

    #[test]
    fn every_op_has_one_encoding() {
        let committee = committee();
        let mut ops = Vec::new();
        for change in changes() {
            let operator = VoteSignature([7; 96]);
            ops.extend([
                AccessOp::Decide { operator, change },
                AccessOp::approve(change, 3, committee.record(), &node()),
            ]);
        }
        for op in ops {
            let (kind, body) = (op.kind(), op.body());
            assert!(AccessOp::has_kind(kind));
            assert_eq!(AccessOp::decode(kind, &body), Ok(op));
            for length in 0..body.len() {
                assert!(AccessOp::decode(kind, &body[..length]).is_err(), "{kind}: {length}");
            }
            assert!(AccessOp::decode(kind, &[&body[..], &[0]].concat()).is_err(), "{kind}");
        }
        assert_eq!(AccessOp::decode(10, &[]), Err(AccessOpError::UnknownKind { got: 10 }));
        assert_eq!(AccessOp::decode(13, &[]), Err(AccessOpError::UnknownKind { got: 13 }));
    }

    #[test]
    fn numbers_and_limits_out_of_range_are_refused() {
        let at = |change: &AccessChange, offset: usize, bytes: &[u8]| {
            let mut encoded = change.encode();
            encoded[offset..offset + bytes.len()].copy_from_slice(bytes);
            AccessChange::decode(&encoded)
        };
        let changes = changes();
        let (rules, grant) = (&changes[0], &changes[2]);
        assert_eq!(at(rules, 7, &[2]), Err(AccessChangeFormatError::UnknownVersion(2)));
        assert!(at(rules, 40, &[0; 8]).is_err() && at(rules, 40, &(1u64 << 53).to_le_bytes()).is_err());
        assert!(at(rules, 48, &[0]).is_err() && at(rules, 48, &[4]).is_err());
        assert!(at(rules, 49, &[2]).is_err() && at(rules, 50, &[2]).is_err());
        let largest = 49 + 32 + 24;
        assert!(at(grant, largest, &(1u64 << 53).to_le_bytes()).is_err());
        assert!(at(grant, largest, &NO_LIMIT.to_le_bytes()).is_ok());
        assert!(at(grant, largest + 8, &[0; 8]).is_err(), "a rate of 0");
    }

    #[test]
    fn the_operators_signature_is_for_one_change_and_one_committee() {
        let committee = committee();
        let key = VoteSecretKey::generate(&[5; 32]).unwrap();
        let changes = changes();
        let signature = changes[0].sign_as_operator(committee.record(), &key);
        let check = |change| verify_access_operator(&key.vote_key(), committee.record(), change, &signature);
        assert_eq!(check(&changes[0]), Ok(()));
        assert!(check(&changes[1]).is_err());
        assert!(check(&AccessChange { number: 2, ..changes[0] }).is_err());
        let member = committee.record().members()[0];
        let other = CommitteeRecord::genesis([1; 16], vec![member]).unwrap();
        assert!(verify_access_operator(&key.vote_key(), &other, &changes[0], &signature).is_err());
    }
}
