//! The minimum upload rate of a client. Without it, a client that sends a byte now and then could hold a put and its place at every
//! replica indefinitely.

use std::time::Duration;

/// The minimum upload rate of a link, whose puts share it, or of an HTTP body.
#[derive(Debug, Clone, Copy)]
pub struct UploadRate {
    /// Bytes a second, on average over the window.
    pub bytes_per_second: u64,
    /// The window. A put that begins slowly can catch up within it.
    pub window: Duration,
}

/// The bytes that a put has received since the window began.
#[derive(Debug, Clone, Copy)]
pub struct UploadWindow {
    began: Duration,
    /// How long the link had been blocked when the window began.
    blocked: Duration,
    bytes: u64,
}

impl UploadWindow {
    /// A window that begins now, on a clock that never goes back. `blocked`: how long the upload has been blocked on that clock.
    pub fn begin(now: Duration, blocked: Duration) -> Self {
        Self { began: now, blocked, bytes: 0 }
    }

    /// Counts received bytes.
    pub fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Why the put is too slow; `None` if it is not. It must receive at least its share of the link's minimum, which `receiving` puts
    /// share. The time for which the link was `blocked` does not count.
    pub fn is_slow(&mut self, rule: UploadRate, now: Duration, blocked: Duration, receiving: u64) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_must_keep_its_rate_over_every_window() {
        let rule = UploadRate { bytes_per_second: 1000, window: Duration::from_secs(30) };
        let (mut window, mut now) = (UploadWindow::begin(Duration::ZERO, Duration::ZERO), Duration::ZERO);
        let mut second = |bytes| {
            now += Duration::from_secs(1);
            window.add(bytes);
            window.is_slow(rule, now, Duration::ZERO, 1)
        };
        // a pause is allowed as long as the average is high enough
        for bytes in [0, 0, 30_000].into_iter().chain([0; 27]) {
            assert_eq!(second(bytes), None);
        }
        // bytes before the window do not count
        for _ in 0..29 {
            assert_eq!(second(999), None);
        }
        assert_eq!(second(999).as_deref(), Some("expected at least 1000 bytes a second, got 29970 in 30.0 s"));
    }

    #[test]
    fn time_for_which_the_upload_was_blocked_does_not_count() {
        let rule = UploadRate { bytes_per_second: 1000, window: Duration::from_secs(30) };
        let mut window = UploadWindow::begin(Duration::ZERO, Duration::ZERO);
        window.add(15_000);
        let at = Duration::from_secs(40);
        assert_eq!(window.is_slow(rule, at, Duration::from_secs(20), 1), None, "20 s are no window");
        assert_eq!(window.is_slow(rule, at, Duration::from_secs(10), 2), None, "half of the rate, shared by two puts");
        assert!(window.is_slow(rule, at + Duration::from_secs(30), Duration::from_secs(10), 2).is_some());
    }
}
