//! Members that failed where they said they could be counted on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For how long: a disk may have been repaired.
const SUSPICION: Duration = Duration::from_secs(600);

/// Members, with the time until which every other one is tried first.
#[derive(Debug, Default)]
pub(crate) struct Suspects(Mutex<BTreeMap<u16, Duration>>);

impl Suspects {
    fn map(&self) -> MutexGuard<'_, BTreeMap<u16, Duration>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, member: u16, now: Duration) {
        self.map().insert(member, now + SUSPICION);
    }

    /// Those suspected now.
    pub(crate) fn now(&self, now: Duration) -> BTreeSet<u16> {
        self.map().iter().filter(|(_, until)| now < **until).map(|(member, _)| *member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_suspected_for_a_while() {
        let suspects = Suspects::default();
        let now = |seconds| suspects.now(Duration::from_secs(seconds)).into_iter().collect::<Vec<_>>();
        suspects.add(0, Duration::from_secs(100));
        assert_eq!(now(100), [0]);
        suspects.add(2, Duration::from_secs(200));
        assert_eq!(now(200), [0, 2]);
        assert_eq!(now(700), [2]);
        assert_eq!(now(800), [0_u16; 0]);
    }
}
