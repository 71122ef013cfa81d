//! A [`TreeHasher`] that goes on another time.

use std::ops::Range;

use blake3::hazmat::HasherExt;

use super::{GROUP, GROUP_U64, Node, Parent, TreeError, TreeHasher, around};
use crate::limits::MAX_SAFE_INTEGER;

/// A [`TreeHasher`] between two groups of a blob that goes on after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspended {
    /// The bytes so far, whole groups.
    pub length: u64,
    /// The chaining values of whole subtrees, from the left: one for each bit that is set in the number of groups, at most 39.
    pub stack: Vec<[u8; 32]>,
}

impl Suspended {
    /// The bytes of the outboard that are there: a parent for each two subtrees that became one.
    pub fn outboard_size(&self) -> u64 {
        let groups = self.length / GROUP_U64;
        Parent::SIZE as u64 * (groups - u64::from(groups.count_ones()))
    }

    /// How many of these bytes, in whole subtrees from the left, are those of a blob of this length. `size` and `proof` are those of
    /// a slice of the blob that begins where these bytes end, and that [`verify`](super::verify) took: its proof holds the hash
    /// of every subtree before it. 0 when the slice cannot be one.
    pub fn matching(&self, length: u64, size: u64, proof: &[Parent]) -> u64 {
        let range = self.length..self.length.saturating_add(size);
        if range.is_empty() || around(&range, length) != range {
            return 0;
        }
        let (mut parents, mut own, mut matching) = (proof.iter(), self.stack.iter(), 0);
        let mut todo = vec![(Node::root(length, GROUP_U64), None)];
        while let Some((node, hash)) = todo.pop() {
            let Range { start, end } = node.bytes(length);
            if end <= range.start {
                // from left to right, as the subtrees of the stack
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
    /// What [`resume`](Self::resume) needs to go on from here another time, given that more bytes will come: then a group that is full
    /// is closed, and its parents are given. `None` within a group.
    pub fn suspend(&mut self, parents: &mut impl FnMut(&Parent)) -> Option<Suspended> {
        if self.filled == self.unit {
            self.close_group(parents);
        }
        let is_between = self.unit == GROUP && self.filled == 0;
        is_between.then(|| Suspended { length: self.length, stack: self.stack.clone() })
    }

    /// Goes on where another hasher was suspended.
    ///
    /// # Errors
    /// [`TreeError::Suspended`]. Chaining values that are not those of the bytes so far are found by the digest.
    pub fn resume(suspended: &Suspended) -> Result<Self, TreeError> {
        let Suspended { length, stack } = suspended;
        // a subtree for each bit of the number of groups
        let (expected, got) = ((length / GROUP_U64).count_ones(), stack.len());
        let is_right = usize::try_from(expected).is_ok_and(|expected| expected == got);
        if *length > MAX_SAFE_INTEGER || !length.is_multiple_of(GROUP_U64) || !is_right {
            return Err(TreeError::Suspended { length: *length, expected, got });
        }
        let mut hasher = Self { length: *length, stack: stack.clone(), ..Self::new() };
        hasher.group.set_input_offset(*length);
        Ok(hasher)
    }
}
