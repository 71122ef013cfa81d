//! The ordered log: its ops, blocks and trees, what its engine signs, and how an op is proved to somebody who trusts only the cluster
//! identity.
//!
//! These are formats. What may be in a block, and in which order, is decided by the log's core in `vouch-node-core`.

mod block;
mod engine_message;
#[cfg(feature = "nodes")]
mod evidence;
mod log_tree;
mod op;
mod proof;
mod result;

pub use crate::digest::{BlockDigest, OpId, StateDigest};
pub use block::{Block, BlockFormatError, BlockHeader, OpsDigest};
pub use engine_message::{EngineProposal, EngineSignature, EngineSignatureError, EngineVote, EngineVoteType};
#[cfg(feature = "nodes")]
pub use evidence::{Evidence, EvidenceError, EvidenceFormatError};
pub use log_tree::{
    LogSubtree, LogTree, MAX_LOG_PATH, log_path, log_path_from_subtrees, log_root_from_path, read_log_path,
};
pub use op::{Op, OpFormatError, OpSignature, OpSignatureError, SignedOp};
pub use proof::{OpProof, OpProofError};
pub use result::{Effect, EffectTooLong, OpResult, result_root_from_path, result_tree};
