//! How long a client waits for what a server has to decide, by its user's wish.

use std::time::Duration;

use vouch_core::session::{Phase, ProgressWatch};

use super::ClientError;

/// Bounds each wait for a decision of the server by the time that a put or a get is tried again for without getting further. A
/// server waits longer than that for replicas that do not answer. Time in which bytes move is not bounded here: a slow
/// connection stands still for seconds, too.
#[derive(Debug, Clone, Copy)]
pub struct StallLimit(
    /// `None`: the session's own deadlines only.
    Option<Duration>,
);

impl StallLimit {
    /// By the time to try again for; zero bounds nothing.
    pub fn new(retry: Duration) -> Self {
        // a quarter more: by default, a server that waits for replicas as long as it ever does says itself which one failed
        Self((!retry.is_zero()).then(|| retry.saturating_add(retry / 4)))
    }

    /// The longest wait; `None` where only the session's deadlines count.
    pub(super) fn limit(self) -> Option<Duration> {
        self.0
    }

    /// Whether a session still may stand where the watch saw it; `now` is monotonic.
    pub(super) fn check(self, watch: &ProgressWatch, now: Duration) -> Result<(), Stalled> {
        let stood = watch.stood(now).filter(|(phase, _)| *phase != Phase::Reading);
        match (stood, self.0) {
            (Some((phase, after)), Some(limit)) if after >= limit => Err(Stalled { phase, after }),
            _ => Ok(()),
        }
    }
}

/// A wait that was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stalled {
    phase: Phase,
    after: Duration,
}

impl Stalled {
    pub(super) fn new(phase: Phase, after: Duration) -> Self {
        Self { phase, after }
    }
}

impl From<Stalled> for ClientError {
    fn from(Stalled { phase, after }: Stalled) -> Self {
        Self::Stalled { after, what: phase.what() }
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::session::ProgressMark;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stands(phase: Phase, steps: u64) -> ProgressMark {
        ProgressMark { phase: Some(phase), steps }
    }

    /// Looks at a session, and whether it may still stand there. The session's own deadlines are tested with them.
    fn look(watch: &mut ProgressWatch, limit: StallLimit, mark: ProgressMark, now: Duration) -> Option<Stalled> {
        let _ = watch.look(mark, now);
        limit.check(watch, now).err()
    }

    #[test]
    fn a_decision_is_waited_for_as_long_as_the_user_says() {
        let (mut watch, limit) = (ProgressWatch::default(), StallLimit::new(4 * SECOND));
        let mut look = |mark, now| look(&mut watch, limit, mark, now);
        assert_eq!(look(stands(Phase::Certifying, 0), 10 * SECOND), None);
        assert_eq!(look(stands(Phase::Certifying, 0), 14 * SECOND), None);
        assert_eq!(look(stands(Phase::Certifying, 1), 15 * SECOND), None, "a step");
        assert_eq!(look(stands(Phase::Certifying, 1), 19 * SECOND), None);
        let stalled = Stalled::new(Phase::Certifying, 5 * SECOND);
        assert_eq!(look(stands(Phase::Certifying, 1), 20 * SECOND), Some(stalled));
        watch.restart();
        assert_eq!(self::look(&mut watch, limit, stands(Phase::Certifying, 1), 90 * SECOND), None);
    }

    #[test]
    fn bytes_that_move_and_no_wish_have_no_such_bound() {
        let (mut watch, limit) = (ProgressWatch::default(), StallLimit::new(SECOND));
        let sending = ProgressMark { phase: None, steps: 0 };
        for second in 0..100 {
            assert_eq!(look(&mut watch, limit, stands(Phase::Reading, 0), second * SECOND), None);
        }
        for second in 0..100 {
            assert_eq!(look(&mut watch, limit, sending, second * SECOND), None);
        }
        let (mut watch, none) = (ProgressWatch::default(), StallLimit::new(Duration::ZERO));
        assert_eq!(look(&mut watch, none, stands(Phase::Offered, 0), SECOND), None);
        assert_eq!(look(&mut watch, none, stands(Phase::Offered, 0), 80 * SECOND), None);
    }
}
