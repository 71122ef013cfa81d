//! The specification's limits, and narrower ones that a caller sets.

/// The largest integer that JavaScript represents exactly, 2^53 − 1: the limit for every length, time and epoch.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Maximum size of a bundle in bytes.
pub const MAX_BUNDLE: usize = 8 << 20;

/// Maximum number of later epochs in a bundle: so many handoffs take a verifier seconds, not minutes.
pub const MAX_EPOCHS: usize = 4096;

/// Maximum number of members in a committee.
pub const MAX_MEMBERS: u16 = 1000;

/// Maximum number of receipts in a batch, so that a path has at most 12 hashes.
pub const MAX_BATCH: u32 = 4096;

/// Maximum size of an op's body in bytes.
pub const MAX_OP_BODY: usize = 4096;

/// Maximum size of an op's effect in bytes.
pub const MAX_EFFECT: usize = 1024;

/// Maximum size of an encoded block in bytes, header included.
pub const MAX_BLOCK: usize = 65_536;

/// Maximum number of ops in a block, so that a path in its results tree has at most 9 hashes.
pub const MAX_BLOCK_OPS: u32 = 512;

/// Maximum number of tokens of a cluster: the state of the log is copied to every joiner.
pub const MAX_TOKENS: usize = 4096;

/// Maximum size of a message from one member to another, in bytes. The log's largest message fits.
pub const MAX_PEER_MESSAGE: usize = 192 << 10;

/// Bounds for decoding, set by the caller. For a committee of 4, a decoder can be bounded so that it allocates nothing for a
/// fifth member.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum size of a bundle in bytes, checked before parsing.
    pub bundle: usize,
    /// Maximum number of members in a committee, at most 1000.
    pub members: u16,
    /// Maximum number of receipts in a batch, at most 4096.
    pub batch: u32,
}

impl Default for Limits {
    /// The specification's limits.
    fn default() -> Self {
        Self { bundle: MAX_BUNDLE, members: MAX_MEMBERS, batch: MAX_BATCH }
    }
}
