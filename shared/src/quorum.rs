//! The number of faulty members that a committee tolerates, and the number that must sign. The specification gives the reasons
//! below its table under "Committees".

use crate::bugs::{self, Bug};

/// f, the number of faulty members that a committee of `n` tolerates: ⌊(n−1)/3⌋.
pub fn tolerated_faults(n: u16) -> u16 {
    n.saturating_sub(1) / 3
}

/// n − f, the number of members that must sign a statement.
pub fn quorum(n: u16) -> u16 {
    n - tolerated_faults(n) - u16::from(bugs::has(Bug::QuorumMinusOne) && n > 1)
}

/// n − 2f, the number of honest members that signed at least, and hold what a statement of theirs is about.
pub fn honest_holders(n: u16) -> u16 {
    n - 2 * tolerated_faults(n)
}

/// The faults that a committee of `n` tolerates, as a sentence for people.
pub fn tolerance(n: u16) -> String {
    let members = if n == 1 { "member" } else { "members" };
    match tolerated_faults(n) {
        0 => format!("{n} {members}: tolerates no fault, every member must be up (4 members tolerate 1)"),
        f => format!("{n} {members}: tolerates {f} dead, slow or lying; {} must sign", quorum(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_MEMBERS;

    #[test]
    fn two_quorums_share_an_honest_member() {
        for n in 1..=MAX_MEMBERS {
            let (f, q) = (tolerated_faults(n), quorum(n));
            assert!(3 * f < n, "n = {n}");
            assert!(2 * q - n > f, "n = {n}: two quorums share more than f members");
            assert!(q + f <= n, "n = {n}: f may stay away");
            assert!(q - f > f, "n = {n}: honest signers reach f + 1");
        }
    }

    #[test]
    fn values_match_the_specifications_table() {
        let table = [(1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 1, 3), (5, 1, 4), (6, 1, 5), (7, 2, 5), (10, 3, 7)];
        for (n, f, q) in table.into_iter().chain([(13, 4, 9), (31, 10, 21), (100, 33, 67), (1000, 333, 667)]) {
            assert_eq!((tolerated_faults(n), quorum(n)), (f, q), "n = {n}");
            let row = format!("| {n} | {f} | {q} | {} |", honest_holders(n));
            assert!(include_str!("../PROTOCOL.md").contains(&row), "PROTOCOL.md lacks {row}");
        }
    }
}
