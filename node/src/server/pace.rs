//! Which replicas are not waited for. One that was too late for a put is given every further put's bytes all the same, and is
//! waited for again once it answered in time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vouch_core::message::{Code, Message, Stream};

/// Puts that went on without somebody, remembered for judging who answers them later.
const REMEMBERED: usize = 4096;

/// Why a replica does not vote, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Impairment {
    /// Its storage failed, and it has neither stored nor voted since.
    Storage(String),
    /// Its clock is in doubt, and it has not voted since.
    Clock(String),
}

/// How one replica's link keeps up.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Was too slow to take bytes, and has not caught up since.
    lagging: AtomicBool,
    /// Was too late to store, and has not stored in time since.
    late: AtomicBool,
    impairment: Mutex<Option<Impairment>>,
}

impl Pace {
    pub(super) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Relaxed)
    }

    pub(super) fn set_lagging(&self, is_lagging: bool) {
        self.lagging.store(is_lagging, Ordering::Relaxed);
    }

    fn impaired(&self) -> MutexGuard<'_, Option<Impairment>> {
        self.impairment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the replica does not vote, if it said so.
    pub(super) fn impairment(&self) -> Option<Impairment> {
        self.impaired().clone()
    }

    /// Takes note of what a reply says about the replica's storage and clock. A full disk says nothing: whoever offers more than fits would
    /// make a replica look dead.
    pub(super) fn hear(&self, reply: &Message) {
        match reply {
            Message::Failed(failed) if failed.code == Code::Storage => {
                *self.impaired() = Some(Impairment::Storage(failed.detail.clone()));
            }
            Message::Failed(failed) if failed.code == Code::ClockInDoubt => {
                *self.impaired() = Some(Impairment::Clock(failed.detail.clone()));
            }
            Message::Vote { .. } | Message::Stored { stream: Stream::REPLICA } => *self.impaired() = None,
            // it stores all the same while its clock is in doubt
            Message::Stored { .. } => drop(self.impaired().take_if(|why| matches!(why, Impairment::Storage(_)))),
            _ => {}
        }
    }

    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    pub(super) fn set_late(&self, is_late: bool) {
        self.late.store(is_late, Ordering::Relaxed);
    }
}

/// Puts that are over, with the time until which an answer would have been in time.
#[derive(Debug, Default)]
pub(crate) struct Overtaken(Mutex<VecDeque<(Stream, Duration)>>);

impl Overtaken {
    fn puts(&self) -> MutexGuard<'_, VecDeque<(Stream, Duration)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, put: Stream, until: Duration) {
        let mut puts = self.puts();
        puts.push_front((put, until));
        puts.truncate(REMEMBERED);
    }

    /// Whether an answer to this put is in time now. One that is not remembered is long over.
    pub(super) fn is_in_time(&self, put: Stream, now: Duration) -> bool {
        self.puts().iter().find(|(of, _)| *of == put).is_some_and(|(_, until)| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_impaired_until_it_votes_or_says_that_it_is_not() {
        let pace = Pace::default();
        let failed = |code| Message::failed(Stream::REPLICA, code, "why");
        let stored = |stream| Message::Stored { stream };
        for (message, expected) in [
            (failed(Code::Storage), Some(Impairment::Storage("why".into()))),
            (failed(Code::NoSpace), Some(Impairment::Storage("why".into()))),
            (stored(Stream(1)), None),
            (failed(Code::ClockInDoubt), Some(Impairment::Clock("why".into()))),
            (stored(Stream(1)), Some(Impairment::Clock("why".into()))),
            (stored(Stream::REPLICA), None),
        ] {
            pace.hear(&message);
            assert_eq!(pace.impairment(), expected, "{message:?}");
        }
    }

    #[test]
    fn an_answer_to_a_put_that_is_over_is_judged_by_its_time() {
        let overtaken = Overtaken::default();
        let ms = Duration::from_millis;
        overtaken.add(Stream(1), ms(50));
        assert!(overtaken.is_in_time(Stream(1), ms(49)));
        assert!(!overtaken.is_in_time(Stream(1), ms(50)));
        assert!(!overtaken.is_in_time(Stream(2), ms(0)), "nobody knows of it");
        (0..4096).for_each(|_| overtaken.add(Stream(3), ms(50)));
        assert!(!overtaken.is_in_time(Stream(1), ms(0)), "memory is bounded");
    }
}
