//! When the operator and the waiting replicas are told what a founding waits for.

use std::time::Duration;

use vouch_core::founding_protocol::Progress;

/// Interval between ticks of a founding: acceptances are relayed, and a founding that is due is proposed.
pub const FOUNDING_TICK: Duration = Duration::from_millis(500);
/// A reason is told once it has been the same for this number of ticks: while replicas connect, it changes at every tick.
const QUIET_TICKS: u32 = 4;

/// The reasons why the founding waits, as they were at the ticks.
#[derive(Debug, Default)]
pub struct WaitingNotice {
    last: String,
    /// Number of ticks for which the last reason has stayed the same.
    quiet: u32,
    told: String,
}

impl WaitingNotice {
    /// Takes the progress at a tick. Returns the reason to report, each one once until another one is reported.
    pub fn tick(&mut self, progress: Progress) -> Option<String> {
        let Progress::Waiting(why) = progress else { return None };
        self.quiet = if why == self.last { self.quiet + 1 } else { 0 };
        self.last.clone_from(&why);
        if self.quiet < QUIET_TICKS || why == self.told {
            return None;
        }
        self.told.clone_from(&why);
        Some(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_when_it_has_settled() {
        let mut notice = WaitingNotice::default();
        let mut ticks = |why: &str, count: usize| -> Vec<String> {
            (0..count).filter_map(|_| notice.tick(Progress::Waiting(why.into()))).collect()
        };
        assert!(ticks("1 is connected", 4).is_empty(), "it may change at the next tick");
        assert!(ticks("2 are connected", 4).is_empty());
        assert_eq!(ticks("2 are connected", 100), ["2 are connected"]);
        assert!(ticks("3 are connected", 4).is_empty());
        assert!(ticks("2 are connected", 100).is_empty(), "it was the last one told");
        assert_eq!(ticks("3 are connected", 5), ["3 are connected"]);
        assert_eq!(ticks("2 are connected", 5), ["2 are connected"]);
    }

    #[test]
    fn nothing_is_told_while_a_founding_is_under_way() {
        let mut notice = WaitingNotice::default();
        for _ in 0..100 {
            assert_eq!(notice.tick(Progress::UnderWay), None);
        }
    }
}
