//! How long a client waits for what a server has to decide, by its user's wish.

use std::time::Duration;

use vouch_core::session::{Phase, Standing};

use super::ClientError;

/// Bounds each wait for a decision of the server by the time that a put or a get is tried again for without getting further. A
/// server waits longer than that for replicas that do not answer. Time in which bytes move is not bounded here: a slow
/// connection stands still for seconds, too.
#[derive(Debug, Clone, Copy)]
pub struct StallLimit {
    /// `None`: the session's own deadlines only.
    limit: Option<Duration>,
    last: Option<(Standing, Duration)>,
}

impl StallLimit {
    /// By the time to try again for; zero bounds nothing.
    pub fn new(retry: Duration) -> Self {
        // a quarter more: by default, a server that waits for replicas as long as it ever does says itself which one failed
        let limit = (!retry.is_zero()).then(|| retry.saturating_add(retry / 4));
        Self { limit, last: None }
    }

    /// The longest wait; `None` where only the session's deadlines count.
    pub(super) fn limit(self) -> Option<Duration> {
        self.limit
    }

    /// Looks at where a session stands, about once a second; `now` is monotonic. Gives the phase in which it has stood for too long.
    pub(super) fn look(&mut self, standing: Standing, now: Duration) -> Option<Stalled> {
        let since = match self.last {
            Some((last, since)) if last == standing => since,
            _ => now,
        };
        self.last = Some((standing, since));
        let phase = standing.phase.filter(|phase| *phase != Phase::Reading)?;
        let after = now.saturating_sub(since);
        self.limit.filter(|limit| after >= *limit).map(|_| Stalled { phase, after })
    }

    /// The time until now was the client's own.
    pub(super) fn restart(&mut self) {
        self.last = None;
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
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn stands(phase: Phase, steps: u64) -> Standing {
        Standing { phase: Some(phase), steps }
    }

    #[test]
    fn a_decision_is_waited_for_as_long_as_the_user_says() {
        let mut limit = StallLimit::new(4 * SECOND);
        assert_eq!(limit.look(stands(Phase::Certifying, 0), 10 * SECOND), None);
        assert_eq!(limit.look(stands(Phase::Certifying, 0), 14 * SECOND), None);
        assert_eq!(limit.look(stands(Phase::Certifying, 1), 15 * SECOND), None, "a step");
        assert_eq!(limit.look(stands(Phase::Certifying, 1), 19 * SECOND), None);
        let stalled = Stalled::new(Phase::Certifying, 5 * SECOND);
        assert_eq!(limit.look(stands(Phase::Certifying, 1), 20 * SECOND), Some(stalled));
        limit.restart();
        assert_eq!(limit.look(stands(Phase::Certifying, 1), 90 * SECOND), None);
    }

    #[test]
    fn bytes_that_move_and_no_wish_have_no_such_bound() {
        let mut limit = StallLimit::new(SECOND);
        let sending = Standing { phase: None, steps: 0 };
        for second in 0..100 {
            assert_eq!(limit.look(stands(Phase::Reading, 0), second * SECOND), None);
        }
        for second in 0..100 {
            assert_eq!(limit.look(sending, second * SECOND), None);
        }
        let mut none = StallLimit::new(Duration::ZERO);
        assert_eq!(none.look(stands(Phase::Offered, 0), SECOND), None);
        assert_eq!(none.look(stands(Phase::Offered, 0), 80 * SECOND), None);
    }
}
