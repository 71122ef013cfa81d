//! Which time a replica may delete by: one that its wall clock has said without a break for a day of running.
//!
//! A wall clock may be wrong for a while, and what is deleted is gone. So expiry is judged by the least time that the wall clock
//! has said within the last `window` of running time. Running time is counted durably, and stands still while the replica is off.

use std::collections::VecDeque;
use std::time::Duration;

/// How long the wall clock must have said that a blob expired before the blob is deleted.
pub const SETTLING: Duration = Duration::from_secs(24 * 3600);
/// Samples are this part of the window apart, which bounds their number.
const PARTS: u64 = 256;
const SAMPLE_SIZE: usize = 16;

/// What the wall clock said at a running time. Both in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    running: u64,
    wall: u64,
}

/// The wall clock over the last window of running time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settling(VecDeque<Sample>);

impl Settling {
    /// From its stored form; bytes of another form are no history, so the window begins anew.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (samples, []) = bytes.as_chunks::<SAMPLE_SIZE>() else { return Self::default() };
        let sample = |chunk: &[u8; SAMPLE_SIZE]| Sample { running: number(&chunk[..8]), wall: number(&chunk[8..]) };
        let samples: VecDeque<_> = samples.iter().map(sample).collect();
        let is_ordered = samples.iter().zip(samples.iter().skip(1)).all(|(one, next)| one.running <= next.running);
        if is_ordered { Self(samples) } else { Self::default() }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|sample| [sample.running, sample.wall]).flat_map(u64::to_le_bytes).collect()
    }

    /// The running time counted so far.
    pub(super) fn running(&self) -> u64 {
        self.0.back().map_or(0, |last| last.running)
    }

    /// Notes what the wall clock says now. Gives the time to judge expiry by, once the history covers the window.
    pub(super) fn note(&mut self, running: u64, wall: u64, window: Duration) -> Option<u64> {
        let window = window.as_secs();
        let running = running.max(self.running());
        let before_last = self.0.iter().rev().nth(1).map(|sample| sample.running);
        match (before_last, self.0.back_mut()) {
            // merged with the last one, which keeps its least time
            (Some(before), Some(last)) if last.running < before + window / PARTS => {
                *last = Sample { running, wall: wall.min(last.wall) };
            }
            _ => self.0.push_back(Sample { running, wall }),
        }
        // the last sample before the window stays: it shows that the window is covered
        while self.0.len() > 1 && self.0[1].running + window <= running {
            self.0.pop_front();
        }
        let is_covered = self.0.front().is_some_and(|first| first.running + window <= running);
        is_covered.then(|| self.0.iter().map(|sample| sample.wall).min()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    const TICK: u64 = 300;

    /// Runs for so long with a wall clock that is ahead by `ahead` seconds; gives the last time to judge by.
    fn run(settling: &mut Settling, seconds: u64, wall: &mut u64, ahead: u64) -> Option<u64> {
        let mut judged = None;
        for _ in 0..seconds / TICK {
            *wall += TICK;
            let running = settling.running() + TICK;
            judged = settling.note(running, *wall + ahead, SETTLING);
            *settling = Settling::from_bytes(&settling.to_bytes());
        }
        judged
    }

    #[test]
    fn nothing_is_judged_before_a_day_of_running() {
        let (mut settling, mut wall) = (Settling::default(), 1_000_000);
        assert_eq!(run(&mut settling, DAY - TICK, &mut wall, 0), None);
        let judged = run(&mut settling, 2 * TICK, &mut wall, 0).unwrap();
        assert!(judged <= wall - DAY + 2 * TICK && judged >= 1_000_000, "{judged}");
    }

    #[test]
    fn a_clock_that_is_ahead_for_five_minutes_deletes_nothing() {
        let (mut settling, mut wall) = (Settling::default(), 1_000_000);
        run(&mut settling, 2 * DAY, &mut wall, 0);
        let judged = run(&mut settling, TICK, &mut wall, 30 * DAY).unwrap();
        assert!(judged < wall, "{judged}");
        let judged = run(&mut settling, 2 * DAY, &mut wall, 0).unwrap();
        assert!(judged < wall, "{judged}");
    }

    #[test]
    fn time_that_it_was_off_does_not_count() {
        let (mut settling, mut wall) = (Settling::default(), 1_000_000);
        run(&mut settling, 2 * DAY, &mut wall, 0);
        // off for a year, and on again for less than a day
        wall += 365 * DAY;
        let judged = run(&mut settling, DAY - 2 * TICK, &mut wall, 0).unwrap();
        assert!(judged < 1_000_000 + 3 * DAY, "{judged}");
        let judged = run(&mut settling, 2 * DAY, &mut wall, 0).unwrap();
        assert!(judged > 365 * DAY, "{judged}");
    }

    #[test]
    fn a_history_is_bounded_and_read_strictly() {
        let mut settling = Settling::default();
        for second in 0..3 * DAY {
            settling.note(second, 5 * DAY + second, SETTLING);
        }
        let count = settling.0.len() as u64;
        assert!(count <= PARTS + 3, "{count}");
        let bytes = settling.to_bytes();
        assert_eq!(Settling::from_bytes(&bytes), settling);
        assert_eq!(Settling::from_bytes(&bytes[1..]), Settling::default());
        let unordered = [7_u64, 1, 6, 1].map(u64::to_le_bytes).concat();
        assert_eq!(Settling::from_bytes(&unordered), Settling::default());
    }
}
