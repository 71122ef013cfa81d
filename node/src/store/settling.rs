//! The time by which a replica may delete: its wall clock must have shown it for a whole day of running time.
//!
//! A wall clock may be wrong for a while, and a deletion is final. So expiry is judged by the least time that the wall clock
//! has shown within the last `window` of running time. Running time is counted durably and stands still while the replica is off.

use std::collections::VecDeque;
use std::time::Duration;

/// How long the wall clock must have shown that a blob is expired before the blob is deleted.
pub const SETTLING: Duration = Duration::from_secs(24 * 3600);
/// Samples per window, which bounds their number.
const PARTS: u64 = 256;
const SAMPLE_SIZE: usize = 16;

/// The wall clock at a running time. Both in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    running: u64,
    wall: u64,
}

/// The wall clock over the last window of running time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WallClockHistory(VecDeque<Sample>);

impl WallClockHistory {
    /// Decodes the stored form. Malformed bytes give an empty history, so the window starts again.
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

    /// Notes the wall clock now. Returns the time to judge expiry by, once the history covers the window.
    pub(super) fn note(&mut self, running: u64, wall: u64, window: Duration) -> Option<u64> {
        let window = window.as_secs();
        let running = running.max(self.running());
        let before_last = self.0.iter().rev().nth(1).map(|sample| sample.running);
        match (before_last, self.0.back_mut()) {
            // merge with the last sample, and keep the lesser time
            (Some(before), Some(last)) if last.running < before + window / PARTS => {
                *last = Sample { running, wall: wall.min(last.wall) };
            }
            _ => self.0.push_back(Sample { running, wall }),
        }
        // keep the last sample before the window: it proves that the window is covered
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

    /// Runs for `seconds` with a wall clock that is ahead by `ahead` seconds. Returns the last time to judge by.
    fn run(history: &mut WallClockHistory, seconds: u64, wall: &mut u64, ahead: u64) -> Option<u64> {
        let mut judged = None;
        for _ in 0..seconds / TICK {
            *wall += TICK;
            let running = history.running() + TICK;
            judged = history.note(running, *wall + ahead, SETTLING);
            *history = WallClockHistory::from_bytes(&history.to_bytes());
        }
        judged
    }

    #[test]
    fn nothing_is_judged_before_a_day_of_running() {
        let (mut history, mut wall) = (WallClockHistory::default(), 1_000_000);
        assert_eq!(run(&mut history, DAY - TICK, &mut wall, 0), None);
        let judged = run(&mut history, 2 * TICK, &mut wall, 0).unwrap();
        assert!(judged <= wall - DAY + 2 * TICK && judged >= 1_000_000, "{judged}");
    }

    #[test]
    fn a_clock_that_is_ahead_for_five_minutes_deletes_nothing() {
        let (mut history, mut wall) = (WallClockHistory::default(), 1_000_000);
        run(&mut history, 2 * DAY, &mut wall, 0);
        let judged = run(&mut history, TICK, &mut wall, 30 * DAY).unwrap();
        assert!(judged < wall, "{judged}");
        let judged = run(&mut history, 2 * DAY, &mut wall, 0).unwrap();
        assert!(judged < wall, "{judged}");
    }

    #[test]
    fn time_while_the_replica_is_off_does_not_count() {
        let (mut history, mut wall) = (WallClockHistory::default(), 1_000_000);
        run(&mut history, 2 * DAY, &mut wall, 0);
        // off for a year, and on again for less than a day
        wall += 365 * DAY;
        let judged = run(&mut history, DAY - 2 * TICK, &mut wall, 0).unwrap();
        assert!(judged < 1_000_000 + 3 * DAY, "{judged}");
        let judged = run(&mut history, 2 * DAY, &mut wall, 0).unwrap();
        assert!(judged > 365 * DAY, "{judged}");
    }

    #[test]
    fn a_history_is_bounded_and_read_strictly() {
        let mut history = WallClockHistory::default();
        for second in 0..3 * DAY {
            history.note(second, 5 * DAY + second, SETTLING);
        }
        let count = history.0.len() as u64;
        assert!(count <= PARTS + 3, "{count}");
        let bytes = history.to_bytes();
        assert_eq!(WallClockHistory::from_bytes(&bytes), history);
        assert_eq!(WallClockHistory::from_bytes(&bytes[1..]), WallClockHistory::default());
        let unordered = [7_u64, 1, 6, 1].map(u64::to_le_bytes).concat();
        assert_eq!(WallClockHistory::from_bytes(&unordered), WallClockHistory::default());
    }
}
