//! Whom a server asks about the ordered log, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

/// Maximum time for one request about the log, with all its attempts.
pub const REQUEST: Duration = Duration::from_secs(25);
/// Maximum time that one member has to have an op decided. Others are asked after that.
pub const DECIDE: Duration = Duration::from_secs(8);
/// Maximum time that one member has to send a proof or a block.
pub const ANSWER: Duration = Duration::from_secs(3);

/// The members to ask, in order: those with the longest logs first, as they claim, and among equals another one each time. A member may
/// lie, so all are asked in turn.
pub fn order(tips: &BTreeMap<u16, u64>, turn: usize) -> Vec<u16> {
    let mut members: Vec<_> = tips.iter().map(|(member, height)| (*member, *height)).collect();
    if !members.is_empty() {
        let first = turn % members.len();
        members.rotate_left(first);
    }
    // Stable: equals keep the order of the turn. Members that are a few blocks apart count as equal: that is a moment's difference.
    let newest = members.iter().map(|(_, height)| *height).max().unwrap_or(0);
    members.sort_by_key(|(_, height)| newest.saturating_sub(*height) > NEAR);
    members.into_iter().map(|(member, _)| member).collect()
}

/// A member so many blocks behind is asked last.
const NEAR: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_take_turns_and_who_is_far_behind_comes_last() {
        let tips = BTreeMap::from([(0, 100), (1, 99), (2, 3), (3, 101)]);
        assert_eq!(order(&tips, 0), [0, 1, 3, 2]);
        assert_eq!(order(&tips, 1), [1, 3, 0, 2]);
        assert_eq!(order(&tips, 3), [3, 0, 1, 2]);
        assert_eq!(order(&tips, 4), order(&tips, 0));
        assert!(order(&BTreeMap::new(), 7).is_empty());
    }

    #[test]
    fn a_liar_about_its_height_hides_nobody() {
        let tips = BTreeMap::from([(0, 5), (1, u64::MAX), (2, 5)]);
        assert_eq!(order(&tips, 0), [1, 0, 2]);
    }
}
