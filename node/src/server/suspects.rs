//! Members that failed where they said they could be counted on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For how long: a disk may have been repaired.
const SUSPICION: Duration = Duration::from_secs(600);

/// Members, with the time until which somebody else comes first.
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

    /// Leaves suspects out, unless nobody would be left.
    pub(crate) fn leave_out<T>(&self, holders: &mut BTreeMap<u16, T>, now: Duration) {
        let suspects = self.now(now);
        if holders.keys().any(|member| !suspects.contains(member)) {
            holders.retain(|member, _| !suspects.contains(member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_are_asked_when_nobody_else_is_left_and_after_a_while() {
        let suspects = Suspects::default();
        let left = |members: &[u16], seconds| {
            let mut holders: BTreeMap<u16, ()> = members.iter().map(|member| (*member, ())).collect();
            suspects.leave_out(&mut holders, Duration::from_secs(seconds));
            holders.into_keys().collect::<Vec<_>>()
        };
        suspects.add(0, Duration::from_secs(100));
        assert_eq!(left(&[0, 1, 2], 100), [1, 2]);
        assert_eq!(left(&[0], 100), [0]);
        suspects.add(2, Duration::from_secs(200));
        assert_eq!(left(&[0, 2], 200), [0, 2]);
        assert_eq!(left(&[0, 1, 2], 700), [0, 1]);
    }
}
