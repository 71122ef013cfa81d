//! When a duty is done again: an op gets lost when a replica restarts, or the log refuses it because another one must come first.

use std::sync::Arc;
use std::time::Duration;

use vouch_node_core::membership::{Duty, Membership};

use super::performing::OP_LASTS;

/// Minimum pause before a duty is done again. Otherwise an op that the log refuses would be made again with each block, for ever.
const PAUSE: Duration = Duration::from_secs(2);

/// The duties that were done lately.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    state: Option<Arc<Membership>>,
    /// Number of blocks seen, one for each state.
    blocks: u64,
    done: Vec<Done>,
}

#[derive(Debug)]
struct Done {
    duty: Duty,
    at: Duration,
    block: u64,
}

impl Pacing {
    /// Notes the state after the latest block.
    pub(super) fn see(&mut self, state: &Arc<Membership>, now: Duration) {
        if self.state.as_ref().is_none_or(|before| !Arc::ptr_eq(before, state)) {
            self.blocks += 1;
            self.state = Some(state.clone());
        }
        self.done.retain(|done| now < done.at + Duration::from_secs(OP_LASTS));
    }

    /// Whether a duty is to be done now; if so, it counts as done. While the log decides nothing, the op of before still waits for it: with
    /// more and more ops of the same content, a log that stalled could not recover.
    pub(super) fn is_due(&mut self, duty: &Duty, now: Duration) -> bool {
        let (before, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.done).into_iter().partition(|done| done.duty == *duty);
        self.done = others;
        let waits = |done: &Done| now < done.at + PAUSE || done.block == self.blocks;
        match before.into_iter().find(waits) {
            Some(done) => {
                self.done.push(done);
                false
            }
            None => {
                self.done.push(Done { duty: duty.clone(), at: now, block: self.blocks });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::digest::ChangeId;
    use vouch_fixture::TestCommittee;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state() -> Arc<Membership> {
        Arc::new(Membership::founded(TestCommittee::new(1).committee))
    }

    #[test]
    fn a_duty_is_done_again_once_the_log_goes_on_and_at_the_latest_when_its_op_has_expired() {
        let (mut pacing, offer) = (Pacing::default(), Duty::Offer);
        let first = state();
        pacing.see(&first, Duration::ZERO);
        assert!(pacing.is_due(&offer, Duration::ZERO) && !pacing.is_due(&offer, SECOND));
        assert!(pacing.is_due(&Duty::Fix { change: ChangeId([1; 32]) }, SECOND), "another duty");
        // no new block: the op still waits
        pacing.see(&first, 10 * SECOND);
        assert!(!pacing.is_due(&offer, 10 * SECOND));
        pacing.see(&state(), 11 * SECOND);
        assert!(pacing.is_due(&offer, 11 * SECOND));
        // blocks follow each other faster than ops get lost
        let last = state();
        pacing.see(&last, 12 * SECOND);
        assert!(!pacing.is_due(&offer, 12 * SECOND) && pacing.is_due(&offer, 13 * SECOND));
        pacing.see(&last, 72 * SECOND);
        assert!(!pacing.is_due(&offer, 72 * SECOND));
        pacing.see(&last, 73 * SECOND);
        assert!(pacing.is_due(&offer, 73 * SECOND));
    }
}
