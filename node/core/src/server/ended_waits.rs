//! Waits that are over, remembered to judge the answers that come later.

use std::collections::VecDeque;
use std::time::Duration;

use vouch_core::message::Stream;

/// The last waits, with the time until which an answer to each would have been in time.
#[derive(Debug)]
pub struct EndedWaits {
    most: usize,
    waits: VecDeque<(Stream, Duration)>,
}

impl EndedWaits {
    /// Remembers so many.
    pub fn new(most: usize) -> Self {
        Self { most, waits: VecDeque::new() }
    }

    /// Remembers one more; an answer is in time before `until`.
    pub fn add(&mut self, of: Stream, until: Duration) {
        self.waits.push_front((of, until));
        self.waits.truncate(self.most);
    }

    /// Whether an answer is in time now; not where the wait is not remembered, for it is long over.
    pub fn is_in_time(&self, of: Stream, now: Duration) -> bool {
        self.waits.iter().find(|(ended, _)| *ended == of).is_some_and(|(_, until)| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_what_is_over_is_judged_by_its_time() {
        let mut ended = EndedWaits::new(4);
        let ms = Duration::from_millis;
        ended.add(Stream(1), ms(50));
        assert!(ended.is_in_time(Stream(1), ms(49)));
        assert!(!ended.is_in_time(Stream(1), ms(50)));
        assert!(!ended.is_in_time(Stream(2), ms(0)), "nobody knows of it");
        (0..4).for_each(|_| ended.add(Stream(3), ms(50)));
        assert!(!ended.is_in_time(Stream(1), ms(0)), "memory is bounded");
    }
}
