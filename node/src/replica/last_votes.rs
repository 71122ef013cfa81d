//! The last vote of this replica, and its last refusal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The last vote and the last refusal, for the operator. Times are in seconds since 1970.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Votes {
    /// The time of the last vote since the start.
    pub last_vote: Option<u64>,
    /// The time of the last refusal since the start.
    pub last_refusal: Option<u64>,
    /// The reason for the last refusal.
    pub refused_because: Option<String>,
}

/// The last vote and the last refusal.
#[derive(Debug, Default)]
pub(super) struct LastVotes(Mutex<Votes>);

impl LastVotes {
    fn votes(&self) -> MutexGuard<'_, Votes> {
        // Recover from poisoning: every change assigns plain values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn voted(&self, now: u64) {
        self.votes().last_vote = Some(now);
    }

    pub(super) fn refused(&self, now: u64, why: String) {
        let mut votes = self.votes();
        votes.last_refusal = Some(now);
        votes.refused_because = Some(why);
    }

    pub(super) fn status(&self) -> Votes {
        self.votes().clone()
    }
}
