//! Kind 1, *stored*: a quorum holds every blob of a batch durably.
//!
//! The signed body has the root over the batch's receipts. A certificate carries one receipt and its path, from which the root
//! follows: one signature certifies many files, and each file's certificate can be checked without the others.

use super::{Body, ClaimError};
use crate::codec::{Reader, in_range};
use crate::limits::{Limits, MAX_BATCH};
use crate::merkle::{MerkleTree, TreeContexts, TreeHash, path_length, root_from_path};
use crate::receipt::Receipt;

const TREE: TreeContexts = TreeContexts { leaf: "vouch receipt leaf v1", node: "vouch receipt node v1" };

/// Every signer holds the blobs of all receipts under the root durably, and keeps each blob until its receipt expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Seconds since 1970, by the server's clock. Voters accept it if it is within 60 s of theirs.
    pub issued_at: u64,
    /// The number of receipts.
    pub count: u32,
    /// The root over the receipts.
    pub root: TreeHash,
}

/// One receipt of a batch, with its path to the batch's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredClaim {
    /// Seconds since 1970.
    pub issued_at: u64,
    /// The number of receipts in the batch.
    pub count: u32,
    /// This receipt's index in the batch.
    pub index: u32,
    /// The receipt.
    pub receipt: Receipt,
    /// The inclusion proof, nearest sibling first.
    pub path: Vec<TreeHash>,
}

impl Body for Stored {
    const KIND: u16 = 1;
    const NAME: &'static str = "stored";
    const SIZE: u32 = 44;

    type Claim = StoredClaim;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.issued_at.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.root.0);
    }

    fn ordinal(&self) -> Option<u64> {
        Some(self.issued_at)
    }

    /// `None` if the path does not have the length that index and count fix.
    fn of_claim(claim: &StoredClaim) -> Option<Self> {
        let StoredClaim { issued_at, count, index, receipt, path } = claim;
        let root = root_from_path(&TREE, &receipt.encode(), *index, *count, path)?;
        Some(Self { issued_at: *issued_at, count: *count, root })
    }

    fn write_claim(claim: &StoredClaim, out: &mut Vec<u8>) {
        out.extend_from_slice(&claim.issued_at.to_le_bytes());
        out.extend_from_slice(&claim.count.to_le_bytes());
        out.extend_from_slice(&claim.index.to_le_bytes());
        out.extend_from_slice(&claim.receipt.encode());
        for hash in &claim.path {
            out.extend_from_slice(&hash.0);
        }
    }

    fn read_claim(reader: &mut Reader<'_>, limits: &Limits) -> Result<StoredClaim, ClaimError> {
        let issued_at = reader.safe_u64("issued_at")?;
        let count = reader.u32("count")?;
        in_range("count", count.into(), 1, limits.batch.into())?;
        let index = reader.u32("index")?;
        in_range("index", index.into(), 0, u64::from(count) - 1)?;
        let receipt = Receipt::read(reader)?;
        let path =
            (0..path_length(index, count)).map(|_| reader.array("path").map(TreeHash)).collect::<Result<_, _>>()?;
        Ok(StoredClaim { issued_at, count, index, receipt, path })
    }
}

/// The receipts that one statement covers, with their tree.
#[derive(Debug)]
pub struct Batch {
    issued_at: u64,
    receipts: Vec<Receipt>,
    tree: MerkleTree,
}

impl Batch {
    /// The batch of these receipts. `None` if there are none, or more than [`MAX_BATCH`].
    pub fn new(issued_at: u64, receipts: Vec<Receipt>) -> Option<Self> {
        if receipts.len() > MAX_BATCH as usize {
            return None;
        }
        let tree = MerkleTree::new(&TREE, receipts.iter().map(Receipt::encode))?;
        Some(Self { issued_at, receipts, tree })
    }

    /// The body that the members sign.
    pub fn body(&self) -> Stored {
        Stored { issued_at: self.issued_at, count: self.tree.count(), root: self.tree.root() }
    }

    /// The claims of the batch's certificates, one for each receipt, in the batch's order.
    pub fn claims(&self) -> impl Iterator<Item = StoredClaim> {
        let (issued_at, count) = (self.issued_at, self.tree.count());
        (0..).zip(&self.receipts).map(move |(index, receipt)| {
            let path = self.tree.path(index).unwrap_or_default();
            StoredClaim { issued_at, count, index, receipt: *receipt, path }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn the_number_of_receipts_is_bounded() {
        let receipt = Receipt { salt: [7; 16], digest: Digest::of(b"x"), length: 1, expires_at: 9 };
        assert!(Batch::new(5, Vec::new()).is_none());
        assert!(Batch::new(5, vec![receipt; 4096]).is_some());
        assert!(Batch::new(5, vec![receipt; 4097]).is_none());
    }

    #[test]
    fn the_body_follows_from_every_claim_of_a_batch() {
        let receipt = |i: u8| Receipt { salt: [i; 16], digest: Digest::of(&[i]), length: 1, expires_at: 9 };
        let batch = Batch::new(5, (0..7).map(receipt).collect()).unwrap();
        assert_eq!(batch.claims().count(), 7);
        for claim in batch.claims() {
            assert_eq!(Stored::of_claim(&claim), Some(batch.body()), "{}", claim.index);
            let shorter = StoredClaim { path: claim.path[1..].to_vec(), ..claim };
            assert_eq!(Stored::of_claim(&shorter), None);
        }
    }
}
