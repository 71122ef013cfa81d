//! How long members that are slower than a quorum are waited for.

use std::time::Duration;

/// Once a quorum is safe, the others get half as long again as the quorum took, within these bounds.
pub const LEAST_GRACE: Duration = Duration::from_millis(50);
const MOST_GRACE: Duration = Duration::from_secs(2);

/// One wait, for a quorum and a little longer for the rest.
#[derive(Debug, Clone, Copy)]
pub struct GracePeriod {
    since: Duration,
    enough_at: Option<Duration>,
}

impl GracePeriod {
    /// The wait begins now.
    pub fn new(now: Duration) -> Self {
        Self { since: now, enough_at: None }
    }

    /// When the wait began.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// A quorum is safe, and either everybody is who is waited for, or they had their grace.
    pub fn is_over(&mut self, done: usize, quorum: usize, awaited: usize, now: Duration) -> bool {
        if done < quorum {
            return false;
        }
        self.enough_at.get_or_insert(now);
        awaited == 0 || !self.is_in_time(now)
    }

    /// Whether an answer that comes now is in time.
    pub fn is_in_time(&self, now: Duration) -> bool {
        self.until().is_none_or(|until| now < until)
    }

    /// Until when an answer is in time; `None` while there is no quorum.
    pub fn until(&self) -> Option<Duration> {
        self.enough_at.map(|reached| reached + ((reached - self.since) / 2).clamp(LEAST_GRACE, MOST_GRACE))
    }
}
