//! The state of the log, for the operator.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vouch_node_core::log::recovery::Voting;

/// The state of a replica's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// The height of the last decided block here; 0 before the first.
    pub height: u64,
    /// The time of that block, seconds since 1970.
    pub time: u64,
    /// The number of ops that wait here to be decided.
    pub waiting: usize,
    /// Why this replica signs nothing in the log now. `None` if it signs, or does not run the log yet.
    pub abstains: Option<String>,
    /// Why the log does not run any more.
    pub stopped: Option<String>,
    /// Files with evidence against members that signed two conflicting messages.
    pub evidence: Vec<String>,
}

/// The status, shared between the log and those who show it.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedStatus(Arc<Mutex<LogStatus>>);

impl SharedStatus {
    pub(super) fn get(&self) -> LogStatus {
        self.change(|status| status.clone())
    }

    pub(super) fn stopped(&self, why: String) {
        self.change(|status| status.stopped = Some(why));
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut LogStatus) -> T) -> T {
        // Recover from poisoning: every change leaves the status consistent.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a replica signs nothing in the log, in words.
pub(super) fn abstains(voting: Voting) -> Option<String> {
    match voting {
        Voting::Yes => None,
        Voting::LostWal => Some(
            "it lost what it had signed, and waits until enough other members have said how far they are; in a committee that tolerates no fault, start it with --recover-log"
                .into(),
        ),
        Voting::Until(height) => {
            Some(format!("it lost what it had signed, and signs again after block {height} of the log is decided"))
        }
    }
}
