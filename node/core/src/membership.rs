//! How the members of a cluster change: the part of the log's state that decides the next committee, and what a node does about it.
//!
//! A change goes through these steps, each an op or several. A change is *proposed*, and *running* once n − f members approve it. The nodes
//! of the next committee *offer* their vote keys; then that committee is *fixed*, and a quorum of it *accepts*. The block with the last
//! accept *decides* the successor: all later blocks belong to it. The members of the old committee *stop*, which gives its closing, and a
//! quorum of them signs the *handoff*. Now the next epoch is *active*. Its members *seal* the old one, before they can be followed in turn.

mod approvals;
mod choosing;
mod duties;
mod encoding;
mod running_change;
mod sealing;
mod state;
#[cfg(test)]
mod tests;

pub use approvals::{Approvals, MAX_PROPOSALS, Proposal};
pub use choosing::{Consent, TURN_TIME};
pub use duties::{Duty, OwnState};
pub use running_change::{DecidedSuccessor, NextCommittee, OFFER_TIME, RunningChange};
pub use sealing::{SEAL_DELAY, Sealing};
pub use state::{EpochStart, MAX_STOP_AHEAD, Membership};
