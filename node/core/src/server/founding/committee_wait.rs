//! How long a put waits for the committee.

use std::time::Duration;

use vouch_core::founding_protocol::Progress;

/// How long a put waits for connected replicas to accept. Each writes to its disk twice.
const DEADLINE: Duration = Duration::from_secs(15);
/// Interval between looks at a founding that a put waits for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A put that waits for the founding of the committee.
#[derive(Debug, Clone, Copy)]
pub struct CommitteeWait {
    until: Duration,
}

impl CommitteeWait {
    /// Begins to wait.
    pub fn begin(now: Duration) -> Self {
        Self { until: now + DEADLINE }
    }

    /// Decides on a founding that is not complete. Returns the time until the next look.
    ///
    /// # Errors
    /// The put gets no committee. The reason, for the client.
    pub fn next_look(&self, progress: Progress, now: Duration) -> Result<Duration, String> {
        match progress {
            Progress::Waiting(why) => Err(why),
            Progress::UnderWay if now > self.until => {
                Err("the replicas are connected and have not all accepted the committee yet; see their logs".into())
            }
            Progress::UnderWay => Ok(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_waits_for_replicas_that_are_connected_and_for_nobody_else() {
        let began = Duration::from_secs(100);
        let wait = CommitteeWait::begin(began);
        let missing = || Progress::Waiting("replica-1 is missing".into());
        assert_eq!(wait.next_look(missing(), began), Err("replica-1 is missing".into()));
        for waited in [Duration::ZERO, DEADLINE] {
            assert_eq!(wait.next_look(Progress::UnderWay, began + waited), Ok(LOOK_EVERY));
        }
        let late = began + DEADLINE + Duration::from_millis(1);
        let why = wait.next_look(Progress::UnderWay, late).unwrap_err();
        assert!(why.contains("have not all accepted"), "{why}");
        assert_eq!(wait.next_look(missing(), late), Err("replica-1 is missing".into()));
    }
}
