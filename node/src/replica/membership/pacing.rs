//! When a duty is done again: an op gets lost when a replica restarts, or the log refuses it because another one must come first.

use std::sync::Arc;
use std::time::Duration;

use vouch_node_core::membership::{Duty, Membership};

use super::performing::OP_LASTS;

/// Minimum pause before a duty is done again. Without it, a member would submit an op that the log refuses again after every block.
const PAUSE: Duration = Duration::from_secs(2);

/// The duties that were done lately.
#[derive(Debug, Default)]
pub(super) struct Pacing(Vec<Done>);

#[derive(Debug)]
struct Done {
    duty: Duty,
    at: Duration,
    /// The log's state at that time. Each block has another.
    state: Arc<Membership>,
}

impl Pacing {
    /// Whether a duty is to be done now; if so, it counts as done. While the log decides no block, the earlier op still waits for one: more
    /// ops of the same content would keep a log that stalled from recovering.
    pub(super) fn is_due(&mut self, state: &Arc<Membership>, duty: &Duty, now: Duration) -> bool {
        self.0.retain(|done| {
            let has_expired = now >= done.at + Duration::from_secs(OP_LASTS);
            !has_expired && (now < done.at + PAUSE || Arc::ptr_eq(&done.state, state))
        });
        let is_due = self.0.iter().all(|done| done.duty != *duty);
        if is_due {
            self.0.push(Done { duty: duty.clone(), at: now, state: state.clone() });
        }
        is_due
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
        assert!(pacing.is_due(&first, &offer, Duration::ZERO) && !pacing.is_due(&first, &offer, SECOND));
        assert!(pacing.is_due(&first, &Duty::Fix { change: ChangeId([1; 32]) }, SECOND), "another duty");
        // no new block: the op still waits
        assert!(!pacing.is_due(&first, &offer, 10 * SECOND));
        assert!(pacing.is_due(&state(), &offer, 11 * SECOND));
        // blocks follow each other faster than ops get lost
        let last = state();
        assert!(!pacing.is_due(&last, &offer, 12 * SECOND) && pacing.is_due(&last, &offer, 13 * SECOND));
        assert!(!pacing.is_due(&last, &offer, 72 * SECOND));
        assert!(pacing.is_due(&last, &offer, 73 * SECOND));
    }
}
