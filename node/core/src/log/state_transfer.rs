//! Transfer of the state to a node that lacks more blocks than others keep. The offer has the header of the last block with the
//! precommits that decided it, so a receiver knows what it will get before the first part; the parts are checked together, against that
//! header.

mod fetching;
mod offering;
#[cfg(test)]
mod tests;

use thiserror::Error;
use vouch_core::log::BlockDigest;

use super::engine::CertificateError;
pub(super) use fetching::{Due, Fetching, Progress};
pub(super) use offering::Offering;

/// Number of decided blocks, counted back from the last, that every node keeps. A node that lacks an older one needs the state. It
/// refuses the state as long as it lacks only kept ones: otherwise one liar could make it skip blocks that it should have.
pub const KEPT_BLOCKS: u64 = 10_000;
/// Size of a part of a state in bytes; the last one may be smaller.
pub const STATE_PART: usize = 64 << 10;

/// Why the last block of an offered state does not count as decided.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The members have changed since the last block that is here, so this node does not know whose signatures count. It needs a log head
    /// that is certified by the committee of that epoch, whose chain of handoffs it can verify.
    #[error(
        "log head: expected one of epoch {expected}, whose members are known here, got one of epoch {got}: it needs a certified head"
    )]
    OtherEpoch {
        /// The epoch of the members that this node knows.
        expected: u64,
        /// The epoch of the offered state's last block.
        got: u64,
    },
    /// The signatures are for another block.
    #[error("log head: expected signatures for {expected}, got signatures for {got}")]
    OtherBlock {
        /// The last block.
        expected: BlockDigest,
        /// The certificate's.
        got: BlockDigest,
    },
    /// The signatures do not decide it.
    #[error("log head: {0}")]
    Certificate(#[from] CertificateError),
}
