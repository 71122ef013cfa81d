//! The grace period for members that are slower than a quorum.

use std::time::Duration;

/// After a quorum has answered, the others get half of the time that the quorum took, within these bounds.
pub const LEAST_GRACE: Duration = Duration::from_millis(50);
const MOST_GRACE: Duration = Duration::from_secs(2);

/// A wait for a quorum, and then for a grace period for the others.
#[derive(Debug, Clone, Copy)]
pub struct GracePeriod {
    since: Duration,
    enough_at: Option<Duration>,
}

impl GracePeriod {
    /// A wait that begins now.
    pub fn new(now: Duration) -> Self {
        Self { since: now, enough_at: None }
    }

    /// The time at which the wait began.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Whether a quorum has answered and either no member is `awaited` any more or the grace period has passed.
    pub fn is_over(&mut self, done: usize, quorum: usize, awaited: usize, now: Duration) -> bool {
        if done < quorum {
            return false;
        }
        self.enough_at.get_or_insert(now);
        awaited == 0 || !self.is_in_time(now)
    }

    /// Whether an answer at this time is in time.
    pub fn is_in_time(&self, now: Duration) -> bool {
        self.until().is_none_or(|until| now < until)
    }

    /// The time until which an answer is in time; `None` until a quorum has answered.
    pub fn until(&self) -> Option<Duration> {
        self.enough_at.map(|reached| reached + ((reached - self.since) / 2).clamp(LEAST_GRACE, MOST_GRACE))
    }
}
