//! The tree over the stored statements that an epoch certified, and the proof that one of them is in it.
//!
//! The proof has the number of statements, but not the root: it follows from the statement and the path. Like a certificate's root, a wrong
//! one makes another seal.

#[cfg(feature = "nodes")]
use crate::chain::CommitteeChain;
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::CommitteeRecord;
use crate::limits::MAX_SAFE_INTEGER;
use crate::merkle::{MerkleTree, TreeContexts, TreeHash, path_length, root_from_path};
#[cfg(feature = "nodes")]
use crate::statement::Statement;
use crate::statement::{Seal, StatementId};

const MAGIC: &[u8; 7] = b"vouchsp";
const VERSION: u8 = 1;
const TREE: TreeContexts = TreeContexts { leaf: "vouch seal leaf v1", node: "vouch seal node v1" };

/// Maximum number of statements in a seal: until it is signed, their identities are part of the log's state.
pub const MAX_SEALED: usize = 32_768;

/// The identities of the statements that an epoch certified, ascending, so that the same statements have one root.
#[derive(Debug)]
pub struct SealTree {
    identities: Vec<StatementId>,
    /// `None` without statements.
    tree: Option<MerkleTree>,
}

impl SealTree {
    /// The tree over these statements, in any order. `None` if there are more than 2^32 − 1.
    pub fn new(identities: impl IntoIterator<Item = StatementId>) -> Option<Self> {
        let mut identities: Vec<_> = identities.into_iter().collect();
        identities.sort_unstable();
        identities.dedup();
        u32::try_from(identities.len()).ok()?;
        let tree = MerkleTree::new(&TREE, identities.iter().map(|identity| identity.0));
        Some(Self { identities, tree })
    }

    /// The number of statements.
    pub fn count(&self) -> u64 {
        self.identities.len() as u64
    }

    /// The root; zeros without statements.
    pub fn root(&self) -> TreeHash {
        self.tree.as_ref().map_or(TreeHash([0; 32]), MerkleTree::root)
    }

    /// The proof that a statement is in the tree. `None` if it is not.
    pub fn path(&self, identity: &StatementId) -> Option<SealPath> {
        let index = u32::try_from(self.identities.binary_search(identity).ok()?).ok()?;
        Some(SealPath { count: self.count(), index: index.into(), path: self.tree.as_ref()?.path(index)? })
    }

    /// The seal of this committee's epoch, over these statements.
    pub fn seal(&self, sealed: &CommitteeRecord) -> Seal {
        Seal { epoch: sealed.epoch(), committee: sealed.digest(), count: self.count(), root: self.root() }
    }

    /// The identities, ascending.
    pub fn identities(&self) -> &[StatementId] {
        &self.identities
    }

    /// Whether these are all statements of an epoch's seal, which a committee of the chain names.
    #[cfg(feature = "nodes")]
    pub fn is_of(&self, chain: &CommitteeChain, epoch: u64) -> bool {
        let sealing = epoch.checked_add(1).and_then(|sealing| chain.record(sealing));
        let (Some(expected), Some(sealed), Some(sealing)) = (chain.seal_of(epoch), chain.record(epoch), sealing) else {
            return false;
        };
        Statement::new(sealing, self.seal(sealed)).id() == expected
    }

    /// The list of a seal: its identities, ascending, 32 bytes each.
    pub fn to_list(&self) -> Vec<u8> {
        self.identities.iter().flat_map(|identity| identity.0).collect()
    }

    /// Reads the list of a seal. `None` if it is not a whole number of identities, they do not ascend, or they are more than [`MAX_SEALED`].
    pub fn from_list(bytes: &[u8]) -> Option<Self> {
        let (identities, rest) = bytes.as_chunks();
        let is_sorted = identities.is_sorted_by(|one, next| one < next);
        if !rest.is_empty() || !is_sorted || identities.len() > MAX_SEALED {
            return None;
        }
        Self::new(identities.iter().copied().map(StatementId))
    }
}

/// The proof that a statement is in a seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealPath {
    /// The number of statements in the seal, from 1.
    pub count: u64,
    /// The place of the statement's identity among them, from 0.
    pub index: u64,
    /// The siblings, nearest first.
    pub path: Vec<TreeHash>,
}

impl SealPath {
    /// The seal of this committee's epoch that has the statement by this path. `None` for a path that decoding never yields.
    pub fn seal(&self, sealed: &CommitteeRecord, identity: &StatementId) -> Option<Seal> {
        let root = root_from_path(&TREE, &identity.0, self.index, self.count, &self.path)?;
        Some(Seal { epoch: sealed.epoch(), committee: sealed.digest(), count: self.count, root })
    }

    /// The canonical encoding: 24 bytes, and 32 for each hash.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        self.path.iter().for_each(|hash| out.extend_from_slice(&hash.0));
        out
    }

    /// Decodes exactly one path.
    ///
    /// # Errors
    /// The bytes do not follow the layout, or the version is unknown.
    pub fn decode(bytes: &[u8]) -> Result<Self, SealPathError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        match reader.u8("version")? {
            VERSION => {}
            version => return Err(SealPathError::UnknownVersion(version)),
        }
        let count = reader.u64("count")?;
        in_range("count", count, 1, MAX_SAFE_INTEGER)?;
        let index = reader.u64("index")?;
        in_range("index", index, 0, count - 1)?;
        let length = path_length(index, count);
        let path = (0..length).map(|_| Ok(TreeHash(reader.array("path")?))).collect::<Result<_, DecodeError>>()?;
        reader.finish()?;
        Ok(Self { count, index, path })
    }
}

/// Why bytes are not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealPathError {
    /// The bytes do not follow the layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An unknown format version.
    #[error("expected version {VERSION} of a seal path, got {0}")]
    UnknownVersion(u8),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::VoteSecretKey;
    use crate::committee::{Member, MemberName};
    use crate::link::NodeSecretKey;

    fn identities(count: u8) -> Vec<StatementId> {
        (0..count).map(|number| StatementId(*blake3::hash(&[number]).as_bytes())).collect()
    }

    fn committee() -> CommitteeRecord {
        let node_key = NodeSecretKey::from_bytes(&[1; 32]).node_key();
        let vote_key = VoteSecretKey::generate(&[1; 32]).unwrap().vote_key();
        let member = Member { node_key, vote_key, name: MemberName::new("own").unwrap() };
        CommitteeRecord::genesis([0; 16], vec![member]).unwrap()
    }

    #[test]
    fn every_statement_of_an_epoch_is_proved_and_no_other() {
        let (all, committee) = (identities(12), committee());
        for count in 1..=11 {
            let tree = SealTree::new(all[..count].iter().rev().copied()).unwrap();
            let seal = tree.seal(&committee);
            for identity in &all[..count] {
                let path = tree.path(identity).unwrap();
                assert_eq!(path.seal(&committee, identity), Some(seal));
                assert_ne!(path.seal(&committee, &all[11]), Some(seal));
                let beside = SealPath { index: path.index ^ 1, ..path.clone() };
                assert_ne!(beside.seal(&committee, identity), Some(seal));
                assert_eq!(SealPath::decode(&path.encode()), Ok(path));
            }
            assert_eq!(tree.path(&all[11]), None);
        }
    }

    #[test]
    fn a_list_has_every_identity_once_and_in_order() {
        let all = identities(5);
        let tree = SealTree::new(all.iter().copied()).unwrap();
        let list = tree.to_list();
        let read = SealTree::from_list(&list).unwrap();
        assert_eq!((read.identities(), read.root()), (tree.identities(), tree.root()));
        assert_eq!(SealTree::from_list(&[]).unwrap().count(), 0);
        let twice = [&list[..32], &list[..32]].concat();
        let swapped = [&list[32..64], &list[..32]].concat();
        for bad in [&list[1..], &list[..100], &twice, &swapped] {
            assert!(SealTree::from_list(bad).is_none());
        }
        let too_many: Vec<u8> = (0..=MAX_SEALED as u64).flat_map(|n| [n.to_be_bytes(); 4].concat()).collect();
        assert!(SealTree::from_list(&too_many).is_none() && SealTree::from_list(&too_many[32..]).is_some());
    }

    #[test]
    fn the_same_statements_have_one_root() {
        let all = identities(5);
        let twice = all.iter().chain(&all).copied();
        assert_eq!(SealTree::new(twice).unwrap().root(), SealTree::new(all.iter().rev().copied()).unwrap().root());
        let none = SealTree::new([]).unwrap();
        assert_eq!((none.count(), none.root(), none.path(&all[0])), (0, TreeHash([0; 32]), None));
    }

    #[test]
    fn bytes_that_are_no_path_are_refused() {
        let path = SealPath { count: 4, index: 2, path: vec![TreeHash([1; 32]); 2] };
        let good = path.encode();
        assert_eq!(SealPath::decode(&good), Ok(path.clone()));
        for length in 0..good.len() {
            assert!(SealPath::decode(&good[..length]).is_err(), "{length}");
        }
        let mut newer = good.clone();
        newer[7] = 2;
        assert_eq!(SealPath::decode(&newer), Err(SealPathError::UnknownVersion(2)));
        for wrong in [
            SealPath { path: vec![TreeHash([1; 32]); 3], ..path.clone() },
            SealPath { index: 4, ..path.clone() },
            SealPath { count: 0, index: 0, path: Vec::new() },
            SealPath { count: MAX_SAFE_INTEGER + 1, ..path },
        ] {
            assert!(SealPath::decode(&wrong.encode()).is_err(), "{wrong:?}");
        }
    }
}
