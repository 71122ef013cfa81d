//! The proof that the log has an op, and that the op had an effect: the result with its path to the block's results root, and the
//! block with its path to the log root of a certified head.

use thiserror::Error;

use super::block::{BlockFormatError, BlockHeader};
use super::log_tree::{log_path, read_log_path};
use super::op::{Op, OpFormatError};
use super::result::{Effect, OpResult, result_root_from_path, result_tree};
use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::BlockDigest;
use crate::link::NodeKey;
use crate::merkle::{TreeHash, path_length};

const MAGIC: &[u8; 7] = b"vouchop";
const VERSION: u8 = 1;

/// The proof of one op. It is well formed, but not verified. It has no signature of the submitter: the quorum that signs a log head has
/// checked that signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpProof {
    /// The header of the op's block.
    pub block: BlockHeader,
    /// The op's index in the block, from 0.
    pub index: u32,
    /// The member whose submission the block contains.
    pub submitter: NodeKey,
    /// The op.
    pub op: Op,
    /// What the op did.
    pub effect: Effect,
    /// The path of the result to the block's results root, nearest sibling first.
    pub result_path: Vec<TreeHash>,
    /// The path of the block to the log root of the certified head, nearest sibling first.
    pub block_path: Vec<TreeHash>,
}

/// Why bytes are not a proof of an op.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpProofError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown format version: the rest cannot be decoded.
    UnknownVersion(u8),
    /// The block's header is not well formed.
    Block(#[from] BlockFormatError),
    /// The op is not well formed.
    Op(#[from] OpFormatError),
}

impl OpProofError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("op proof"),
            Self::UnknownVersion(got) => Comparison::new(&"op proof version", &VERSION, got),
            Self::Block(error) => error.comparison().within("op proof"),
            Self::Op(error) => error.comparison().within("op proof"),
        }
    }
}

display_comparison!(OpProofError);

impl OpProof {
    /// The proof of one op of a block, under the log root over the blocks 1 to `size`. `ops` and `effects` are the block's, in its order;
    /// `digest_of` returns the digest of the block of a height. `None` if the block has no op of this index, if the effects are not those
    /// that its header commits to, or if a digest is missing.
    pub fn new(
        block: &BlockHeader,
        ops: &[(NodeKey, Op)],
        effects: &[Effect],
        index: u32,
        size: u64,
        digest_of: impl FnMut(u64) -> Option<BlockDigest>,
    ) -> Option<Self> {
        Self::with_path(block, ops, effects, index, log_path(block.height, size, digest_of)?)
    }

    /// Like [`new`](Self::new), with the block's path, which is not checked.
    pub fn with_path(
        block: &BlockHeader,
        ops: &[(NodeKey, Op)],
        effects: &[Effect],
        index: u32,
        block_path: Vec<TreeHash>,
    ) -> Option<Self> {
        if ops.len() != effects.len() {
            return None;
        }
        let result = |((submitter, op), effect): (&(NodeKey, Op), &Effect)| OpResult {
            op: op.id(&block.cluster),
            submitter: *submitter,
            effect: effect.clone(),
        };
        let results: Vec<_> = ops.iter().zip(effects).map(result).collect();
        let tree = result_tree(&results).filter(|tree| tree.root() == block.results && tree.count() == block.count)?;
        let result_path = tree.path(index)?;
        let position = usize::try_from(index).ok()?;
        let (submitter, op) = ops.get(position)?.clone();
        let effect = effects.get(position)?.clone();
        Some(Self { block: block.clone(), index, submitter, op, effect, result_path, block_path })
    }

    /// The op with its effect, as the block commits to it.
    pub fn result(&self) -> OpResult {
        OpResult { op: self.op.id(&self.block.cluster), submitter: self.submitter, effect: self.effect.clone() }
    }

    /// The results root that follows from the result. `None` for a proof that decoding never yields.
    pub fn results_root(&self) -> Option<TreeHash> {
        result_root_from_path(&self.result(), self.index, self.block.count, &self.result_path)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        self.block.write(&mut out);
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.submitter.0);
        self.op.write(&mut out);
        self.effect.write(&mut out);
        for hash in self.result_path.iter().chain(&self.block_path) {
            out.extend_from_slice(&hash.0);
        }
        out
    }

    /// Decodes exactly one proof. The number of hashes in the block's path is checked with the certificate.
    ///
    /// # Errors
    /// See [`OpProofError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OpProofError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(OpProofError::UnknownVersion(version));
        }
        let block = BlockHeader::read(&mut reader)?;
        let index = reader.u32("index")?;
        in_range("index", index.into(), 0, u64::from(block.count) - 1)?;
        let submitter = NodeKey(reader.array("submitter")?);
        let op = Op::read(&mut reader)?;
        let effect = Effect::read(&mut reader)?;
        let result_path = (0..path_length(index, block.count))
            .map(|_| reader.array("path").map(TreeHash))
            .collect::<Result<_, _>>()?;
        let block_path = read_log_path(&mut reader)?;
        Ok(Self { block, index, submitter, op, effect, result_path, block_path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{ClusterId, StateDigest};
    use crate::log::{OpsDigest, log_root_from_path};

    fn op(nonce: u8) -> (NodeKey, Op) {
        (NodeKey([nonce; 32]), Op::new(0, [nonce; 16], 9, vec![nonce; usize::from(nonce)]).unwrap())
    }

    fn effect(of: u8) -> Effect {
        Effect::new(vec![of; 3]).unwrap()
    }

    fn digest_of(height: u64) -> Option<BlockDigest> {
        u8::try_from(height).ok().map(|height| BlockDigest([height; 32]))
    }

    fn header(count: u8) -> BlockHeader {
        let cluster = ClusterId([1; 32]);
        let result = |i| OpResult { op: op(i).1.id(&cluster), submitter: op(i).0, effect: effect(i) };
        let results: Vec<_> = (0..count).map(result).collect();
        BlockHeader {
            cluster,
            epoch: 0,
            height: 3,
            parent: BlockDigest([2; 32]),
            author: NodeKey([3; 32]),
            time: 8,
            log_root: TreeHash([4; 32]),
            count: count.into(),
            ops: OpsDigest([5; 32]),
            results: result_tree(&results).unwrap().root(),
            state: StateDigest([6; 32]),
        }
    }

    fn proof(index: u32, size: u64) -> Option<OpProof> {
        let (ops, effects): (Vec<_>, Vec<_>) = (0..5).map(|i| (op(i), effect(i))).unzip();
        OpProof::new(&header(5), &ops, &effects, index, size, digest_of)
    }

    #[test]
    fn a_proof_leads_to_both_roots_and_has_one_encoding() {
        for index in 0..5 {
            let proof = proof(index, 7).unwrap();
            assert_eq!(proof.results_root(), Some(header(5).results));
            assert!(log_root_from_path(&BlockDigest([3; 32]), 3, 7, &proof.block_path).is_some());
            let bytes = proof.encode();
            assert_eq!(OpProof::decode(&bytes).as_ref(), Ok(&proof));
            assert_eq!(OpProof::decode(&bytes).unwrap().encode(), bytes);
            // The end of the block's path follows from the certificate, so whole hashes may be missing there.
            let shortest = bytes.len() - 32 * proof.block_path.len();
            for length in
                (0..bytes.len()).filter(|length| *length < shortest || !(bytes.len() - length).is_multiple_of(32))
            {
                assert!(OpProof::decode(&bytes[..length]).is_err(), "{length}");
            }
        }
        assert_eq!(proof(5, 7), None);
        assert_eq!(proof(0, 2), None, "the head is below the block");
    }

    #[test]
    fn a_proof_is_made_only_for_what_the_header_commits_to() {
        let (ops, effects): (Vec<_>, Vec<_>) = (0..5).map(|i| (op(i), effect(i))).unzip();
        let with = |ops: &[_], effects: &[_]| OpProof::new(&header(5), ops, effects, 0, 7, digest_of);
        assert!(with(&ops, &effects).is_some());
        assert_eq!(with(&ops[..4], &effects[..4]), None);
        assert_eq!(with(&ops, &effects[..4]), None);
        let others: Vec<_> = (0..5).map(|_| effect(9)).collect();
        assert_eq!(with(&ops, &others), None);
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let bytes = proof(0, 7).unwrap().encode();
        let longer = |hashes| [&bytes[..], &vec![0; 32 * hashes]].concat();
        let own = proof(0, 7).unwrap().block_path.len();
        assert!(OpProof::decode(&longer(53 - own)).is_ok());
        assert!(OpProof::decode(&longer(54 - own)).is_err());
        let mut index = bytes.clone();
        index[268..272].copy_from_slice(&5u32.to_le_bytes());
        assert!(matches!(OpProof::decode(&index), Err(OpProofError::Decode(DecodeError::OutOfRange { .. }))));
        let mut version = bytes;
        version[7] = 2;
        assert_eq!(OpProof::decode(&version), Err(OpProofError::UnknownVersion(2)));
    }
}
