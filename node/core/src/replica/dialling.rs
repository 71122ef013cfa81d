//! When a server is dialled again.

use std::time::Duration;

use vouch_core::message::Code;

use crate::backoff::Backoff;

/// Between tries to reach a server: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Before the next try of a server that refused for a reason that lasts: its operator may start another one there.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A link that held so long starts the pauses anew.
const STABLE: Duration = Duration::from_secs(10);

/// How a link ended, or was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// One end refused the other, with this code.
    Refused(Code),
    /// The server speaks another version of the protocol.
    AnotherVersion,
    /// It broke.
    Broken,
}

impl LinkEnd {
    /// Whether dialling again soon mends nothing.
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

/// What follows the end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redial {
    /// When to dial again.
    pub after: Duration,
    /// Whether the operator hears that the server refused for good.
    pub is_refused_for_good: bool,
}

/// The pauses between tries to reach one server.
#[derive(Debug)]
pub struct DialBackoff(Backoff);

impl Default for DialBackoff {
    fn default() -> Self {
        Self(Backoff::new(FIRST_PAUSE, LONGEST_PAUSE))
    }
}

impl DialBackoff {
    /// A link ended; `lasted`: since it was dialled.
    pub fn ended(&mut self, end: LinkEnd, lasted: Duration) -> Redial {
        if end.is_lasting() {
            return Redial { after: REFUSED_PAUSE, is_refused_for_good: true };
        }
        if lasted > STABLE {
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
    fn pauses_double_to_five_seconds_and_begin_anew_after_a_link_that_held() {
        let mut backoff = DialBackoff::default();
        let pauses: Vec<_> = (0..7).map(|_| pause(&mut backoff, 10)).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause(&mut backoff, 11), 200);
        assert_eq!(pause(&mut backoff, 0), 400);
    }

    #[test]
    fn a_refusal_that_lasts_is_tried_again_after_a_minute_and_costs_no_pause() {
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
