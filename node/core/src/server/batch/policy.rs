//! How receipts are gathered into batches.

use std::time::Duration;

use vouch_core::limits::MAX_BATCH;

/// How receipts are gathered into batches.
#[derive(Debug, Clone, Copy)]
pub struct BatchPolicy {
    /// Maximum number of receipts in a batch, at most 4096.
    pub most: usize,
    /// Maximum wait of the first receipt while no batch is being signed and other puts are being stored.
    pub linger: Duration,
    /// Maximum wait of the first receipt while a batch is being signed.
    pub wait: Duration,
    /// Maximum number of batches signed at once.
    pub at_once: usize,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { most: MAX_BATCH as usize, linger: ms(2), wait: ms(8), at_once: 4 }
    }
}
