//! Kind 2, *handoff*: a committee ends its epoch and hands over to the next one.

use super::{Body, ClaimError};
use crate::codec::{Reader, in_range};
use crate::digest::CommitteeDigest;
use crate::limits::{Limits, MAX_SAFE_INTEGER};
use crate::merkle::TreeHash;

/// The committee in the header hands over to `next`. A signer signs at most one handoff of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handoff {
    /// A certificate of this epoch with a later `issued_at` is invalid; seconds since 1970.
    pub closing: u64,
    /// The committee of the next epoch.
    pub next: CommitteeDigest,
    /// The height of the block that decided the next committee, from 1. Blocks after it belong to the next epoch.
    pub height: u64,
    /// The log root over the blocks 1 to `height`.
    pub log_root: TreeHash,
}

impl Body for Handoff {
    const KIND: u16 = 2;
    const NAME: &'static str = "handoff";
    const SIZE: u32 = 80;

    type Claim = Self;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.closing.to_le_bytes());
        out.extend_from_slice(&self.next.0);
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.log_root.0);
    }

    fn of_claim(claim: &Self) -> Option<Self> {
        Some(*claim)
    }

    fn write_claim(claim: &Self, out: &mut Vec<u8>) {
        claim.write(out);
    }

    fn read_claim(reader: &mut Reader<'_>, _: &Limits) -> Result<Self, ClaimError> {
        let closing = reader.safe_u64("closing")?;
        let next = CommitteeDigest(reader.array("next committee")?);
        let height = reader.u64("height")?;
        in_range("height", height, 1, MAX_SAFE_INTEGER)?;
        let log_root = TreeHash(reader.array("log root")?);
        Ok(Self { closing, next, height, log_root })
    }
}
