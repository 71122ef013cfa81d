//! A member's clock reading, signed for one question. A server relays question and answer. It can neither forge an answer nor
//! replay an old one, because each question has its own nonce.

use thiserror::Error;

use crate::digest::ClusterId;
use crate::link::{NodeKey, NodeSecretKey};

const NAMESPACE: &[u8; 14] = b"\x0Dvouch/time/v1";
/// Number of bytes that a member signs.
const SIGNED: usize = NAMESPACE.len() + 32 + 32 + 32 + 8;

/// A question to the members of a cluster for their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeQuestion {
    /// The cluster of the member that asks and of the members asked.
    pub cluster: ClusterId,
    /// The node key of the member that asks.
    pub asker: NodeKey,
    /// Fresh random bytes, so that an answer to another question does not verify.
    pub nonce: [u8; 32],
}

/// A member's signature over its time, for one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSignature(pub [u8; 64]);

impl TimeQuestion {
    /// Signs the time that the key owner's clock shows, in seconds since 1970.
    pub fn answer(&self, key: &NodeSecretKey, time: u64) -> TimeSignature {
        TimeSignature(key.sign_bytes(&self.signed_bytes(time)))
    }

    /// Checks that the owner of a node key signed this time for this question.
    ///
    /// # Errors
    /// [`TimeError`].
    pub fn verify(&self, key: &NodeKey, time: u64, signature: &TimeSignature) -> Result<(), TimeError> {
        match key.has_signed(&self.signed_bytes(time), &signature.0) {
            true => Ok(()),
            false => Err(TimeError { key: *key }),
        }
    }

    fn signed_bytes(&self, time: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNED);
        out.extend_from_slice(NAMESPACE);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.asker.0);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&time.to_le_bytes());
        out
    }
}

/// The member did not sign this time for this question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("signed time: expected a signature by {key} over this question and time, got another")]
pub struct TimeError {
    /// The member's node key.
    pub key: NodeKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_verifies_only_for_its_question_member_and_time() {
        let secret = NodeSecretKey::from_bytes(&[1; 32]);
        let key = secret.node_key();
        let asker = NodeSecretKey::from_bytes(&[2; 32]).node_key();
        let question = TimeQuestion { cluster: ClusterId([3; 32]), asker, nonce: [4; 32] };
        let signature = question.answer(&secret, 1_790_000_000);
        assert_eq!(question.verify(&key, 1_790_000_000, &signature), Ok(()));
        assert_eq!(question.signed_bytes(0).len(), 118);

        assert_eq!(question.verify(&key, 1_790_000_001, &signature), Err(TimeError { key }));
        assert_eq!(question.verify(&asker, 1_790_000_000, &signature), Err(TimeError { key: asker }));
        let others = [
            TimeQuestion { cluster: ClusterId([5; 32]), ..question },
            TimeQuestion { asker: key, ..question },
            TimeQuestion { nonce: [5; 32], ..question },
        ];
        for other in others {
            assert!(other.verify(&key, 1_790_000_000, &signature).is_err(), "{other:?}");
        }
        assert!(question.verify(&NodeKey::ANONYMOUS, 1_790_000_000, &signature).is_err());
    }
}
