//! The least that a client must send while it owes bytes: a byte now and then would hold a put and its place at every replica.

use std::time::Duration;

/// The rule for a link; its puts share the rate.
#[derive(Debug, Clone, Copy)]
pub struct UploadRate {
    /// In bytes a second, on average over the window.
    pub bytes_per_second: u64,
    /// A put that begins slowly has so long to make it good.
    pub window: Duration,
}

/// What a put brought since a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct UploadWindow {
    began: Duration,
    /// How long the link had been blocked at that moment.
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

    /// Why the put is too slow, if it is: it must bring the part of one of `receiving` puts of what its link must bring. The time for
    /// which the link was `blocked` is not counted.
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
