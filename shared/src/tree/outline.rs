//! The part of a blob's tree that a client keeps after hashing the blob: enough to make the proof of any block that it sends.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use blake3::hazmat::HasherExt;

use super::{Node, Parent, TreeHasher, proof_from};
use crate::digest::Digest;

/// Bytes of a block, 256 KiB: a put sends one block per message.
pub const BLOCK: usize = 256 << 10;
const BLOCK_U64: u64 = BLOCK as u64;

/// The hash of a whole block, for [`OutlineHasher::append`]. The block must not be the whole blob. `offset` is a multiple of
/// [`BLOCK`].
pub fn block_hash(offset: u64, block: &[u8]) -> [u8; 32] {
    blake3::Hasher::new().set_input_offset(offset).update(block).finalize_non_root()
}

/// Computes a blob's digest and outline from a stream of bytes.
#[derive(Debug, Clone)]
pub struct OutlineHasher {
    tree: TreeHasher,
    parents: Vec<Parent>,
}

impl Default for OutlineHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl OutlineHasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self { tree: TreeHasher::cut_at(BLOCK), parents: Vec::new() }
    }

    /// Takes the next bytes. Whole blocks at a time are fastest.
    pub fn update(&mut self, bytes: &[u8]) {
        self.tree.update(bytes, &mut |parent| self.parents.push(*parent));
    }

    /// Takes a block by its [hash](block_hash), so that blocks can be hashed in parallel. Returns `false` and takes nothing if
    /// the bytes so far are not whole blocks. More bytes must follow: pass the blob's last bytes to [`OutlineHasher::update`].
    pub fn append(&mut self, block: [u8; 32]) -> bool {
        let mut keep = |parent: &Parent| self.parents.push(*parent);
        if self.tree.filled == BLOCK {
            self.tree.close_group(&mut keep);
        }
        if self.tree.filled != 0 {
            return false;
        }
        self.tree.length += BLOCK_U64;
        self.tree.push_group(block, &mut keep);
        true
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.tree.length()
    }

    /// The digest and the outline.
    pub fn finish(self) -> (Digest, Outline) {
        let Self { tree, mut parents } = self;
        let length = tree.length();
        let digest = tree.finish(&mut |parent| parents.push(*parent));
        (digest, Outline { length, parents: Arc::new(parents) })
    }
}

/// The parents above a blob's blocks: 64 bytes for each 256 KiB of the blob. Clones share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    length: u64,
    /// In post-order.
    parents: Arc<Vec<Parent>>,
}

impl Outline {
    /// The blob's length.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The proof of a range, for [`verify`](super::verify). `None` unless the range is a run of whole blocks; the blob's last
    /// block may be shorter.
    pub fn proof(&self, range: Range<u64>) -> Option<Vec<Parent>> {
        let ends_at_block = range.end == self.length || range.end.is_multiple_of(BLOCK_U64) && range.end < self.length;
        if !range.start.is_multiple_of(BLOCK_U64) || !ends_at_block || range.start > range.end {
            return None;
        }
        let read = |offset: u64| {
            let position = usize::try_from(offset / Parent::SIZE as u64).unwrap_or(usize::MAX);
            // Always found: there are as many parents as blocks, minus one.
            Ok::<_, Infallible>(self.parents.get(position).copied().unwrap_or(Parent([0; Parent::SIZE])))
        };
        let Ok(parents) = proof_from(Node::root(self.length, BLOCK_U64), range, self.length, read);
        Some(parents)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GROUP, verify};
    use super::*;

    fn blob(length: usize) -> Vec<u8> {
        (0u8..=250)
            .cycle()
            .take(length)
            .zip((0..=255u8).cycle().flat_map(|byte| [byte; 997]))
            .map(|(a, b)| a ^ b)
            .collect()
    }

    const LENGTHS: [usize; 12] = [
        0,
        1,
        GROUP + 1,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        2 * BLOCK,
        3 * BLOCK,
        3 * BLOCK + 7,
        4 * BLOCK,
        7 * BLOCK + GROUP,
        9 * BLOCK + 1,
    ];

    #[test]
    fn the_proof_of_every_run_of_blocks_verifies() {
        for length in LENGTHS {
            let bytes = blob(length);
            let mut hasher = OutlineHasher::new();
            bytes.chunks(100_000).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.length(), length as u64);
            let (digest, outline) = hasher.finish();
            assert_eq!((digest, outline.length()), (Digest::of(&bytes), length as u64));
            for start in (0..length.max(1)).step_by(BLOCK) {
                for end in (start + BLOCK..length).step_by(BLOCK).chain([length]) {
                    let proof = outline.proof(start as u64..end as u64).unwrap();
                    let verified = verify(&digest, length as u64, start as u64, &bytes[start..end], &proof);
                    assert_eq!(verified, Ok(()), "{start}..{end} of {length}");
                }
            }
        }
    }

    #[test]
    fn blocks_hashed_separately_give_the_same_digest_and_outline() {
        for length in LENGTHS {
            let bytes = blob(length);
            let mut whole = OutlineHasher::new();
            whole.update(&bytes);
            let mut separate = OutlineHasher::new();
            let known = length.saturating_sub(1) / BLOCK * BLOCK;
            // The first block by its bytes: `update` and `append` may be mixed.
            let (first, rest) = bytes.split_at(known.min(BLOCK));
            separate.update(first);
            let (blocks, last) = rest.split_at(known - first.len());
            for (index, block) in (0u64..).zip(blocks.chunks(BLOCK)) {
                assert!(separate.append(block_hash(first.len() as u64 + index * BLOCK as u64, block)));
            }
            separate.update(last);
            assert_eq!(separate.finish(), whole.finish(), "{length}");
        }
        let mut hasher = OutlineHasher::new();
        hasher.update(b"a");
        assert!(!hasher.append([0; 32]));
        assert_eq!(hasher.length(), 1);
    }

    #[test]
    fn ranges_that_are_not_whole_blocks_have_no_proof() {
        let mut hasher = OutlineHasher::new();
        hasher.update(&blob(2 * BLOCK + 5));
        let (_, outline) = hasher.finish();
        let (block, length) = (BLOCK_U64, 2 * BLOCK_U64 + 5);
        for range in [1..block, 0..1, 0..length + 1, 0..3 * block, block..length - 1, 2 * block..block] {
            assert_eq!(outline.proof(range.clone()), None, "{range:?}");
        }
        assert!(outline.proof(2 * block..length).is_some());
    }
}
