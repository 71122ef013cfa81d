//! Remembers puts and batches that have ended, to tell whether a later answer is still in time.

use std::collections::VecDeque;
use std::time::Duration;

use vouch_core::message::Stream;

/// The last puts or batches that have ended, each with the time until which an answer is in time.
#[derive(Debug)]
pub struct EndedWaits {
    most: usize,
    waits: VecDeque<(Stream, Duration)>,
}

impl EndedWaits {
    /// Remembers at most `most`.
    pub fn new(most: usize) -> Self {
        Self { most, waits: VecDeque::new() }
    }

    /// Remembers one more: an answer is in time before `until`.
    pub fn add(&mut self, of: Stream, until: Duration) {
        self.waits.push_front((of, until));
        self.waits.truncate(self.most);
    }

    /// Whether an answer is in time now. `false` if the number is no longer remembered: it ended long ago.
    pub fn is_in_time(&self, of: Stream, now: Duration) -> bool {
        self.waits.iter().find(|(ended, _)| *ended == of).is_some_and(|(_, until)| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_answer_is_in_time_only_before_the_end_of_its_grace() {
        let mut ended = EndedWaits::new(4);
        let ms = Duration::from_millis;
        ended.add(Stream(1), ms(50));
        assert!(ended.is_in_time(Stream(1), ms(49)));
        assert!(!ended.is_in_time(Stream(1), ms(50)));
        assert!(!ended.is_in_time(Stream(2), ms(0)), "it is not remembered");
        (0..4).for_each(|_| ended.add(Stream(3), ms(50)));
        assert!(!ended.is_in_time(Stream(1), ms(0)), "memory is bounded");
    }
}
