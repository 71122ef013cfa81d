//! The members that decide one height.

use std::sync::Arc;

use vouch_core::link::NodeKey;

/// Number of heights after which the first proposer changes even if it is alive. Otherwise one member would order all ops.
const PROPOSER_TERM: u64 = 16;

/// The members that vote on a height, propose its blocks and submit its ops. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogMembers {
    epoch: u64,
    keys: Arc<[NodeKey]>,
}

impl LogMembers {
    /// The members of an epoch, in any order. `None` if there are none.
    pub fn new(epoch: u64, keys: impl IntoIterator<Item = NodeKey>) -> Option<Self> {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        (!keys.is_empty()).then(|| Self { epoch, keys: keys.into() })
    }

    /// The epoch that members sign for.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The node keys, ascending.
    pub fn keys(&self) -> &[NodeKey] {
        &self.keys
    }

    /// The number of members.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether this is a member's node key.
    pub fn contains(&self, key: &NodeKey) -> bool {
        self.index_of(key).is_some()
    }

    /// A member's place in the order of the node keys.
    pub fn index_of(&self, key: &NodeKey) -> Option<usize> {
        self.keys.binary_search(key).ok()
    }

    /// The index of the member that proposes first at the height after a block by `author`. It is the author again, so that a dead
    /// proposer costs its timeout once and not in every n-th block; every 16 heights it is the next member.
    pub fn first_proposer(&self, height: u64, author: Option<&NodeKey>) -> usize {
        // The place of an author that left is that of the next greater key, which may be one past the last.
        let place = author.map_or(0, |author| match self.keys.binary_search(author) {
            Ok(index) => index + usize::from(height.is_multiple_of(PROPOSER_TERM)),
            Err(index) => index,
        });
        place % self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u8) -> NodeKey {
        NodeKey([i; 32])
    }

    #[test]
    fn members_are_ordered_unique_and_never_none() {
        let members = LogMembers::new(3, [key(5), key(1), key(5)]).unwrap();
        assert_eq!((members.epoch(), members.keys(), members.count()), (3, &[key(1), key(5)][..], 2));
        assert_eq!((members.index_of(&key(5)), members.index_of(&key(2))), (Some(1), None));
        assert!(members.contains(&key(1)) && !members.contains(&key(2)));
        assert_eq!(LogMembers::new(3, []), None);
    }

    #[test]
    fn the_author_proposes_again_until_its_term_ends() {
        let members = LogMembers::new(0, [key(1), key(3), key(5)]).unwrap();
        assert_eq!(members.first_proposer(1, None), 0);
        for height in 1..16 {
            assert_eq!(members.first_proposer(height, Some(&key(5))), 2, "{height}");
        }
        assert_eq!(members.first_proposer(16, Some(&key(3))), 2);
        assert_eq!(members.first_proposer(16, Some(&key(5))), 0, "after the last comes the first");
        assert_eq!(members.first_proposer(17, Some(&key(2))), 1, "an author that is no member any more");
        assert_eq!(members.first_proposer(17, Some(&key(9))), 0);
    }
}
