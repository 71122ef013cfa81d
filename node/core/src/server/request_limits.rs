//! Limits of one replica's requests in progress: lists of certificates, endorsements, and questions for the members' times.

use std::collections::VecDeque;
use std::time::Duration;

use vouch_core::digest::Digest;

use crate::budgets::TokenBucket;

/// Maximum number of list requests in progress. An honest replica has a single one.
const LISTS: usize = 4;
/// Maximum number of endorsement requests, the one in progress included.
const ENDORSEMENTS: usize = 16;
/// Maximum number of questions in progress.
const QUESTIONS: usize = 4;
/// Token bucket for questions: a burst, and then one per interval.
const QUESTION_BURST: u32 = 4;
const QUESTION_EVERY: Duration = Duration::from_secs(2);

/// The requests of one replica in progress. They end with its link.
#[derive(Debug)]
pub struct RequestLimits {
    lists: usize,
    is_endorsing: bool,
    /// The digests of the endorsement requests that wait for their turn.
    endorsements: VecDeque<Vec<Digest>>,
    questions: usize,
    bucket: TokenBucket,
}

impl Default for RequestLimits {
    fn default() -> Self {
        let bucket = TokenBucket::new(QUESTION_BURST, QUESTION_EVERY);
        Self { lists: 0, is_endorsing: false, endorsements: VecDeque::new(), questions: 0, bucket }
    }
}

impl RequestLimits {
    /// The replica requested a list. Whether it may be answered now.
    pub fn begin_list(&mut self) -> bool {
        let may = self.lists < LISTS;
        self.lists += usize::from(may);
        may
    }

    /// A list request was answered.
    pub fn end_list(&mut self) {
        self.lists = self.lists.saturating_sub(1);
    }

    /// The replica requested an endorsement. Returns the digests if it begins now. Otherwise it waits for its turn: all endorsements make the
    /// same members read. Requests beyond the limit are ignored, because an endorsement is optional.
    pub fn begin_endorsement(&mut self, digests: Vec<Digest>) -> Option<Vec<Digest>> {
        if !self.is_endorsing {
            self.is_endorsing = true;
            return Some(digests);
        }
        if 1 + self.endorsements.len() < ENDORSEMENTS {
            self.endorsements.push_back(digests);
        }
        None
    }

    /// The endorsement in progress has ended. Returns the digests of the one that begins now.
    pub fn end_endorsement(&mut self) -> Option<Vec<Digest>> {
        let next = self.endorsements.pop_front();
        self.is_endorsing = next.is_some();
        next
    }

    /// The replica asked for the members' times. Whether the question is relayed; one beyond the limits is ignored, because the replica asks
    /// again.
    pub fn begin_question(&mut self, now: Duration) -> bool {
        let may = self.questions < QUESTIONS && self.bucket.take(now);
        self.questions += usize::from(may);
        may
    }

    /// A question has ended.
    pub fn end_question(&mut self) {
        self.questions = self.questions.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(name: &str) -> Vec<Digest> {
        vec![Digest::of(name.as_bytes())]
    }

    #[test]
    fn four_lists_at_once_are_answered() {
        let mut limits = RequestLimits::default();
        assert!((0..4).all(|_| limits.begin_list()));
        assert!(!limits.begin_list());
        limits.end_list();
        assert!(limits.begin_list() && !limits.begin_list());
    }

    #[test]
    fn endorsements_run_one_after_the_other() {
        let mut limits = RequestLimits::default();
        assert_eq!(limits.begin_endorsement(digests("first")), Some(digests("first")));
        assert_eq!(limits.begin_endorsement(digests("second")), None);
        assert_eq!(limits.begin_endorsement(digests("third")), None);
        assert_eq!(limits.end_endorsement(), Some(digests("second")));
        assert_eq!(limits.end_endorsement(), Some(digests("third")));
        assert_eq!(limits.end_endorsement(), None);
        assert_eq!(limits.begin_endorsement(digests("fourth")), Some(digests("fourth")));
    }

    #[test]
    fn endorsements_beyond_sixteen_are_ignored() {
        let mut limits = RequestLimits::default();
        for number in 0..20 {
            limits.begin_endorsement(digests(&number.to_string()));
        }
        let mut begun = 1;
        while limits.end_endorsement().is_some() {
            begun += 1;
        }
        assert_eq!(begun, 16);
    }

    #[test]
    fn questions_have_a_burst_and_then_a_rate() {
        let mut limits = RequestLimits::default();
        let mut ask = |second| {
            let is_relayed = limits.begin_question(Duration::from_secs(second));
            if is_relayed {
                limits.end_question();
            }
            is_relayed
        };
        assert!((0..4).all(|_| ask(100)));
        assert!(!ask(100) && !ask(101));
        assert!(ask(102) && !ask(102));
    }

    #[test]
    fn four_questions_at_once_are_relayed() {
        let mut limits = RequestLimits::default();
        let mut now = Duration::from_secs(100);
        let mut later = || {
            now += QUESTION_EVERY;
            now
        };
        assert!((0..4).all(|_| limits.begin_question(later())));
        assert!(!limits.begin_question(later()));
        limits.end_question();
        assert!(limits.begin_question(later()));
    }
}
