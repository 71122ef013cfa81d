//! A committee that a verifier trusts by its digest, besides the genesis.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::CommitteeChain;
use crate::digest::{CommitteeDigest, ParseHashError};
use crate::limits::MAX_SAFE_INTEGER;

/// The committee of one epoch, trusted by its digest. The digest fixes every committee before it, and the handoffs and seals that its
/// history names. As text: the epoch, a colon and the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The epoch.
    pub epoch: u64,
    /// The digest of its committee.
    pub committee: CommitteeDigest,
}

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseCheckpointError {
    /// There is no colon, or no epoch before it.
    #[error("expected EPOCH:DIGEST with an epoch from 0 to {MAX_SAFE_INTEGER}")]
    Epoch,
    /// The digest is malformed.
    #[error(transparent)]
    Digest(#[from] ParseHashError),
}

impl FromStr for Checkpoint {
    type Err = ParseCheckpointError;

    fn from_str(text: &str) -> Result<Self, ParseCheckpointError> {
        let (epoch, digest) = text.split_once(':').ok_or(ParseCheckpointError::Epoch)?;
        // `parse` would take a sign.
        let is_plain = epoch.bytes().all(|byte| byte.is_ascii_digit());
        let epoch = epoch.parse().ok().filter(|epoch| is_plain && *epoch <= MAX_SAFE_INTEGER);
        Ok(Self { epoch: epoch.ok_or(ParseCheckpointError::Epoch)?, committee: digest.parse()? })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.committee)
    }
}

/// The committee of the last epoch.
impl From<&CommitteeChain> for Checkpoint {
    fn from(chain: &CommitteeChain) -> Self {
        let last = chain.current().record();
        Self { epoch: last.epoch(), committee: last.digest() }
    }
}

/// As its text.
impl Serialize for Checkpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_an_epoch_and_a_digest() {
        let checkpoint = Checkpoint { epoch: 12, committee: CommitteeDigest([7; 32]) };
        assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        assert_eq!(format!("12:{}", "07".repeat(32)).parse(), Ok(checkpoint));
        let digest = checkpoint.committee.to_string();
        for epoch in ["", "+1", "-1", "1.0", " 1", "9007199254740992", "99999999999999999999"] {
            assert_eq!(format!("{epoch}:{digest}").parse::<Checkpoint>(), Err(ParseCheckpointError::Epoch), "{epoch}");
        }
        assert_eq!(digest.parse::<Checkpoint>(), Err(ParseCheckpointError::Epoch));
        assert!(matches!("1:".parse::<Checkpoint>(), Err(ParseCheckpointError::Digest(_))));
    }
}
