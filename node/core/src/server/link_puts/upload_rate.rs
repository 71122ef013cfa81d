//! The minimum upload rate of a client. Without it, a client that sends a byte now and then could hold a put and its place at every
//! replica for ever.

use std::time::Duration;

/// The minimum upload rate of a link. Its puts share it.
#[derive(Debug, Clone, Copy)]
pub struct UploadRate {
    /// Bytes a second, on average over the window.
    pub bytes_per_second: u64,
    /// The window. A put that begins slowly can catch up within it.
    pub window: Duration,
}

/// The bytes that a put has received since the window began.
#[derive(Debug, Clone, Copy)]
pub(super) struct UploadWindow {
    began: Duration,
    /// How long the link had been blocked when the window began.
    blocked: Duration,
    bytes: u64,
}

impl UploadWindow {
    pub(super) fn begin(now: Duration, blocked: Duration) -> Self {
        Self { began: now, blocked, bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Why the put is too slow; `None` if it is not. It must receive at least its share of the link's minimum, which `receiving` puts
    /// share. The time for which the link was `blocked` does not count.
    pub(super) fn is_slow(
        &mut self,
        rule: UploadRate,
        now: Duration,
        blocked: Duration,
        receiving: u64,
    ) -> Option<String> {
        let waited = now.saturating_sub(self.began).saturating_sub(blocked.saturating_sub(self.blocked));
        if waited < rule.window {
            return None;
        }
        let got = std::mem::replace(self, Self::begin(now, blocked)).bytes;
        let rate = rule.bytes_per_second / receiving.max(1);
        let is_slow = u128::from(got) < u128::from(rate) * waited.as_millis() / 1000;
        let seconds = waited.as_secs_f64();
        is_slow.then(|| format!("expected at least {rate} bytes a second, got {got} in {seconds:.1} s"))
    }
}
