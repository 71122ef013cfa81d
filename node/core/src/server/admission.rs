//! Which puts may begin: those for which a quorum keeps up, or is at least connected once they have waited.

use std::collections::BTreeSet;

/// What becomes of a put that waits for a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Ask again when members have come or gone, or time has passed.
    Wait,
    /// Begin.
    Begin {
        /// Who takes part.
        members: BTreeSet<u16>,
        /// Connected members that are too slow to take part.
        left_out: BTreeSet<u16>,
    },
    /// Fewer than a quorum are connected, and the put has waited long enough.
    TooFew,
}

/// Decides by the members that are connected and those of them that take bytes too slowly. A put waits for a quorum that keeps up; once
/// it `has_waited`, slow members take part as well: a slow put is better than none.
pub(super) fn decide(connected: BTreeSet<u16>, slow: BTreeSet<u16>, quorum: usize, has_waited: bool) -> Admission {
    let keeping_up: BTreeSet<u16> = connected.difference(&slow).copied().collect();
    if keeping_up.len() >= quorum {
        return Admission::Begin { members: keeping_up, left_out: slow };
    }
    if !has_waited {
        return Admission::Wait;
    }
    if connected.len() >= quorum {
        return Admission::Begin { members: connected, left_out: BTreeSet::new() };
    }
    Admission::TooFew
}
