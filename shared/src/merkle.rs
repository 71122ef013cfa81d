//! Merkle trees over the leaves of a statement: the shape of RFC 9162 section 2.1, hashed with BLAKE3.
//!
//! The statement and the certificate fix `index` and `count`, and these fix the path's length. There is no root to compare
//! with: the signature is checked over the root computed here.

use std::fmt;

use crate::digest::DerivedHash;

/// The key-derivation contexts of one kind of tree. They separate its hashes from those of every other kind.
#[derive(Debug, Clone, Copy)]
pub struct TreeContexts {
    /// The context for a leaf's bytes.
    pub leaf: &'static str,
    /// The context for two children.
    pub node: &'static str,
}

/// The hash of a node, 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash(pub [u8; 32]);

impl fmt::Display for TreeHash {
    /// Hex: roots are shown only beside other roots.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

/// Hashes leaves and nodes of one kind of tree.
pub(crate) struct MerkleHasher {
    leaf: DerivedHash,
    node: DerivedHash,
}

impl MerkleHasher {
    pub(crate) fn new(contexts: &TreeContexts) -> Self {
        Self { leaf: DerivedHash::new(contexts.leaf), node: DerivedHash::new(contexts.node) }
    }

    pub(crate) fn leaf(&self, bytes: &[u8]) -> TreeHash {
        TreeHash(self.leaf.of(&[bytes]))
    }

    pub(crate) fn node(&self, left: &TreeHash, right: &TreeHash) -> TreeHash {
        TreeHash(self.node.of(&[&left.0, &right.0]))
    }
}

/// The levels of a tree, leaves first. An odd node moves up unchanged, as in RFC 9162.
#[derive(Debug)]
pub struct MerkleTree {
    count: u32,
    levels: Vec<Vec<TreeHash>>,
}

impl MerkleTree {
    /// The tree over these leaves. `None` if there are none, or more than `u32::MAX`.
    pub fn new(contexts: &TreeContexts, leaves: impl IntoIterator<Item: AsRef<[u8]>>) -> Option<Self> {
        let hasher = MerkleHasher::new(contexts);
        let mut levels = vec![leaves.into_iter().map(|leaf| hasher.leaf(leaf.as_ref())).collect::<Vec<_>>()];
        let count = u32::try_from(levels[0].len()).ok().filter(|count| *count > 0)?;
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let level = below
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => hasher.node(left, right),
                    odd => odd[0],
                })
                .collect();
            levels.push(level);
        }
        Some(Self { count, levels })
    }

    /// The number of leaves.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The root that a statement carries.
    pub fn root(&self) -> TreeHash {
        self.levels[self.levels.len() - 1][0]
    }

    /// The inclusion proof of one leaf, nearest sibling first. `None` if there is no such leaf.
    pub fn path(&self, index: u32) -> Option<Vec<TreeHash>> {
        let mut position = usize::try_from(index).ok()?;
        self.levels[0].get(position)?;
        let mut path = Vec::new();
        for level in &self.levels {
            // The odd node of a level has no sibling.
            path.extend(level.get(position ^ 1));
            position /= 2;
        }
        Some(path)
    }
}

/// The length of the path of leaf `index` among `count`. Requires index < count.
pub fn path_length(index: impl Into<u64>, count: impl Into<u64>) -> usize {
    let (mut position, mut last) = (index.into(), count.into().saturating_sub(1));
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

/// The root, computed from one leaf and its path (RFC 9162 section 2.1.3.2). `None` if the path does not have the length that
/// `index` and `count` fix.
pub fn root_from_path(
    contexts: &TreeContexts,
    leaf: &[u8],
    index: impl Into<u64>,
    count: impl Into<u64>,
    path: &[TreeHash],
) -> Option<TreeHash> {
    let (index, count) = (index.into(), count.into());
    if index >= count || path.len() != path_length(index, count) {
        return None;
    }
    let hasher = MerkleHasher::new(contexts);
    let mut hash = hasher.leaf(leaf);
    let (mut position, mut last) = (index, count - 1);
    let mut siblings = path.iter();
    while last > 0 {
        if position % 2 == 1 {
            hash = hasher.node(siblings.next()?, &hash);
        } else if position < last {
            hash = hasher.node(&hash, siblings.next()?);
        }
        position /= 2;
        last /= 2;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: TreeContexts = TreeContexts { leaf: "vouch test leaf", node: "vouch test node" };

    fn leaves(count: u32) -> Vec<[u8; 4]> {
        (0..count).map(u32::to_le_bytes).collect()
    }

    /// RFC 9162's recursive definition, as an oracle for the iterative code.
    fn root_by_definition(leaves: &[[u8; 4]]) -> TreeHash {
        if let [one] = leaves {
            return MerkleHasher::new(&CONTEXTS).leaf(one);
        }
        let split = leaves.len().next_power_of_two() / 2;
        MerkleHasher::new(&CONTEXTS).node(&root_by_definition(&leaves[..split]), &root_by_definition(&leaves[split..]))
    }

    #[test]
    fn every_path_leads_to_the_root_as_defined() {
        for count in (1..=70).chain([255, 256, 257]) {
            let leaves = leaves(count);
            let tree = MerkleTree::new(&CONTEXTS, &leaves).unwrap();
            assert_eq!((tree.count(), tree.root()), (count, root_by_definition(&leaves)), "{count}");
            for (index, leaf) in (0u32..).zip(&leaves) {
                let path = tree.path(index).unwrap();
                assert_eq!(path.len(), path_length(index, count), "{index} of {count}");
                let root = root_from_path(&CONTEXTS, leaf, index, count, &path);
                assert_eq!(root, Some(tree.root()), "{index} of {count}");
            }
            assert_eq!(tree.path(count), None);
        }
        assert!(MerkleTree::new(&CONTEXTS, leaves(0)).is_none());
    }

    #[test]
    fn a_path_of_another_length_is_refused() {
        let leaves = leaves(5);
        let root = |index: u32, path: &[TreeHash]| root_from_path(&CONTEXTS, &leaves[0], index, 5u32, path);
        let path = MerkleTree::new(&CONTEXTS, &leaves).unwrap().path(0).unwrap();
        assert!(root(0, &path).is_some());
        assert_eq!(root(0, &path[1..]), None);
        let longer: Vec<_> = path.iter().chain(&path[..1]).copied().collect();
        assert_eq!(root(0, &longer), None);
        assert_eq!(root(5, &path), None);
        assert_eq!(path_length(4095u32, 4096u32), 12);
    }
}
