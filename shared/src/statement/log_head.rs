//! Kind 4, *log head*: a quorum has the log up to this block, and the state after it.

use super::{Body, ClaimError};
use crate::codec::{Reader, in_range};
use crate::digest::BlockDigest;
use crate::limits::{Limits, MAX_SAFE_INTEGER};
use crate::log::{BlockHeader, LogTree};
use crate::merkle::TreeHash;

/// Every signer knows this block as the decided one of its height, and has had the state after it on its disk. It executed the block and
/// found the effects and the state that the header commits to; or, after it lacked too many blocks, it took over the state from another
/// member, and checked that the header commits to it and that a quorum voted for the block. The header commits to all earlier blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// The height of the newest block that the statement covers, from 1.
    pub height: u64,
    /// The digest of that block.
    pub block: BlockDigest,
    /// The root over the digests of the blocks 1 to `height`. It covers this block, unlike the log root in the block's header.
    pub log_root: TreeHash,
    /// The block's time, seconds since 1970.
    pub time: u64,
}

impl LogHead {
    /// The head of the log whose newest block has this header. `None` unless the tree covers exactly the blocks before it.
    pub fn new(header: &BlockHeader, before: &LogTree) -> Option<Self> {
        if before.size() + 1 != header.height {
            return None;
        }
        let mut tree = before.clone();
        let block = header.digest();
        tree.append(&block);
        Some(Self { height: header.height, block, log_root: tree.root(), time: header.time })
    }
}

impl Body for LogHead {
    const KIND: u16 = 4;
    const NAME: &'static str = "log head";
    const SIZE: u32 = 80;

    type Claim = Self;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.block.0);
        out.extend_from_slice(&self.log_root.0);
        out.extend_from_slice(&self.time.to_le_bytes());
    }

    fn ordinal(&self) -> Option<u64> {
        Some(self.height)
    }

    fn of_claim(claim: &Self) -> Option<Self> {
        Some(*claim)
    }

    fn write_claim(claim: &Self, out: &mut Vec<u8>) {
        claim.write(out);
    }

    fn read_claim(reader: &mut Reader<'_>, _: &Limits) -> Result<Self, ClaimError> {
        let height = reader.u64("height")?;
        in_range("height", height, 1, MAX_SAFE_INTEGER)?;
        let block = BlockDigest(reader.array("block digest")?);
        let log_root = TreeHash(reader.array("log root")?);
        let time = reader.safe_u64("time")?;
        Ok(Self { height, block, log_root, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::AggregateSignature;
    use crate::certificate::{Certificate, Signers};
    use crate::digest::{ClusterId, CommitteeDigest, StateDigest};
    use crate::link::NodeKey;
    use crate::log::OpsDigest;

    fn header(height: u64) -> BlockHeader {
        BlockHeader {
            cluster: ClusterId([1; 32]),
            epoch: 0,
            height,
            parent: BlockDigest::GENESIS,
            author: NodeKey([2; 32]),
            time: 1_790_000_000,
            log_root: TreeHash([0; 32]),
            count: 1,
            ops: OpsDigest([3; 32]),
            results: TreeHash([4; 32]),
            state: StateDigest([5; 32]),
        }
    }

    #[test]
    fn a_head_covers_its_own_block_and_all_before_it() {
        let mut tree = LogTree::new();
        for height in 1..=5 {
            assert_eq!(LogHead::new(&header(height + 1), &tree), None);
            let head = LogHead::new(&header(height), &tree).unwrap();
            tree.append(&header(height).digest());
            assert_eq!((head.block, head.log_root, head.time), (header(height).digest(), tree.root(), 1_790_000_000));
            assert_eq!((head.height, head.ordinal()), (height, Some(height)));
        }
    }

    #[test]
    fn a_certificate_carries_the_body() {
        let claim = LogHead::new(&header(1), &LogTree::new()).unwrap();
        let certificate = Certificate::<LogHead> {
            epoch: 0,
            committee: CommitteeDigest([6; 32]),
            claim,
            signers: Signers::new(4, [0, 1, 3]).unwrap(),
            signature: AggregateSignature([7; 96]),
        };
        let bytes = certificate.encode();
        assert_eq!(bytes.len(), 48 + 80 + 2 + 1 + 96);
        assert_eq!(Certificate::decode(&bytes, &Limits::default()), Ok(certificate));
        let mut below = bytes;
        below[48..56].fill(0);
        assert!(Certificate::<LogHead>::decode(&below, &Limits::default()).is_err(), "there is no block 0");
    }
}
