//! The tree over the digests of all blocks: one root commits to the whole log, and a path of at most 53 hashes proves that a block is
//! in it.

use crate::codec::{DecodeError, Reader, in_range};
use crate::digest::BlockDigest;
use crate::merkle::{MerkleHasher, TreeContexts, TreeHash, root_from_path};

/// Maximum length of a block's path: heights have 53 bits.
pub const MAX_LOG_PATH: usize = 53;

const TREE: TreeContexts = TreeContexts { leaf: "vouch log leaf v1", node: "vouch log node v1" };

/// A complete subtree: over 2^`level` blocks, the first of which has height `index` · 2^`level` + 1. Its root never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogSubtree {
    /// Its height in the tree, 0 for a single block.
    pub level: u8,
    /// Its place among the subtrees of its level, from 0.
    pub index: u64,
}

/// The largest complete subtrees of the leaves `from` to `to` − 1, in their order. `from` must be a multiple of the largest power of two
/// that is not greater than `to` − `from`, as it is for every subtree of the log's tree.
fn complete_subtrees(mut from: u64, to: u64) -> impl Iterator<Item = LogSubtree> {
    std::iter::from_fn(move || {
        let level = to.checked_sub(from)?.checked_ilog2()?;
        let index = from >> level;
        from += 1 << level;
        // Cannot saturate: a level is less than 64.
        Some(LogSubtree { level: u8::try_from(level).unwrap_or(u8::MAX), index })
    })
}

fn root_of_peaks(hasher: &MerkleHasher, peaks: &[TreeHash]) -> TreeHash {
    let mut peaks = peaks.iter().rev();
    let Some(last) = peaks.next() else { return TreeHash([0; 32]) };
    peaks.fold(*last, |right, left| hasher.node(left, &right))
}

/// The right edge of the tree: enough to append blocks and to know the root, in at most 53 hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogTree {
    size: u64,
    /// The roots of the complete subtrees, largest first: one for each bit that is set in `size`.
    peaks: Vec<TreeHash>,
}

impl LogTree {
    /// The tree over no blocks.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of blocks, which is the height of the last one.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the block of height [`size`](Self::size) + 1. Returns the complete subtrees that end with it, smallest first: who stores
    /// them can prove any block later without reading all of them.
    pub fn append(&mut self, block: &BlockDigest) -> Vec<(LogSubtree, TreeHash)> {
        self.append_with(&MerkleHasher::new(&TREE), block)
    }

    fn append_with(&mut self, hasher: &MerkleHasher, block: &BlockDigest) -> Vec<(LogSubtree, TreeHash)> {
        let mut hash = hasher.leaf(&block.0);
        let mut subtree = LogSubtree { level: 0, index: self.size };
        let mut complete = vec![(subtree, hash)];
        // Each trailing one of the size is a complete subtree as large as the one that ends here.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = hasher.node(&left, &hash);
                subtree = LogSubtree { level: subtree.level + 1, index: subtree.index / 2 };
                complete.push((subtree, hash));
            }
        }
        self.peaks.push(hash);
        self.size += 1;
        complete
    }

    /// The tree over the blocks 1 to `size`, whose largest complete subtrees have the roots that `root_of` returns. `None` if one is
    /// missing.
    pub fn from_subtrees(size: u64, root_of: impl FnMut(LogSubtree) -> Option<TreeHash>) -> Option<Self> {
        let peaks = complete_subtrees(0, size).map(root_of).collect::<Option<_>>()?;
        Some(Self { size, peaks })
    }

    /// The largest complete subtrees with their roots, from the oldest blocks on.
    pub fn subtrees(&self) -> impl Iterator<Item = (LogSubtree, TreeHash)> {
        complete_subtrees(0, self.size).zip(self.peaks.iter().copied())
    }

    /// The root; 32 zero bytes for a tree over no blocks.
    pub fn root(&self) -> TreeHash {
        self.root_with(&MerkleHasher::new(&TREE))
    }

    fn root_with(&self, hasher: &MerkleHasher) -> TreeHash {
        root_of_peaks(hasher, &self.peaks)
    }

    /// Appends the canonical encoding: the size, then the roots of the complete subtrees, largest first.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.size.to_le_bytes());
        for peak in &self.peaks {
            out.extend_from_slice(&peak.0);
        }
    }

    /// Reads one tree, whose length follows from its size.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = reader.safe_u64("size of the log")?;
        let peaks = (0..size.count_ones()).map(|_| reader.array("log tree").map(TreeHash)).collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }
}

/// The path of the block of a height to the root over the blocks 1 to `size`, nearest sibling first. It reads all their digests, from
/// `digest_of(height)`. `None` if `height` is not in 1 to `size`, or a digest is missing.
pub fn log_path(
    height: u64,
    size: u64,
    mut digest_of: impl FnMut(u64) -> Option<BlockDigest>,
) -> Option<Vec<TreeHash>> {
    let hasher = MerkleHasher::new(&TREE);
    path_of(height, size, |from, to| {
        let mut tree = LogTree::new();
        for index in from..to {
            tree.append_with(&hasher, &digest_of(index + 1)?);
        }
        Some(tree.root_with(&hasher))
    })
}

/// The same path, from the roots of complete subtrees, which [`LogTree::append`] returned. It reads two of them for each level at most.
pub fn log_path_from_subtrees(
    height: u64,
    size: u64,
    mut root_of: impl FnMut(LogSubtree) -> Option<TreeHash>,
) -> Option<Vec<TreeHash>> {
    let hasher = MerkleHasher::new(&TREE);
    path_of(height, size, |from, to| {
        let peaks = complete_subtrees(from, to).map(&mut root_of).collect::<Option<Vec<_>>>()?;
        Some(root_of_peaks(&hasher, &peaks))
    })
}

/// The path of a block. `root_of(from, to)` is the root over the leaves `from` to `to` − 1.
fn path_of(height: u64, size: u64, mut root_of: impl FnMut(u64, u64) -> Option<TreeHash>) -> Option<Vec<TreeHash>> {
    if height == 0 || height > size {
        return None;
    }
    let index = height - 1;
    let (mut from, mut to) = (0, size);
    let mut path = Vec::new();
    // From the root down to the leaf: the half that the leaf is not in is its sibling (RFC 9162 section 2.1.3.1).
    while to - from > 1 {
        let split = from + (1 << (to - from - 1).ilog2());
        if index < split {
            path.push(root_of(split, to)?);
            to = split;
        } else {
            path.push(root_of(from, split)?);
            from = split;
        }
    }
    path.reverse();
    Some(path)
}

/// The log root that follows from one block and its path. `None` if the path does not have the length that `height` and `size` fix.
pub fn log_root_from_path(block: &BlockDigest, height: u64, size: u64, path: &[TreeHash]) -> Option<TreeHash> {
    root_from_path(&TREE, &block.0, height.checked_sub(1)?, size, path)
}

/// Reads a block's path, which extends to the end of the input. Its length is checked when its root is computed.
///
/// # Errors
/// See [`DecodeError`].
pub fn read_log_path(reader: &mut Reader<'_>) -> Result<Vec<TreeHash>, DecodeError> {
    // A part of a hash counts as one, so that it is reported as truncated.
    let hashes = reader.remaining().div_ceil(32);
    in_range("number of hashes in the block's path", hashes as u64, 0, MAX_LOG_PATH as u64)?;
    (0..hashes).map(|_| reader.array("path").map(TreeHash)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::merkle::MerkleTree;

    fn digest(height: u64) -> BlockDigest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&height.to_le_bytes());
        BlockDigest(bytes)
    }

    fn encode(tree: &LogTree) -> Vec<u8> {
        let mut out = Vec::new();
        tree.write(&mut out);
        out
    }

    #[test]
    fn the_edge_has_the_root_and_the_paths_of_the_whole_tree() {
        let mut edge = LogTree::new();
        assert_eq!(edge.root(), TreeHash([0; 32]));
        for size in 1..=70 {
            edge.append(&digest(size));
            assert_eq!(edge.size(), size);
            let whole = MerkleTree::new(&TREE, (1..=size).map(|height| digest(height).0)).unwrap();
            assert_eq!(edge.root(), whole.root(), "{size}");
            for height in 1..=size {
                let path = log_path(height, size, |height| Some(digest(height))).unwrap();
                assert_eq!(Some(&path), whole.path(u32::try_from(height - 1).unwrap()).as_ref(), "{height} of {size}");
                assert_eq!(log_root_from_path(&digest(height), height, size, &path), Some(edge.root()));
                assert_ne!(log_root_from_path(&digest(height + 1), height, size, &path), Some(edge.root()));
                if !path.is_empty() {
                    assert_eq!(log_root_from_path(&digest(height), height, size, &path[1..]), None);
                }
            }
        }
    }

    #[test]
    fn there_is_no_path_outside_the_log_or_with_a_missing_block() {
        let path = |height, size| log_path(height, size, |height| (height != 3).then(|| digest(height)));
        assert_eq!(path(0, 2), None);
        assert_eq!(path(3, 2), None);
        assert!(path(2, 2).is_some());
        assert_eq!(path(2, 4), None);
        assert_eq!(log_root_from_path(&digest(0), 0, 1, &[]), None);
        assert_eq!(log_root_from_path(&digest(2), 2, 1, &[]), None);
    }

    #[test]
    fn paths_from_subtrees_are_those_from_all_digests() {
        let mut edge = LogTree::new();
        let mut stored = BTreeMap::new();
        for size in 0..=70 {
            if size > 0 {
                stored.extend(edge.append(&digest(size)));
            }
            let root_of = |subtree| stored.get(&subtree).copied();
            assert_eq!(LogTree::from_subtrees(size, root_of), Some(edge.clone()), "{size}");
            assert_eq!(
                edge.subtrees().map(|(subtree, _)| root_of(subtree)).collect::<Option<Vec<_>>>(),
                Some(edge.peaks.clone())
            );
            for height in 0..=size + 1 {
                let mut reads = 0;
                let path = log_path_from_subtrees(height, size, |subtree| {
                    reads += 1;
                    root_of(subtree)
                });
                assert_eq!(path, log_path(height, size, |height| Some(digest(height))), "{height} of {size}");
                assert!(reads <= 2 * (u64::BITS - size.leading_zeros()), "{reads} reads for {height} of {size}");
            }
        }
        // 70 leaves, and as many roots of pairs, fours, … as are complete.
        assert_eq!(stored.len(), 70 + 35 + 17 + 8 + 4 + 2 + 1);
    }

    /// A log that begins with the right edge at some height has all that the proofs of later blocks need.
    #[test]
    fn what_follows_an_edge_is_proved_without_what_came_before() {
        for first in 0..40 {
            let mut edge = LogTree::new();
            (1..=first).for_each(|height| drop(edge.append(&digest(height))));
            let mut stored: BTreeMap<_, _> = edge.subtrees().collect();
            for size in first + 1..=70 {
                stored.extend(edge.append(&digest(size)));
                for height in first + 1..=size {
                    let path = log_path_from_subtrees(height, size, |subtree| stored.get(&subtree).copied());
                    assert_eq!(
                        path,
                        log_path(height, size, |height| Some(digest(height))),
                        "{first}: {height} of {size}"
                    );
                }
            }
            if first > 2 {
                assert_eq!(log_path_from_subtrees(1, first + 1, |subtree| stored.get(&subtree).copied()), None);
            }
        }
    }

    #[test]
    fn the_edge_is_decoded_strictly() {
        let mut edge = LogTree::new();
        for height in 1..=13 {
            edge.append(&digest(height));
            let bytes = encode(&edge);
            let mut reader = Reader::new(&bytes);
            assert_eq!(LogTree::read(&mut reader), Ok(edge.clone()));
            assert_eq!(reader.finish(), Ok(()));
            assert!(LogTree::read(&mut Reader::new(&bytes[..bytes.len() - 1])).is_err());
        }
        assert_eq!(encode(&edge).len(), 8 + 3 * 32);
        assert!(LogTree::read(&mut Reader::new(&[0xFF; 4096])).is_err(), "a size above 2^53 - 1");
    }
}
