//! How many frames of one member are taken. A signature costs more to check than to make, so without a bound a lying member could keep this
//! end's processor busy with genuine frames.
//!
//! The bound is far above what an honest member sends: its ops come in parts ([`GOSSIP_OPS`](crate::log::op_pool::GOSSIP_OPS)), and a member
//! that catches up asks for a batch of blocks when it has checked the last one.

use std::time::Duration;

use crate::budgets::TokenBucket;

/// Maximum number of frames of one member in a second, after the burst.
pub const FRAMES_PER_SECOND: u32 = 4096;
/// Maximum size in MiB of the frames of one member in a second, after the burst.
pub const MIB_PER_SECOND: u32 = 16;
/// Frames at once: four seconds' worth.
const FRAME_BURST: u32 = 4 * FRAMES_PER_SECOND;
const KIB_PER_SECOND: u32 = MIB_PER_SECOND << 10;
/// Four seconds' worth, too.
const KIB_BURST: u32 = 4 * KIB_PER_SECOND;

#[derive(Debug)]
pub(super) struct FrameBudget {
    frames: TokenBucket,
    kib: TokenBucket,
}

impl FrameBudget {
    pub(super) fn new() -> Self {
        let second = Duration::from_secs(1);
        Self {
            frames: TokenBucket::new(FRAME_BURST, second / FRAMES_PER_SECOND),
            kib: TokenBucket::new(KIB_BURST, second / KIB_PER_SECOND),
        }
    }

    /// A frame was taken, of this size in bytes.
    pub(super) fn spend(&mut self, size: usize, now: Duration) {
        self.frames.spend(1, now);
        self.kib.spend(u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX), now);
    }

    /// When the next frame may be taken: a time that has passed if it may now.
    pub(super) fn next(&self) -> Duration {
        self.frames.next().max(self.kib.next())
    }
}

/// What was held back of a member that sends more than is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// How often nothing was read from a connection of it for a moment.
    pub pauses: u64,
    /// Frames that a server relayed, and that were dropped.
    pub dropped: u64,
}
