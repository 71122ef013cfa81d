//! Kind 9, *seal*: which statements of kind 1 an epoch certified.

use super::{Body, ClaimError};
use crate::codec::{Reader, in_range, same};
use crate::digest::CommitteeDigest;
use crate::limits::Limits;
use crate::merkle::TreeHash;

/// The committee after the sealed one states which stored statements the sealed epoch certified. A signer signs at most one seal of an epoch.
/// A later thief of the sealed epoch's keys can still sign statements, but cannot add them to the seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The sealed epoch: the one before that in the header.
    pub epoch: u64,
    /// The committee of the sealed epoch.
    pub committee: CommitteeDigest,
    /// The number of statements.
    pub count: u64,
    /// The root of the tree over their identities, see [`SealTree`](crate::seal::SealTree).
    pub root: TreeHash,
}

impl Body for Seal {
    const KIND: u16 = 9;
    const NAME: &'static str = "seal";
    const SIZE: u32 = 80;

    type Claim = Self;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.committee.0);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.root.0);
    }

    fn ordinal(&self) -> Option<u64> {
        Some(self.epoch)
    }

    fn of_claim(claim: &Self) -> Option<Self> {
        Some(*claim)
    }

    fn write_claim(claim: &Self, out: &mut Vec<u8>) {
        claim.write(out);
    }

    fn read_claim(reader: &mut Reader<'_>, _: &Limits) -> Result<Self, ClaimError> {
        let epoch = reader.safe_u64("sealed epoch")?;
        let committee = CommitteeDigest(reader.array("sealed committee")?);
        let count = reader.safe_u64("count")?;
        let root = TreeHash(reader.array("root")?);
        if count == 0 {
            same("root of an empty seal", &[0; 32], &root.0)?;
        }
        Ok(Self { epoch, committee, count, root })
    }

    /// A committee seals the epoch before its own.
    fn check_epoch(claim: &Self, epoch: u64) -> Result<(), ClaimError> {
        in_range("epoch that signs a seal", epoch, claim.epoch + 1, claim.epoch + 1)?;
        Ok(())
    }
}
