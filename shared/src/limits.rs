//! The specification's limits, and how a caller sets narrower ones.

/// The largest integer that JavaScript holds exactly, 2^53 − 1; the limit for every length, time and epoch.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The most bytes of a bundle.
pub const MAX_BUNDLE: usize = 8 << 20;

/// The most members of a committee.
pub const MAX_MEMBERS: u16 = 1000;

/// The most receipts in one batch; a path has at most 12 hashes.
pub const MAX_BATCH: u32 = 4096;

/// Bounds for decoding, from the caller: a committee of 4 gives a decoder that allocates for no fifth.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of a bundle, looked at before parsing.
    pub bundle: usize,
    /// The most members of a committee, at most 1000.
    pub members: u16,
    /// The most receipts in a batch, at most 4096.
    pub batch: u32,
}

impl Default for Limits {
    /// The specification's limits.
    fn default() -> Self {
        Self { bundle: MAX_BUNDLE, members: MAX_MEMBERS, batch: MAX_BATCH }
    }
}
