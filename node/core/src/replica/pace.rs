//! A pace in bytes per second.

use std::time::Duration;

/// A rate in bytes per second, and the time at which it began.
#[derive(Debug)]
pub struct Pace {
    rate: u64,
    began: Duration,
}

impl Pace {
    /// `rate` bytes per second from `now` on.
    pub fn new(rate: u64, now: Duration) -> Self {
        Self { rate: rate.max(1), began: now }
    }

    /// The wait until this many bytes since the beginning are due.
    pub fn delay(&self, bytes: u64, now: Duration) -> Duration {
        let due = self.began.saturating_add(Duration::from_secs_f64(precise(bytes) / precise(self.rate)));
        due.saturating_sub(now)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
fn precise(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_due_at_the_rate_and_idle_time_counts() {
        let pace = Pace::new(1000, Duration::from_secs(5));
        assert_eq!(pace.delay(0, Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(pace.delay(3000, Duration::from_secs(5)), Duration::from_secs(3));
        assert_eq!(pace.delay(3000, Duration::from_secs(7)), Duration::from_secs(1));
        assert_eq!(pace.delay(3000, Duration::from_secs(9)), Duration::ZERO);
    }

    #[test]
    fn a_rate_of_zero_is_one_byte_per_second() {
        assert_eq!(Pace::new(0, Duration::ZERO).delay(2, Duration::ZERO), Duration::from_secs(2));
    }
}
