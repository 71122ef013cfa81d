//! Chooses the resume offset of a put of copies from the members' offsets: bytes that a quorum has are not sent again.

use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of bytes that are sent again so that no member is left out.
const MOST_SENT_AGAIN: u64 = 32 << 20;

/// As [`choose_among_all`], without the doubted members if the others are a quorum: a doubted claim must leave no other member out.
pub fn choose(answers: &BTreeMap<u16, u64>, doubted: &BTreeSet<u16>, quorum: usize) -> Option<u64> {
    let trusted = answers.iter().filter(|(member, _)| !doubted.contains(member)).map(|(_, offset)| *offset);
    choose_among_all(trusted, quorum).or_else(|| choose_among_all(answers.values().copied(), quorum))
}

/// The resume offset for these members' offsets: the least one or, if that is too far below the greatest offset that a quorum has reached,
/// the latter. `None` if fewer than a quorum have answered.
fn choose_among_all(answers: impl IntoIterator<Item = u64>, quorum: usize) -> Option<u64> {
    let mut descending: Vec<u64> = answers.into_iter().collect();
    descending.sort_unstable_by(|a, b| b.cmp(a));
    let of_quorum = *descending.get(quorum.checked_sub(1)?)?;
    let least = *descending.last()?;
    Some(if of_quorum - least <= MOST_SENT_AGAIN { least } else { of_quorum })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn at_most_a_bounded_part_is_sent_again_for_one_member() {
        for (answers, quorum, expected) in [
            (vec![], 1, None),
            (vec![9], 0, None),
            (vec![40 * MIB, 40 * MIB], 3, None),
            (vec![0], 1, Some(0)),
            (vec![0, 0, 0, 0], 3, Some(0)),
            (vec![64 * MIB, 64 * MIB, 64 * MIB, 64 * MIB], 3, Some(64 * MIB)),
            // The member that lags behind gets its bytes, up to the maximum.
            (vec![64 * MIB, 32 * MIB, 64 * MIB, 64 * MIB], 3, Some(32 * MIB)),
            (vec![64 * MIB, 32 * MIB - 1, 64 * MIB, 64 * MIB], 3, Some(64 * MIB)),
            // A member ahead of a quorum changes nothing, whether honest or not.
            (vec![0, u64::MAX, 0, 0], 3, Some(0)),
            (vec![0, 40 * MIB, 64 * MIB, 48 * MIB], 3, Some(40 * MIB)),
            (vec![40 * MIB, 64 * MIB, 48 * MIB], 3, Some(40 * MIB)),
            // If all members are needed, the least offset is chosen.
            (vec![0, 64 * MIB], 2, Some(0)),
            (vec![0, 0, 0, 64 * MIB, 64 * MIB, 64 * MIB, 64 * MIB], 5, Some(0)),
        ] {
            assert_eq!(choose_among_all(answers.clone(), quorum), expected, "{answers:?}, quorum {quorum}");
        }
    }

    #[test]
    fn a_doubted_member_leaves_no_other_member_out() {
        let answers: BTreeMap<u16, u64> = [(0, 64 * MIB), (1, 64 * MIB), (2, 64 * MIB), (3, 0)].into();
        assert_eq!(choose(&answers, &BTreeSet::new(), 3), Some(64 * MIB));
        assert_eq!(choose(&answers, &BTreeSet::from([2]), 3), Some(0));
        assert_eq!(choose(&answers, &BTreeSet::from([3]), 3), Some(64 * MIB), "it is left out itself");
        assert_eq!(choose(&answers, &BTreeSet::from([1, 2]), 3), Some(64 * MIB), "there is nobody else");
        assert_eq!(choose(&[(0, MIB)].into(), &BTreeSet::from([0]), 3), None);
    }
}
