//! Decides when a server is dialled again.

use std::time::Duration;

use vouch_core::message::Code;

use crate::backoff::Backoff;

/// Pauses between attempts double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause after a permanent refusal. The operator may start another server at the same address.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A link that lasted this long resets the backoff.
const STABLE: Duration = Duration::from_secs(10);
/// A link that a new epoch ended resets the backoff already if it lasted this long. That is no failure; otherwise changes that follow each other
/// quickly would keep replicas away for seconds. A server that pretends it at once gains nothing.
const STABLE_UNTIL_EPOCH: Duration = Duration::from_secs(1);

/// Why a link ended, or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// One end refused the link, with this code.
    Refused(Code),
    /// The server speaks another version of the protocol.
    AnotherVersion,
    /// The connection failed.
    Broken,
}

impl LinkEnd {
    /// Whether dialling again soon would fail in the same way.
    fn is_lasting(self) -> bool {
        match self {
            Self::Refused(code) => {
                matches!(code, Code::AnotherCluster | Code::Version | Code::NotAuthenticated | Code::NotAdmitted)
            }
            Self::AnotherVersion => true,
            Self::Broken => false,
        }
    }
}

/// The reaction to the end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redial {
    /// The pause before the next attempt.
    pub after: Duration,
    /// Whether the refusal is permanent, which is reported to the operator.
    pub is_refused_for_good: bool,
}

/// The backoff between attempts to reach one server.
#[derive(Debug)]
pub struct DialBackoff(Backoff);

impl Default for DialBackoff {
    fn default() -> Self {
        Self(Backoff::new(FIRST_PAUSE, LONGEST_PAUSE))
    }
}

impl DialBackoff {
    /// A link has ended. `lasted`: the time since it was dialled.
    pub fn ended(&mut self, end: LinkEnd, lasted: Duration) -> Redial {
        if end.is_lasting() {
            return Redial { after: REFUSED_PAUSE, is_refused_for_good: true };
        }
        let stable = if end == LinkEnd::Refused(Code::NewEpoch) { STABLE_UNTIL_EPOCH } else { STABLE };
        if lasted > stable {
            self.0.reset();
        }
        Redial { after: self.0.pause(), is_refused_for_good: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(backoff: &mut DialBackoff, lasted: u64) -> u128 {
        let redial = backoff.ended(LinkEnd::Broken, Duration::from_secs(lasted));
        assert!(!redial.is_refused_for_good);
        redial.after.as_millis()
    }

    #[test]
    fn pauses_double_to_five_seconds_and_reset_after_a_stable_link() {
        let mut backoff = DialBackoff::default();
        let pauses: Vec<_> = (0..7).map(|_| pause(&mut backoff, 10)).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(&mut backoff, 11), 200);
        assert_eq!(pause(&mut backoff, 0), 400);
    }

    #[test]
    fn a_new_epoch_is_no_failure() {
        let mut backoff = DialBackoff::default();
        pause(&mut backoff, 0);
        pause(&mut backoff, 0);
        let mut after = |lasted| backoff.ended(LinkEnd::Refused(Code::NewEpoch), Duration::from_millis(lasted)).after;
        assert_eq!(after(1500), Duration::from_millis(200));
        assert_eq!(after(1500), Duration::from_millis(200));
        assert_eq!(after(900), Duration::from_millis(400));
    }

    #[test]
    fn a_permanent_refusal_is_retried_after_a_minute_without_changing_the_backoff() {
        let mut backoff = DialBackoff::default();
        let for_good = Redial { after: Duration::from_secs(60), is_refused_for_good: true };
        for code in [Code::AnotherCluster, Code::Version, Code::NotAuthenticated, Code::NotAdmitted] {
            assert_eq!(backoff.ended(LinkEnd::Refused(code), Duration::ZERO), for_good, "{code:?}");
        }
        assert_eq!(backoff.ended(LinkEnd::AnotherVersion, Duration::ZERO), for_good);
        for code in [Code::Busy, Code::ShuttingDown, Code::Unexpected] {
            assert!(!backoff.ended(LinkEnd::Refused(code), Duration::from_secs(11)).is_refused_for_good, "{code:?}");
        }
        assert_eq!(pause(&mut backoff, 0), 400);
    }
}
