//! A block: the ops of one height, and the header that commits to them, to all earlier blocks, and to the state after them.

use thiserror::Error;

use super::op::{OpFormatError, SignedOp};
use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{BlockDigest, ClusterId, StateDigest, derive};
use crate::limits::{MAX_BLOCK, MAX_BLOCK_OPS, MAX_SAFE_INTEGER};
use crate::link::NodeKey;
use crate::merkle::TreeHash;

const MAGIC: &[u8; 7] = b"vouchlb";
const VERSION: u8 = 1;

/// The digest of a block's ops as they are encoded: identities, submitters and signatures. With it, anyone can tell whether bytes are
/// those of a block without executing them. A block whose bytes were exchanged on the way must not make the block itself invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpsDigest(pub [u8; 32]);

impl OpsDigest {
    /// The digest of these ops in this order.
    pub fn of(ops: &[SignedOp]) -> Self {
        Self::of_encoding(&encode_ops(ops))
    }

    fn of_encoding(bytes: &[u8]) -> Self {
        Self(derive("vouch log ops v1", &[bytes]))
    }
}

fn encode_ops(ops: &[SignedOp]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ops.iter().map(SignedOp::encoded_size).sum());
    for op in ops {
        op.write(&mut out);
    }
    out
}

/// The header of a block, 260 bytes encoded. Its digest is the block's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockHeader {
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch of the committee that decides the block.
    pub epoch: u64,
    /// The height, from 1.
    pub height: u64,
    /// The digest of the block before; [`BlockDigest::GENESIS`] at height 1.
    pub parent: BlockDigest,
    /// The node key of the member that made the block.
    pub author: NodeKey,
    /// Seconds since 1970, not less than the parent's.
    pub time: u64,
    /// The root over the digests of all blocks before this one; 32 zero bytes at height 1.
    pub log_root: TreeHash,
    /// The number of ops.
    pub count: u32,
    /// The digest of the encoded ops.
    pub ops: OpsDigest,
    /// The root over the results of the ops: see [`OpResult`](super::OpResult).
    pub results: TreeHash,
    /// The digest of the state after the block.
    pub state: StateDigest,
}

/// Why bytes are not a block, or parts do not make one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlockFormatError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown format version: the rest cannot be decoded.
    UnknownVersion(u8),
    /// An op is not well formed.
    Op(#[from] OpFormatError),
    /// The block is too large.
    TooLarge {
        /// The block's size in bytes.
        got: usize,
    },
    /// The header is for another number of ops.
    Count {
        /// The number in the header.
        expected: u32,
        /// The number of ops.
        got: usize,
    },
    /// The header is for other ops.
    OtherOps {
        /// The digest in the header.
        expected: OpsDigest,
        /// The digest of the ops.
        got: OpsDigest,
    },
}

impl BlockFormatError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        let hex = |digest: &OpsDigest| base16ct::lower::encode_string(&digest.0);
        match self {
            Self::Decode(error) => error.comparison().within("block"),
            Self::UnknownVersion(got) => Comparison::new(&"block version", &VERSION, got),
            Self::Op(error) => error.comparison().within("block"),
            Self::TooLarge { got } => Comparison::new(&"block size", &format_args!("at most {MAX_BLOCK} bytes"), got),
            Self::Count { expected, got } => Comparison::new(&"number of ops in the block", expected, got),
            Self::OtherOps { expected, got } => {
                Comparison::new(&"digest of the block's ops", &hex(expected), &hex(got))
            }
        }
    }
}

display_comparison!(BlockFormatError);

impl BlockHeader {
    /// Size of the encoding in bytes.
    pub const SIZE: usize = 260;

    /// The block's digest.
    pub fn digest(&self) -> BlockDigest {
        BlockDigest(derive("vouch log block v1", &[&self.encode()]))
    }

    /// The canonical encoding, [`SIZE`](Self::SIZE) bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::SIZE);
        self.write(&mut out);
        out
    }

    /// Appends the canonical encoding.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.parent.0);
        out.extend_from_slice(&self.author.0);
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.log_root.0);
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.ops.0);
        out.extend_from_slice(&self.results.0);
        out.extend_from_slice(&self.state.0);
    }

    /// Decodes exactly one header.
    ///
    /// # Errors
    /// See [`BlockFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockFormatError> {
        let mut reader = Reader::new(bytes);
        let header = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(header)
    }

    /// Reads one header.
    ///
    /// # Errors
    /// See [`BlockFormatError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, BlockFormatError> {
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(BlockFormatError::UnknownVersion(version));
        }
        let cluster = ClusterId(reader.array("cluster")?);
        let epoch = reader.safe_u64("epoch")?;
        let height = reader.u64("height")?;
        in_range("height", height, 1, MAX_SAFE_INTEGER)?;
        let parent = BlockDigest(reader.array("parent")?);
        let author = NodeKey(reader.array("author")?);
        let time = reader.safe_u64("time")?;
        let log_root = TreeHash(reader.array("log root")?);
        let count = reader.u32("number of ops")?;
        in_range("number of ops", count.into(), 1, MAX_BLOCK_OPS.into())?;
        let ops = OpsDigest(reader.array("digest of the ops")?);
        let results = TreeHash(reader.array("results root")?);
        let state = StateDigest(reader.array("state digest")?);
        Ok(Self { cluster, epoch, height, parent, author, time, log_root, count, ops, results, state })
    }
}

/// A header with the ops that it commits to: their number, order, bytes and total size are checked. Whether the block follows the
/// log's rules is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    header: BlockHeader,
    ops: Vec<SignedOp>,
}

impl Block {
    /// The maximum total size of a block's encoded ops.
    pub const MAX_OPS_SIZE: usize = MAX_BLOCK - BlockHeader::SIZE;

    /// The block of this header and these ops.
    ///
    /// # Errors
    /// [`BlockFormatError`], if the header is not for these ops or the block is too large.
    pub fn new(header: BlockHeader, ops: Vec<SignedOp>) -> Result<Self, BlockFormatError> {
        in_range("number of ops", ops.len() as u64, 1, MAX_BLOCK_OPS.into())?;
        if header.count as usize != ops.len() {
            return Err(BlockFormatError::Count { expected: header.count, got: ops.len() });
        }
        let encoded = encode_ops(&ops);
        if encoded.len() > Self::MAX_OPS_SIZE {
            return Err(BlockFormatError::TooLarge { got: BlockHeader::SIZE + encoded.len() });
        }
        check_ops(&header, &encoded)?;
        Ok(Self { header, ops })
    }

    /// The header.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// The ops, in their order.
    pub fn ops(&self) -> &[SignedOp] {
        &self.ops
    }

    /// The block's digest.
    pub fn digest(&self) -> BlockDigest {
        self.header.digest()
    }

    /// The canonical encoding: the header, then the ops.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        out.extend_from_slice(&encode_ops(&self.ops));
        out
    }

    /// Decodes exactly one block.
    ///
    /// # Errors
    /// See [`BlockFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockFormatError> {
        if bytes.len() > MAX_BLOCK {
            return Err(BlockFormatError::TooLarge { got: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let header = BlockHeader::read(&mut reader)?;
        let encoded = reader.rest();
        let mut reader = Reader::new(encoded);
        let ops = (0..header.count).map(|_| SignedOp::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        check_ops(&header, encoded)?;
        Ok(Self { header, ops })
    }
}

fn check_ops(header: &BlockHeader, encoded: &[u8]) -> Result<(), BlockFormatError> {
    let got = OpsDigest::of_encoding(encoded);
    if got == header.ops { Ok(()) } else { Err(BlockFormatError::OtherOps { expected: header.ops, got }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::NodeSecretKey;
    use crate::log::Op;

    const CLUSTER: ClusterId = ClusterId([3; 32]);

    fn signed(nonce: u8, body: usize) -> SignedOp {
        let op = Op::new(0, [nonce; 16], 1_790_000_060, vec![nonce; body]).unwrap();
        SignedOp::sign(op, &CLUSTER, &NodeSecretKey::from_bytes(&[1; 32]))
    }

    fn header(ops: &[SignedOp]) -> BlockHeader {
        BlockHeader {
            cluster: CLUSTER,
            epoch: 0,
            height: 1,
            parent: BlockDigest::GENESIS,
            author: NodeKey([4; 32]),
            time: 1_790_000_000,
            log_root: TreeHash([0; 32]),
            count: ops.len().try_into().unwrap(),
            ops: OpsDigest::of(ops),
            results: TreeHash([5; 32]),
            state: StateDigest([6; 32]),
        }
    }

    fn block(ops: Vec<SignedOp>) -> Result<Block, BlockFormatError> {
        Block::new(header(&ops), ops)
    }

    #[test]
    fn a_block_has_one_encoding() {
        let block = block(vec![signed(1, 3), signed(2, 0)]).unwrap();
        let bytes = block.encode();
        assert_eq!(bytes.len(), 260 + 128 + 125);
        assert_eq!(Block::decode(&bytes), Ok(block.clone()));
        assert_eq!(BlockHeader::decode(&bytes[..260]), Ok(block.header().clone()));
        assert_eq!(block.digest(), block.header().digest());
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Block::decode(&longer), Err(BlockFormatError::Decode(DecodeError::Trailing { .. }))));
        for length in 0..bytes.len() {
            assert!(Block::decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut version = bytes.clone();
        version[7] = 2;
        assert_eq!(Block::decode(&version), Err(BlockFormatError::UnknownVersion(2)));
        let mut height = bytes;
        height[48..56].fill(0);
        assert!(matches!(Block::decode(&height), Err(BlockFormatError::Decode(DecodeError::OutOfRange { .. }))));
    }

    #[test]
    fn every_header_byte_changes_the_digest() {
        let header = header(&[signed(1, 3)]);
        let (bytes, digest) = (header.encode(), header.digest());
        assert_eq!(bytes.len(), BlockHeader::SIZE);
        for position in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            let other = BlockHeader::decode(&altered);
            assert!(other.is_err() || other.unwrap().digest() != digest, "{position}");
        }
    }

    #[test]
    fn a_header_belongs_to_its_ops_alone() {
        let ops = vec![signed(1, 3), signed(2, 3)];
        let header = header(&ops);
        let swapped = vec![ops[1].clone(), ops[0].clone()];
        assert!(matches!(Block::new(header.clone(), swapped), Err(BlockFormatError::OtherOps { .. })));
        // Another member's signature on the same op: the op's identity is the same, but not the block's bytes.
        let again = SignedOp::sign(ops[0].op.clone(), &CLUSTER, &NodeSecretKey::from_bytes(&[2; 32]));
        let resigned = vec![again, ops[1].clone()];
        assert!(matches!(Block::new(header.clone(), resigned), Err(BlockFormatError::OtherOps { .. })));
        let fewer = vec![ops[0].clone()];
        assert_eq!(Block::new(header.clone(), fewer), Err(BlockFormatError::Count { expected: 2, got: 1 }));

        let mut bytes = Block::new(header, ops).unwrap().encode();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(Block::decode(&bytes), Err(BlockFormatError::OtherOps { .. })));
    }

    #[test]
    fn size_and_number_of_ops_are_bounded() {
        assert!(block(Vec::new()).is_err());
        assert!(block(vec![signed(1, 0); 512]).is_ok());
        assert!(block(vec![signed(1, 0); 513]).is_err());
        // 15 of the largest ops are 63,315 bytes, the header 260 and the last op's fixed part 125: 1,836 are left for its body.
        let full = |body| [vec![signed(1, 4096); 15], vec![signed(2, body)]].concat();
        let largest = block(full(1836)).unwrap();
        assert_eq!(largest.encode().len(), MAX_BLOCK);
        assert_eq!(Block::decode(&largest.encode()), Ok(largest.clone()));
        assert_eq!(block(full(1837)), Err(BlockFormatError::TooLarge { got: MAX_BLOCK + 1 }));
        let longer = [&largest.encode()[..], &[0]].concat();
        assert_eq!(Block::decode(&longer), Err(BlockFormatError::TooLarge { got: MAX_BLOCK + 1 }));
    }
}
