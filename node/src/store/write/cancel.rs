//! Cancelling a put.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Tells at once that a put is cancelled. The writing thread learns it later, and the next put of the blob need not wait for that.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicU8>);

impl CancelToken {
    const KEEP: u8 = 1;
    const DISCARD: u8 = 2;

    /// Cancels the put and keeps its partial upload.
    pub fn keep(&self) {
        // an earlier discard wins
        let _ = self.0.compare_exchange(0, Self::KEEP, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Cancels the put and removes the bytes that it brought.
    pub fn discard(&self) {
        self.0.store(Self::DISCARD, Ordering::Release);
    }

    /// Whether the put was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    pub(super) fn is_discard(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DISCARD
    }
}
