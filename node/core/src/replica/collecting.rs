//! Decides when expired blobs are collected, and counts the running time since the last collection.

use std::time::Duration;

use vouch_core::bugs::{self, Bug};

/// Counts the running time between collections.
#[derive(Debug)]
pub struct CollectionTimer {
    counted: Duration,
}

/// One collection of expired blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// Running time since the last collection, in whole seconds: the wall clock has been trusted for this much longer.
    pub ran: Duration,
    /// Whether files that no blob needs are removed as well.
    pub sweeps: bool,
}

impl CollectionTimer {
    /// Counts from `now` on, on a clock that never goes back.
    pub fn new(now: Duration) -> Self {
        Self { counted: now }
    }

    /// The collection that is due; `None` while the wall clock is in doubt or unconfirmed. That time is dropped: it must not count towards an
    /// expiry. `may_delete`: see [`ClockDoubt::may_delete`](super::clock_doubt::ClockDoubt::may_delete). `lacking`: the number of blobs that this replica lacks, if it knows.
    pub fn next(&mut self, now: Duration, may_delete: bool, lacking: Option<u64>) -> Option<Collection> {
        // The rest below a second counts at the next call.
        let ran = Duration::from_secs(now.saturating_sub(self.counted).as_secs());
        self.counted = self.counted.saturating_add(ran);
        // A file that the index does not name may be a lacking blob, if the index was lost: keep it until nothing is lacking.
        let sweeps = lacking == Some(0);
        let is_due = (may_delete || bugs::has(Bug::CollectedInDoubt)) && !bugs::has(Bug::NeverCollected);
        is_due.then_some(Collection { ran, sweeps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn running_time_is_counted_in_seconds_and_no_part_of_one_is_lost() {
        let mut timer = CollectionTimer::new(at(500));
        let ran = |timer: &mut CollectionTimer, now| timer.next(at(now), true, None).unwrap().ran;
        assert_eq!(ran(&mut timer, 1400), at(0));
        assert_eq!(ran(&mut timer, 2400), at(1000));
        assert_eq!(ran(&mut timer, 4500), at(3000));
    }

    #[test]
    fn nothing_is_collected_while_the_clock_is_in_doubt_and_that_time_is_lost() {
        let mut timer = CollectionTimer::new(at(0));
        assert_eq!(timer.next(at(86_400_000), false, Some(0)), None);
        assert_eq!(timer.next(at(86_401_000), true, Some(0)).unwrap().ran, at(1000));
    }

    #[test]
    fn files_are_swept_only_once_nothing_is_lacking() {
        let mut timer = CollectionTimer::new(at(0));
        for (lacking, sweeps) in [(None, false), (Some(1), false), (Some(0), true)] {
            assert_eq!(timer.next(at(0), true, lacking).unwrap().sweeps, sweeps, "{lacking:?}");
        }
    }
}
