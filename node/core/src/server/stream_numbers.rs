//! The server's stream numbers of puts, lookups, reads and batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vouch_core::message::Stream;

/// Allocates a stream number for each put, lookup, read and batch. It is the same on every replica's link. Clones share the counter.
#[derive(Debug, Clone)]
pub struct StreamNumbers(Arc<AtomicU32>);

impl Default for StreamNumbers {
    fn default() -> Self {
        Self::from(1)
    }
}

impl From<u32> for StreamNumbers {
    fn from(first: u32) -> Self {
        Self(Arc::new(AtomicU32::new(first)))
    }
}

impl StreamNumbers {
    /// The next number. It skips the numbers that name a link or a replica as a whole: an answer with one belongs to no put.
    pub fn next(&self) -> Stream {
        loop {
            let number = Stream(self.0.fetch_add(1, Ordering::Relaxed));
            if ![Stream::LINK, Stream::REPLICA].contains(&number) {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_numbers_are_skipped() {
        for reserved in [Stream::LINK, Stream::REPLICA] {
            let numbers = StreamNumbers::from(reserved.0.wrapping_sub(1));
            let given = [numbers.next(), numbers.clone().next(), numbers.next()];
            assert!(!given.contains(&Stream::LINK) && !given.contains(&Stream::REPLICA), "{given:?}");
            assert!(given[0] != given[1] && given[1] != given[2]);
        }
    }
}
