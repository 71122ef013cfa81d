//! A blob's hash tree: BLAKE3's own tree, cut at groups of 16 KiB, so that any part of a blob can be verified on its own.
//!
//! A **parent** is the two chaining values below one node. The **outboard** is all parents above the groups in post-order,
//! 64 bytes each, without a header. A **slice** is a run of whole groups of a blob with its **proof**: the parents whose
//! subtrees lie only partly within the slice, in pre-order. Nodes that lie wholly within it are computed from the bytes.
//!
//! A verified slice proves that these bytes are at this offset of the blob with this digest. Only a slice that reaches the
//! blob's end also proves the blob's length.

mod held;
mod outline;
mod suspended;
#[cfg(test)]
mod tests;
mod verify;

pub use held::{HeldRange, VerifiedSlice};
pub use outline::{BLOCK, Outline, OutlineHasher, block_hash};
pub use suspended::Suspended;
pub use verify::{TreeError, verify};

use std::fmt;
use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::digest::Digest;
use verify::{merged, verify_with};

/// Bytes of one group, 16 KiB. It must be a power of two, and hold many of BLAKE3's chunks: otherwise hashing is slow.
pub const GROUP: usize = 16 << 10;
const GROUP_U64: u64 = GROUP as u64;

/// Maximum number of parents in a proof: the longest blob has 2^39 groups, so each end of a slice crosses at most 39 nodes.
pub const MAX_PROOF: usize = 80;

/// A node above the groups: the chaining values of its left and its right half.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parent(pub [u8; Parent::SIZE]);

impl Parent {
    /// Bytes of a parent.
    pub const SIZE: usize = 64;

    fn new(left: &ChainingValue, right: &ChainingValue) -> Self {
        let mut parent = [0; Self::SIZE];
        parent[..32].copy_from_slice(left);
        parent[32..].copy_from_slice(right);
        Self(parent)
    }

    fn halves(&self) -> (ChainingValue, ChainingValue) {
        let (mut left, mut right) = ([0; 32], [0; 32]);
        left.copy_from_slice(&self.0[..32]);
        right.copy_from_slice(&self.0[32..]);
        (left, right)
    }

    fn hash(&self, is_root: bool) -> [u8; 32] {
        let (left, right) = self.halves();
        match is_root {
            true => *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes(),
            false => merge_subtrees_non_root(&left, &right, Mode::Hash),
        }
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parent({})", base16ct::lower::encode_string(&self.0))
    }
}

/// Computes a blob's digest and outboard from a stream of bytes, in constant memory: one chaining value per level.
#[derive(Debug, Clone)]
pub struct TreeHasher {
    /// Bytes of a group.
    unit: usize,
    /// The current group. It is closed at the first byte of the next group: the last group of a blob is hashed differently.
    group: blake3::Hasher,
    /// Bytes in the current group.
    filled: usize,
    length: u64,
    /// Chaining values of complete subtrees, from the left, each smaller than the one before it.
    stack: Vec<ChainingValue>,
}

impl Default for TreeHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl TreeHasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::cut_at(GROUP)
    }

    /// The same tree, cut at larger groups; `unit` is a power of two.
    fn cut_at(unit: usize) -> Self {
        Self { unit, group: blake3::Hasher::new(), filled: 0, length: 0, stack: Vec::new() }
    }

    /// Takes the next bytes. Passes each completed parent to `parents`, in post-order. Whole groups at a time are fastest.
    pub fn update(&mut self, mut bytes: &[u8], parents: &mut impl FnMut(&Parent)) {
        while !bytes.is_empty() {
            if self.filled == self.unit {
                self.close_group(parents);
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.unit - self.filled));
            self.group.update(now);
            self.filled += now.len();
            self.length += now.len() as u64;
            bytes = rest;
        }
    }

    /// [Verifies](verify) the next bytes of the blob with this digest and length, then takes them. They are hashed only once for
    /// both. If verification fails, nothing is taken.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn update_verified(
        &mut self,
        (digest, length): (&Digest, u64),
        bytes: &[u8],
        proof: &[Parent],
        parents: &mut impl FnMut(&Parent),
    ) -> Result<(), TreeError> {
        let offset = self.length;
        let is_whole_groups =
            self.unit == GROUP && offset.is_multiple_of(GROUP_U64) && bytes.len().is_multiple_of(GROUP);
        // Bytes that reach the blob's end go through `update`, which leaves the last group open for `finish`.
        if !is_whole_groups || offset.saturating_add(bytes.len() as u64) >= length {
            verify(digest, length, offset, bytes, proof)?;
            self.update(bytes, parents);
            return Ok(());
        }
        let places = (0..).map(|group| offset + group * GROUP_U64);
        let hashes: Vec<ChainingValue> =
            places.zip(bytes.chunks(GROUP)).map(|(place, group)| block_hash(place, group)).collect();
        let within = |group: u64| usize::try_from(group - offset / GROUP_U64).unwrap_or(usize::MAX);
        // The blob continues after these bytes, so no node within them is the root.
        verify_with(digest, length, offset, bytes.len() as u64, proof, |node| {
            merged(&hashes[within(node.first)..within(node.first + node.groups)])
        })?;
        if self.filled == self.unit {
            self.close_group(parents);
        }
        for hash in hashes {
            self.length += GROUP_U64;
            self.push_group(hash, parents);
        }
        Ok(())
    }

    /// The number of bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Passes the remaining parents to `parents`, the root's last, and returns the digest.
    pub fn finish(mut self, parents: &mut impl FnMut(&Parent)) -> Digest {
        if self.stack.is_empty() {
            return Digest(*self.group.finalize().as_bytes());
        }
        let mut right = self.group.finalize_non_root();
        while let Some(left) = self.stack.pop() {
            let parent = Parent::new(&left, &right);
            parents(&parent);
            right = parent.hash(self.stack.is_empty());
        }
        Digest(right)
    }

    fn close_group(&mut self, parents: &mut impl FnMut(&Parent)) {
        let hash = self.group.finalize_non_root();
        self.push_group(hash, parents);
    }

    /// Adds a whole group with this hash; `length` includes its bytes already.
    fn push_group(&mut self, mut right: ChainingValue, parents: &mut impl FnMut(&Parent)) {
        // A subtree is complete if the number of groups is a multiple of its size.
        for _ in 0..(self.length / self.unit as u64).trailing_zeros() {
            let Some(left) = self.stack.pop() else { break };
            let parent = Parent::new(&left, &right);
            parents(&parent);
            right = parent.hash(false);
        }
        self.stack.push(right);
        self.group = blake3::Hasher::new();
        self.group.set_input_offset(self.length);
        self.filled = 0;
    }
}

/// The outboard's size in bytes, for a blob of this length.
pub fn outboard_size(length: u64) -> u64 {
    // Cannot overflow: there is less than one parent of 64 bytes per group of 16 KiB.
    Parent::SIZE as u64 * (groups(length, GROUP_U64) - 1)
}

/// Widens a range to whole groups. The result ends with the blob at the latest.
pub fn widen_to_groups(range: &Range<u64>, length: u64) -> Range<u64> {
    let start = range.start.min(length) / GROUP_U64 * GROUP_U64;
    let end = range.end.min(length);
    start..end.checked_next_multiple_of(GROUP_U64).unwrap_or(length).min(length)
}

/// The proof of a range, [widened](widen_to_groups) to whole groups. `read` returns the parent at an offset of the outboard.
///
/// # Errors
/// Those of `read`.
pub fn proof<E>(range: Range<u64>, length: u64, read: impl FnMut(u64) -> Result<Parent, E>) -> Result<Vec<Parent>, E> {
    proof_from(Node::root(length, GROUP_U64), widen_to_groups(&range, length), length, read)
}

fn proof_from<E>(
    root: Node,
    range: Range<u64>,
    length: u64,
    mut read: impl FnMut(u64) -> Result<Parent, E>,
) -> Result<Vec<Parent>, E> {
    let mut parents = Vec::new();
    let mut todo = vec![root];
    while let Some(node) = todo.pop() {
        if node.straddles(&range, length) {
            parents.push(read(node.outboard_offset())?);
            let (left, right) = node.children();
            todo.extend([right, left]);
        }
    }
    Ok(parents)
}

/// The number of parents that [`verify`] requires for a slice.
pub fn proof_size(range: Range<u64>, length: u64) -> usize {
    let proof = proof(range, length, |_| Ok::<_, std::convert::Infallible>(Parent([0; Parent::SIZE])));
    proof.map_or(0, |parents| parents.len())
}

/// The number of groups, at least one: an empty blob has one empty group.
fn groups(length: u64, unit: u64) -> u64 {
    length.div_ceil(unit).max(1)
}

/// A subtree over a run of groups.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Bytes of a group.
    unit: u64,
    /// Index of the first group.
    first: u64,
    groups: u64,
    /// Index in the outboard of the subtree's first parent, counted in parents.
    parents: u64,
    is_root: bool,
}

impl Node {
    fn root(length: u64, unit: u64) -> Self {
        Self { unit, first: 0, groups: groups(length, unit), parents: 0, is_root: true }
    }

    /// The left child has the largest power of two of groups that leaves at least one for the right child. The node must have
    /// more than one group.
    fn children(self) -> (Self, Self) {
        let half = self.groups.div_ceil(2).next_power_of_two();
        let left = Self { groups: half, is_root: false, ..self };
        // The left child's half − 1 parents come before the right child's.
        let (first, parents) = (self.first + half, self.parents + half - 1);
        let right = Self { first, groups: self.groups - half, parents, is_root: false, ..self };
        (left, right)
    }

    fn bytes(self, length: u64) -> Range<u64> {
        self.first * self.unit..(self.first + self.groups).saturating_mul(self.unit).min(length)
    }

    /// Whether the node has bytes inside the range and bytes outside it.
    fn straddles(self, range: &Range<u64>, length: u64) -> bool {
        let Range { start, end } = self.bytes(length);
        let is_within = range.start <= start && end <= range.end;
        let is_outside = end <= range.start || range.end <= start;
        !is_within && !is_outside
    }

    /// The outboard offset of the node's own parent, which comes after all parents below it.
    fn outboard_offset(self) -> u64 {
        (self.parents + self.groups - 2) * Parent::SIZE as u64
    }

    fn hash(self, bytes: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        if self.is_root {
            return *hasher.update(bytes).finalize().as_bytes();
        }
        hasher.set_input_offset(self.first * self.unit).update(bytes).finalize_non_root()
    }
}
