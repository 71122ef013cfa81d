//! What a member says about a change with its node key. The node key is the member: its vote key is another one in the next epoch.

use thiserror::Error;

use crate::codec::{DecodeError, Reader};
use crate::committee::CommitteeRecord;
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{AccessChangeId, ChangeId};
use crate::link::{NodeKey, NodeSecretKey};

/// The name, length first. It separates these votes from everything else that a node key signs.
const NAMESPACE: &[u8; 20] = b"\x13vouch/membership/v1";

/// A statement of one member of a committee, for the log of that committee's cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeVote {
    /// The member approves this change, and no other one that it approved before.
    Approve {
        /// The change.
        change: ChangeId,
        /// Greater than in the member's votes before, so that an earlier vote cannot be repeated.
        number: u64,
    },
    /// The member signs no stored statement of this committee that was issued later. It says so once.
    Stop {
        /// Seconds since 1970.
        until: u64,
    },
    /// The log has every certificate of the epoch before that the member knows of.
    SealReady,
    /// The member approves this change of the rules of access, and no other one that it approved before.
    ApproveAccess {
        /// The change.
        change: AccessChangeId,
        /// Greater than in the member's earlier approvals of access changes, so that those cannot be repeated.
        number: u64,
    },
}

/// A vote with its member and signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedNodeVote {
    /// The member.
    pub node_key: NodeKey,
    /// What it says.
    pub vote: NodeVote,
    /// The signature by the node key.
    pub signature: [u8; 64],
}

impl NodeVote {
    fn number(&self) -> u8 {
        match self {
            Self::Approve { .. } => 1,
            Self::Stop { .. } => 2,
            Self::SealReady => 3,
            Self::ApproveAccess { .. } => 4,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Approve { change, number } => {
                out.extend_from_slice(&change.0);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Stop { until } => out.extend_from_slice(&until.to_le_bytes()),
            Self::SealReady => {}
            Self::ApproveAccess { change, number } => {
                out.extend_from_slice(&change.0);
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn signed_bytes(&self, committee: &CommitteeRecord) -> Vec<u8> {
        let mut out = NAMESPACE.to_vec();
        out.push(self.number());
        out.extend_from_slice(&committee.cluster().0);
        out.extend_from_slice(&committee.digest().0);
        self.write(&mut out);
        out
    }

    /// Signs the vote as a member of this committee.
    pub fn sign(self, committee: &CommitteeRecord, node: &NodeSecretKey) -> SignedNodeVote {
        let signature = node.sign_bytes(&self.signed_bytes(committee));
        SignedNodeVote { node_key: node.node_key(), vote: self, signature }
    }
}

impl SignedNodeVote {
    /// Checks that a member of this committee said this, and returns its index.
    ///
    /// # Errors
    /// See [`NodeVoteError`].
    pub fn verify(&self, committee: &CommitteeRecord) -> Result<u16, NodeVoteError> {
        let member = committee.position(&self.node_key).ok_or(NodeVoteError::NotAMember(self.node_key))?;
        match self.node_key.has_signed(&self.vote.signed_bytes(committee), &self.signature) {
            true => Ok(member),
            false => Err(NodeVoteError::Signature(self.node_key)),
        }
    }

    /// Appends the node key, what the vote says without its number, and the signature.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node_key.0);
        self.vote.write(out);
        out.extend_from_slice(&self.signature);
    }

    pub(super) fn read_approval(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let node_key = NodeKey(reader.array("node key")?);
        let change = ChangeId(reader.array("change")?);
        let vote = NodeVote::Approve { change, number: reader.safe_u64("number of the approval")? };
        Ok(Self { node_key, vote, signature: reader.array("signature")? })
    }

    pub(super) fn read_stop(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let node_key = NodeKey(reader.array("node key")?);
        let vote = NodeVote::Stop { until: reader.safe_u64("time of the stop")? };
        Ok(Self { node_key, vote, signature: reader.array("signature")? })
    }

    pub(super) fn read_seal_ready(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let node_key = NodeKey(reader.array("node key")?);
        Ok(Self { node_key, vote: NodeVote::SealReady, signature: reader.array("signature")? })
    }
}

/// Why a vote does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NodeVoteError {
    /// The node is not in the committee.
    NotAMember(NodeKey),
    /// The node key did not sign this.
    Signature(NodeKey),
}

impl NodeVoteError {
    /// What is required, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::NotAMember(key) => Comparison::new(&"voter", &"a member of the committee", key),
            Self::Signature(key) => Comparison::new(&"vote", &format_args!("a signature by {key}"), &"another"),
        }
    }
}

display_comparison!(NodeVoteError);
