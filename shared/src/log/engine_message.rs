//! What members sign while the engine decides a block: votes and proposals. They decide, but they certify nothing to outsiders: that
//! is what a [`LogHead`](crate::statement::LogHead) is for.

use thiserror::Error;

use crate::comparison::{Comparison, display_comparison};
use crate::digest::{BlockDigest, ClusterId};
use crate::link::{NodeKey, NodeSecretKey};

/// The name, length first. It separates the engine's messages from everything else that a node key signs.
const NAMESPACE: &[u8; 13] = b"\x0Cvouch/log/v1";
const PROPOSAL: u8 = 3;
/// What a proposal signs in place of a valid round, if it has none.
const NO_ROUND: u32 = u32::MAX;

/// The two steps of a round in which members vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EngineVoteType {
    /// The voter found the proposed block valid.
    Prevote = 1,
    /// The voter saw a quorum of prevotes for the block.
    Precommit = 2,
}

/// A vote of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineVote {
    /// The step.
    pub vote_type: EngineVoteType,
    /// The height, from 1.
    pub height: u64,
    /// The round, from 0.
    pub round: u32,
    /// The block; `None` is a vote for no block in this round.
    pub block: Option<BlockDigest>,
}

/// A proposal of the engine. It names the block; the block's bytes travel beside it, unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineProposal {
    /// The height, from 1.
    pub height: u64,
    /// The round, from 0.
    pub round: u32,
    /// The earlier round in which a quorum prevoted for the block; `None` for a new block.
    pub valid_round: Option<u32>,
    /// The block.
    pub block: BlockDigest,
}

/// A member's signature on a vote or proposal of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineSignature(pub [u8; 64]);

/// A vote or proposal is not signed by the member that it is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct EngineSignatureError {
    /// The member.
    pub member: NodeKey,
}

impl EngineSignatureError {
    /// The signature required; another one was found.
    pub fn comparison(&self) -> Comparison {
        Comparison::new(&"message of the log", &format_args!("a signature by {}", self.member), &"another")
    }
}

display_comparison!(EngineSignatureError);

impl EngineVote {
    /// Signs the vote in an epoch of a cluster. The caller must have made the vote durable.
    pub fn sign(&self, cluster: &ClusterId, epoch: u64, key: &NodeSecretKey) -> EngineSignature {
        EngineSignature(key.sign_bytes(&self.signed_bytes(cluster, epoch)))
    }

    /// Checks that a node key signed the vote. The caller checks that it is a member's.
    ///
    /// # Errors
    /// [`EngineSignatureError`].
    pub fn verify(
        &self,
        cluster: &ClusterId,
        epoch: u64,
        member: &NodeKey,
        signature: &EngineSignature,
    ) -> Result<(), EngineSignatureError> {
        check(member, &self.signed_bytes(cluster, epoch), signature)
    }

    /// The 98 signed bytes. A vote for no block has 32 zero bytes for the block.
    pub fn signed_bytes(&self, cluster: &ClusterId, epoch: u64) -> Vec<u8> {
        let mut out = begin(cluster, epoch, self.vote_type as u8, self.height, self.round);
        out.extend_from_slice(&self.block.map_or([0; 32], |block| block.0));
        out
    }
}

impl EngineProposal {
    /// Signs the proposal in an epoch of a cluster. The caller must have made proposal and block durable.
    pub fn sign(&self, cluster: &ClusterId, epoch: u64, key: &NodeSecretKey) -> EngineSignature {
        EngineSignature(key.sign_bytes(&self.signed_bytes(cluster, epoch)))
    }

    /// Checks that a node key signed the proposal. The caller checks that it is the proposer's.
    ///
    /// # Errors
    /// [`EngineSignatureError`].
    pub fn verify(
        &self,
        cluster: &ClusterId,
        epoch: u64,
        member: &NodeKey,
        signature: &EngineSignature,
    ) -> Result<(), EngineSignatureError> {
        check(member, &self.signed_bytes(cluster, epoch), signature)
    }

    /// The 102 signed bytes.
    pub fn signed_bytes(&self, cluster: &ClusterId, epoch: u64) -> Vec<u8> {
        let mut out = begin(cluster, epoch, PROPOSAL, self.height, self.round);
        out.extend_from_slice(&self.valid_round.unwrap_or(NO_ROUND).to_le_bytes());
        out.extend_from_slice(&self.block.0);
        out
    }
}

fn begin(cluster: &ClusterId, epoch: u64, message: u8, height: u64, round: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(102);
    out.extend_from_slice(NAMESPACE);
    out.extend_from_slice(&cluster.0);
    out.extend_from_slice(&epoch.to_le_bytes());
    out.push(message);
    out.extend_from_slice(&height.to_le_bytes());
    out.extend_from_slice(&round.to_le_bytes());
    out
}

fn check(member: &NodeKey, bytes: &[u8], signature: &EngineSignature) -> Result<(), EngineSignatureError> {
    match member.has_signed(bytes, &signature.0) {
        true => Ok(()),
        false => Err(EngineSignatureError { member: *member }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 32]);
    const BLOCK: BlockDigest = BlockDigest([4; 32]);

    #[test]
    fn a_vote_verifies_only_as_it_was_signed() {
        let secret = NodeSecretKey::from_bytes(&[1; 32]);
        let member = secret.node_key();
        let vote = EngineVote { vote_type: EngineVoteType::Prevote, height: 5, round: 0, block: Some(BLOCK) };
        let signature = vote.sign(&CLUSTER, 2, &secret);
        assert_eq!(vote.verify(&CLUSTER, 2, &member, &signature), Ok(()));
        assert_eq!(vote.signed_bytes(&CLUSTER, 2).len(), 98);

        assert!(vote.verify(&CLUSTER, 3, &member, &signature).is_err());
        assert!(vote.verify(&ClusterId([5; 32]), 2, &member, &signature).is_err());
        let stranger = NodeSecretKey::from_bytes(&[2; 32]).node_key();
        assert_eq!(vote.verify(&CLUSTER, 2, &stranger, &signature), Err(EngineSignatureError { member: stranger }));
        let others = [
            EngineVote { vote_type: EngineVoteType::Precommit, ..vote },
            EngineVote { height: 6, ..vote },
            EngineVote { round: 1, ..vote },
            EngineVote { block: None, ..vote },
            EngineVote { block: Some(BlockDigest([5; 32])), ..vote },
        ];
        for other in others {
            assert!(other.verify(&CLUSTER, 2, &member, &signature).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_proposal_verifies_only_as_it_was_signed() {
        let secret = NodeSecretKey::from_bytes(&[1; 32]);
        let member = secret.node_key();
        let proposal = EngineProposal { height: 5, round: 1, valid_round: None, block: BLOCK };
        let signature = proposal.sign(&CLUSTER, 2, &secret);
        assert_eq!(proposal.verify(&CLUSTER, 2, &member, &signature), Ok(()));
        assert_eq!(proposal.signed_bytes(&CLUSTER, 2).len(), 102);

        assert!(proposal.verify(&CLUSTER, 3, &member, &signature).is_err());
        let others = [
            EngineProposal { height: 6, ..proposal },
            EngineProposal { round: 2, ..proposal },
            EngineProposal { valid_round: Some(0), ..proposal },
            EngineProposal { block: BlockDigest([5; 32]), ..proposal },
        ];
        for other in others {
            assert!(other.verify(&CLUSTER, 2, &member, &signature).is_err(), "{other:?}");
        }
    }
}
