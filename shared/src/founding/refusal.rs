//! A member's refusal of a founding: the member has accepted another one, and never accepts this one.

use std::fmt;

use thiserror::Error;

use crate::committee::CommitteeRecord;
use crate::digest::CommitteeDigest;
use crate::link::{NodeKey, NodeSecretKey};
use crate::statement::Accept;
use crate::tally::VerifiedVote;

/// The name, length first. It separates refusals from everything else that a node key signs.
const NAMESPACE: &[u8; 17] = b"\x10vouch/refusal/v1";

/// A signed refusal. One is enough to end a founding, and to release the members that accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The founding that the signer never accepts.
    pub refused: CommitteeDigest,
    /// The founding that the signer accepted instead.
    pub accepted: CommitteeDigest,
    /// The signer, a member of the refused founding.
    pub node_key: NodeKey,
    /// The signer's signature.
    pub signature: [u8; 64],
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { refused, accepted, node_key, .. } = self;
        write!(f, "founding {refused} is over: {node_key} accepted {accepted} instead")
    }
}

/// A refusal whose signature was verified: it is by a member of the founding that it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedRefusal {
    refusal: Refusal,
    member: u16,
}

impl VerifiedRefusal {
    /// The refusal.
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The signer's index in the refused committee.
    pub fn member(&self) -> u16 {
        self.member
    }
}

/// Two signatures that prove a member faulty: it accepted and refused the same founding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// The member's refusal.
    pub refusal: Refusal,
    /// The member's acceptance of the same founding.
    pub acceptance: VerifiedVote<Accept>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { refused, node_key, .. } = self.refusal;
        write!(f, "replica {node_key} is faulty: it accepted and refused the same founding, {refused}")
    }
}

/// Why a refusal is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusalError {
    /// The refusal is about another founding.
    #[error("refusal: expected one of founding {expected}, got one of {got}")]
    AnotherFounding {
        /// The founding at hand.
        expected: CommitteeDigest,
        /// The founding refused.
        got: CommitteeDigest,
    },
    /// The signer is not a member of the refused founding.
    #[error("refusal: expected a member of the founding, got {0}")]
    NotAMember(NodeKey),
    /// The refused and the accepted founding are the same.
    #[error("refusal: expected another founding as accepted, got the refused one, {0}")]
    SameFounding(CommitteeDigest),
    /// The signature is not the member's.
    #[error("refusal: expected a signature by {0}, got another")]
    Signature(NodeKey),
}

impl Refusal {
    /// Size in bytes, on links and in files.
    pub const SIZE: usize = 160;

    /// Signs a refusal. The caller first makes durable that it never accepts `refused`.
    pub fn sign(key: &NodeSecretKey, refused: CommitteeDigest, accepted: CommitteeDigest) -> Self {
        let signature = key.sign_bytes(&signed_bytes(&refused, &accepted));
        Self { refused, accepted, node_key: key.node_key(), signature }
    }

    /// Verifies this as a refusal of the founding of `genesis`.
    ///
    /// # Errors
    /// See [`RefusalError`].
    pub fn verify(self, genesis: &CommitteeRecord) -> Result<VerifiedRefusal, RefusalError> {
        if self.refused != genesis.digest() {
            return Err(RefusalError::AnotherFounding { expected: genesis.digest(), got: self.refused });
        }
        if self.accepted == self.refused {
            return Err(RefusalError::SameFounding(self.refused));
        }
        let member = genesis.position(&self.node_key).ok_or(RefusalError::NotAMember(self.node_key))?;
        match self.node_key.has_signed(&signed_bytes(&self.refused, &self.accepted), &self.signature) {
            true => Ok(VerifiedRefusal { refusal: self, member }),
            false => Err(RefusalError::Signature(self.node_key)),
        }
    }
}

/// The 81 bytes that a refusal signs.
fn signed_bytes(refused: &CommitteeDigest, accepted: &CommitteeDigest) -> Vec<u8> {
    [NAMESPACE, &refused.0[..], &accepted.0[..]].concat()
}
