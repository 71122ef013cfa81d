//! Suspending and resuming a [`TreeHasher`].

use std::ops::Range;

use blake3::hazmat::HasherExt;

use super::{GROUP, GROUP_U64, Node, Parent, TreeError, TreeHasher, widen_to_groups};
use crate::limits::MAX_SAFE_INTEGER;

/// The state of a [`TreeHasher`] after some whole groups of a blob, with more bytes to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspended {
    /// The number of bytes hashed, a multiple of [`GROUP`].
    pub length: u64,
    /// The chaining values of complete subtrees, from the left: one for each bit set in the number of groups, at most 39.
    pub stack: Vec<[u8; 32]>,
}

impl Suspended {
    /// The outboard's size so far in bytes: one parent for each two subtrees that were merged.
    pub fn outboard_size(&self) -> u64 {
        let groups = self.length / GROUP_U64;
        Parent::SIZE as u64 * (groups - u64::from(groups.count_ones()))
    }

    /// The number of the hashed bytes, counted in whole subtrees from the left, that match a blob of this length. `size` and
    /// `proof` are those of a slice that [`verify`](super::verify) accepted and that begins where the hashed bytes end: its
    /// proof contains the hash of every subtree before it. Returns 0 if no such slice is possible.
    pub fn matching(&self, length: u64, size: u64, proof: &[Parent]) -> u64 {
        let range = self.length..self.length.saturating_add(size);
        if range.is_empty() || widen_to_groups(&range, length) != range {
            return 0;
        }
        let (mut parents, mut own, mut matching) = (proof.iter(), self.stack.iter(), 0);
        let mut todo = vec![(Node::root(length, GROUP_U64), None)];
        while let Some((node, hash)) = todo.pop() {
            let Range { start, end } = node.bytes(length);
            if end <= range.start {
                // The nodes come from left to right, as the stack's subtrees do.
                match (hash, own.next()) {
                    (Some(hash), Some(own)) if hash == *own && start == matching => matching = end,
                    _ => return matching,
                }
            } else if node.straddles(&range, length) {
                let Some(parent) = parents.next() else { return 0 };
                let (left, right) = node.children();
                let (left_hash, right_hash) = parent.halves();
                todo.extend([(right, Some(right_hash)), (left, Some(left_hash))]);
            }
        }
        matching
    }
}

impl TreeHasher {
    /// The state from which [`resume`](Self::resume) continues. More bytes must follow: a full group is closed, and its completed
    /// parents are passed to `parents`. `None` inside a group.
    pub fn suspend(&mut self, parents: &mut impl FnMut(&Parent)) -> Option<Suspended> {
        if self.filled == self.unit {
            self.close_group(parents);
        }
        let is_between_groups = self.unit == GROUP && self.filled == 0;
        is_between_groups.then(|| Suspended { length: self.length, stack: self.stack.clone() })
    }

    /// Continues where another hasher was suspended.
    ///
    /// # Errors
    /// [`TreeError::Suspended`]. Wrong chaining values are not detected here: they lead to a wrong digest.
    pub fn resume(suspended: &Suspended) -> Result<Self, TreeError> {
        let Suspended { length, stack } = suspended;
        // One subtree for each bit set in the number of groups.
        let (expected, got) = ((length / GROUP_U64).count_ones(), stack.len());
        let is_expected = usize::try_from(expected).is_ok_and(|expected| expected == got);
        if *length > MAX_SAFE_INTEGER || !length.is_multiple_of(GROUP_U64) || !is_expected {
            return Err(TreeError::Suspended { length: *length, expected, got });
        }
        let mut hasher = Self { length: *length, stack: stack.clone(), ..Self::new() };
        hasher.group.set_input_offset(*length);
        Ok(hasher)
    }
}
