//! Rate limits by address.

use std::collections::HashMap;
use std::time::Duration;

use super::PeerAddress;

/// Maximum number of remembered addresses. If it is reached, those with a full bucket are forgotten; if that is not enough, all
/// are. Until they are remembered again, peers from so many addresses are bounded only in total.
const REMEMBERED: usize = 4096;

/// A token bucket: a burst, and then one token per interval.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    burst: u32,
    every: Duration,
    full_at: Duration,
}

impl TokenBucket {
    /// A full bucket: `burst` tokens at once, and then one per interval `every`.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, full_at: Duration::ZERO }
    }

    /// Takes a token. `false` if there is none.
    pub fn take(&mut self, now: Duration) -> bool {
        let may = self.next() <= now;
        if may {
            self.full_at = self.full_at.max(now) + self.every;
        }
        may
    }

    /// Takes tokens whether or not they are there. What was missing delays the next one.
    pub fn spend(&mut self, tokens: u32, now: Duration) {
        self.full_at = self.full_at.max(now) + self.every.saturating_mul(tokens);
    }

    /// When there is a token: a time that has passed if there is one.
    pub fn next(&self) -> Duration {
        (self.full_at + self.every).saturating_sub(self.every * self.burst)
    }
}

/// A [`TokenBucket`] for each address.
#[derive(Debug)]
pub struct AddressBuckets {
    full: TokenBucket,
    of: HashMap<PeerAddress, TokenBucket>,
}

impl AddressBuckets {
    /// Full buckets: `burst` tokens at once, and then one per interval `every`.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { full: TokenBucket::new(burst, every), of: HashMap::new() }
    }

    /// Takes a token of an address. `false` if it has none.
    pub fn take(&mut self, source: PeerAddress, now: Duration) -> bool {
        if self.of.len() >= REMEMBERED {
            self.of.retain(|_, bucket| bucket.full_at > now);
            if self.of.len() >= REMEMBERED {
                self.of.clear();
            }
        }
        self.of.entry(source).or_insert(self.full).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_at_a_time() {
        let mut buckets = AddressBuckets::new(3, Duration::from_secs(2));
        let source = |last| PeerAddress::from(std::net::IpAddr::from([127, 0, 0, last]));
        let mut take = |last, second| buckets.take(source(last), Duration::from_secs(second));
        assert!((0..3).all(|_| take(1, 10)));
        assert!(!take(1, 10) && !take(1, 11));
        assert!(take(2, 11), "each address has its own bucket");
        assert!(take(1, 12) && !take(1, 12));
        assert!((0..3).all(|_| take(1, 100)) && !take(1, 100));
    }

    #[test]
    fn the_time_of_the_next_token_is_known() {
        let seconds = Duration::from_secs;
        let mut bucket = TokenBucket::new(2, seconds(3));
        assert!(bucket.take(seconds(10)) && bucket.next() <= seconds(10));
        assert!(bucket.take(seconds(10)));
        assert_eq!(bucket.next(), seconds(13));
        assert!(!bucket.take(seconds(12)) && bucket.take(seconds(13)));
        assert_eq!(bucket.next(), seconds(16));
    }

    #[test]
    fn tokens_that_were_missing_delay_the_next_one() {
        let seconds = Duration::from_secs;
        let mut bucket = TokenBucket::new(4, seconds(1));
        bucket.spend(3, seconds(10));
        assert!(bucket.next() <= seconds(10));
        bucket.spend(3, seconds(10));
        assert_eq!(bucket.next(), seconds(13));
        bucket.spend(1, seconds(13));
        assert_eq!(bucket.next(), seconds(14));
    }

    #[test]
    fn memory_is_bounded() {
        let mut buckets = AddressBuckets::new(1, Duration::from_secs(60));
        for number in 0..100_000u32 {
            buckets.take(PeerAddress::from(std::net::IpAddr::from(number.to_be_bytes())), Duration::ZERO);
        }
        assert!(buckets.of.len() <= REMEMBERED);
    }
}
