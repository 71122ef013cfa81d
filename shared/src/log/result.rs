//! The result of an op: its effect at its place in the log. A block commits to the results of its ops by the root of a tree, so a
//! proof that the log has an op is also a proof of what the op did.

use thiserror::Error;

use crate::codec::{DecodeError, Reader, in_range};
use crate::digest::OpId;
use crate::limits::MAX_EFFECT;
use crate::link::NodeKey;
use crate::merkle::{MerkleTree, TreeContexts, TreeHash, root_from_path};

const TREE: TreeContexts = TreeContexts { leaf: "vouch log result leaf v1", node: "vouch log result node v1" };

/// What the state machine answered to an op, at most [`MAX_EFFECT`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Effect(Vec<u8>);

/// An effect is longer than [`MAX_EFFECT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("effect: expected at most {MAX_EFFECT} bytes, got {got}")]
pub struct EffectTooLong {
    /// The number of bytes.
    pub got: usize,
}

impl Effect {
    /// An effect of these bytes.
    ///
    /// # Errors
    /// [`EffectTooLong`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, EffectTooLong> {
        if bytes.len() > MAX_EFFECT { Err(EffectTooLong { got: bytes.len() }) } else { Ok(Self(bytes)) }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends the length (u16), then the bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        // Cannot saturate: the constructor and the decoder bound the length.
        out.extend_from_slice(&u16::try_from(self.0.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend_from_slice(&self.0);
    }

    /// Reads one effect.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.u16("effect length")?;
        in_range("effect length", length.into(), 0, MAX_EFFECT as u64)?;
        Ok(Self(reader.take("effect", length.into())?.to_vec()))
    }
}

/// One op of a block with its effect: a leaf of the block's results tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpResult {
    /// The op's identity.
    pub op: OpId,
    /// The member whose submission the block contains.
    pub submitter: NodeKey,
    /// What the op did.
    pub effect: Effect,
}

impl OpResult {
    /// The leaf: op identity, submitter, length of the effect, effect.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(66 + self.effect.0.len());
        out.extend_from_slice(&self.op.0);
        out.extend_from_slice(&self.submitter.0);
        self.effect.write(&mut out);
        out
    }
}

/// The results tree of a block. `None` if there are no results.
pub fn result_tree(results: &[OpResult]) -> Option<MerkleTree> {
    MerkleTree::new(&TREE, results.iter().map(OpResult::encode))
}

/// The results root that follows from one result and its path. `None` if the path does not have the length that `index` and `count`
/// fix.
pub fn result_root_from_path(result: &OpResult, index: u32, count: u32, path: &[TreeHash]) -> Option<TreeHash> {
    root_from_path(&TREE, &result.encode(), index, count, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(i: u8) -> OpResult {
        let effect = Effect::new(vec![i; usize::from(i)]).unwrap();
        OpResult { op: OpId([i; 32]), submitter: NodeKey([7; 32]), effect }
    }

    #[test]
    fn the_root_follows_from_every_result_and_from_no_other() {
        let results: Vec<_> = (0..5).map(result).collect();
        let tree = result_tree(&results).unwrap();
        for (index, result) in (0..).zip(&results) {
            let path = tree.path(index).unwrap();
            assert_eq!(result_root_from_path(result, index, 5, &path), Some(tree.root()), "{index}");
            let others = [
                OpResult { op: OpId([9; 32]), ..result.clone() },
                OpResult { submitter: NodeKey([8; 32]), ..result.clone() },
                OpResult { effect: Effect::new(vec![0; 9]).unwrap(), ..result.clone() },
            ];
            for other in others {
                assert_ne!(result_root_from_path(&other, index, 5, &path), Some(tree.root()), "{other:?}");
            }
        }
        assert!(result_tree(&[]).is_none());
    }

    #[test]
    fn effects_are_bounded() {
        let largest = Effect::new(vec![1; 1024]).unwrap();
        let mut bytes = Vec::new();
        largest.write(&mut bytes);
        assert_eq!(Effect::read(&mut Reader::new(&bytes)), Ok(largest));
        assert_eq!(Effect::new(vec![1; 1025]), Err(EffectTooLong { got: 1025 }));
        bytes[..2].copy_from_slice(&1025u16.to_le_bytes());
        bytes.push(1);
        let refused = DecodeError::OutOfRange { field: "effect length", min: 0, max: 1024, got: 1025 };
        assert_eq!(Effect::read(&mut Reader::new(&bytes)), Err(refused));
    }
}
