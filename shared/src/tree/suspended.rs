//! A [`TreeHasher`] that goes on another time.

use blake3::hazmat::HasherExt;

use super::{GROUP, GROUP_U64, Parent, TreeError, TreeHasher};
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
