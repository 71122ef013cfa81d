//! Keeping to a number of bytes a second.

use std::time::Duration;

use crate::host::Host;

/// A rate, and when it began to be kept.
#[derive(Debug)]
pub(super) struct Pace {
    host: Host,
    rate: u64,
    began: Duration,
}

impl Pace {
    /// From now on, `rate` bytes a second.
    pub(super) fn new(host: &Host, rate: u64) -> Self {
        Self { host: host.clone(), rate: rate.max(1), began: host.monotonic() }
    }

    /// Waits until so many bytes, since it began, are due.
    pub(super) async fn wait(&self, bytes: u64) {
        let due = self.began + Duration::from_secs_f64(precise(bytes) / precise(self.rate));
        self.host.sleep(due.saturating_sub(self.host.monotonic())).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
fn precise(count: u64) -> f64 {
    count as f64
}
