//! The tree over a batch of receipts: the shape of RFC 9162 section 2.1, hashed with BLAKE3.
//!
//! `index` and `count` are fixed by the statement and the certificate, and with them the path's length. There is no
//! root to compare with: the root computed here is what the signature is checked over.

use crate::digest::derive;
use crate::limits::MAX_BATCH;
use crate::receipt::Receipt;

const LEAF: &str = "vouch receipt leaf v1";
const NODE: &str = "vouch receipt node v1";

/// A node of the tree, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash(pub [u8; 32]);

fn leaf(receipt: &Receipt) -> TreeHash {
    TreeHash(derive(LEAF, &[&receipt.encode()]))
}

fn node(left: &TreeHash, right: &TreeHash) -> TreeHash {
    TreeHash(derive(NODE, &[&left.0, &right.0]))
}

/// The levels of the tree over `receipts`, leaves first; an odd node moves up unchanged, which is RFC 9162's shape.
#[derive(Debug)]
pub struct Batch {
    levels: Vec<Vec<TreeHash>>,
}

impl Batch {
    /// `None` for no receipts or more than [`MAX_BATCH`].
    pub fn new(receipts: &[Receipt]) -> Option<Self> {
        let count = u32::try_from(receipts.len()).ok()?;
        if !(1..=MAX_BATCH).contains(&count) {
            return None;
        }
        let mut levels = vec![receipts.iter().map(leaf).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let level = below
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    odd => odd[0],
                })
                .collect();
            levels.push(level);
        }
        Some(Self { levels })
    }

    /// The number of receipts.
    pub fn count(&self) -> u32 {
        // bounded by MAX_BATCH in `new`
        u32::try_from(self.levels[0].len()).unwrap_or(MAX_BATCH)
    }

    /// The root that a statement carries.
    pub fn root(&self) -> TreeHash {
        self.levels[self.levels.len() - 1][0]
    }

    /// The inclusion proof of one receipt, nearest sibling first; `None` beyond the batch.
    pub fn path(&self, index: u32) -> Option<Vec<TreeHash>> {
        let mut position = usize::try_from(index).ok()?;
        self.levels[0].get(position)?;
        let mut path = Vec::new();
        for level in &self.levels {
            // the odd node of a level has no sibling there
            path.extend(level.get(position ^ 1));
            position /= 2;
        }
        Some(path)
    }
}

/// The length of the path of receipt `index` among `count`; meaningful for index < count.
pub fn path_length(index: u32, count: u32) -> usize {
    let (mut position, mut last) = (index, count.saturating_sub(1));
    let mut length = 0;
    while last > 0 {
        if position % 2 == 1 || position < last {
            length += 1;
        }
        position /= 2;
        last /= 2;
    }
    length
}

/// The root from one receipt and its path (RFC 9162 section 2.1.3.2). `None` when the path's length is not the one
/// that `index` and `count` fix.
pub fn root_from_path(receipt: &Receipt, index: u32, count: u32, path: &[TreeHash]) -> Option<TreeHash> {
    if index >= count || path.len() != path_length(index, count) {
        return None;
    }
    let mut hash = leaf(receipt);
    let (mut position, mut last) = (index, count - 1);
    let mut siblings = path.iter();
    while last > 0 {
        if position % 2 == 1 {
            hash = node(siblings.next()?, &hash);
        } else if position < last {
            hash = node(&hash, siblings.next()?);
        }
        position /= 2;
        last /= 2;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn receipts(count: u32) -> Vec<Receipt> {
        (0..count)
            .map(|i| Receipt { salt: [7; 16], digest: Digest::of(&i.to_le_bytes()), length: 4, expires_at: 9 })
            .collect()
    }

    /// The recursive definition of RFC 9162, as an oracle for the iterative code.
    fn root_by_definition(receipts: &[Receipt]) -> TreeHash {
        if let [one] = receipts {
            return leaf(one);
        }
        let split = receipts.len().next_power_of_two() / 2;
        node(&root_by_definition(&receipts[..split]), &root_by_definition(&receipts[split..]))
    }

    #[test]
    fn every_path_leads_to_the_root_of_the_definition() {
        for count in (1..=70).chain([255, 256, 257]) {
            let receipts = receipts(count);
            let batch = Batch::new(&receipts).unwrap();
            assert_eq!(batch.root(), root_by_definition(&receipts), "{count}");
            for (index, receipt) in (0..).zip(&receipts) {
                let path = batch.path(index).unwrap();
                assert_eq!(path.len(), path_length(index, count), "{index} of {count}");
                assert_eq!(root_from_path(receipt, index, count, &path), Some(batch.root()), "{index} of {count}");
            }
        }
    }

    #[test]
    fn the_path_must_have_the_length_that_index_and_count_fix() {
        let receipts = receipts(5);
        let path = Batch::new(&receipts).unwrap().path(0).unwrap();
        assert_eq!(root_from_path(&receipts[0], 0, 5, &path[1..]), None);
        let longer: Vec<_> = path.iter().chain(&path[..1]).copied().collect();
        assert_eq!(root_from_path(&receipts[0], 0, 5, &longer), None);
        assert_eq!(root_from_path(&receipts[0], 5, 5, &path), None);
        assert_eq!(path_length(4095, MAX_BATCH), 12);
    }

    #[test]
    fn batches_are_bounded() {
        assert!(Batch::new(&[]).is_none());
        assert!(Batch::new(&receipts(4096)).is_some());
        assert!(Batch::new(&receipts(4097)).is_none());
    }
}
