//! Admission of puts: a put begins once a quorum of members keeps up, or, after a wait, once a quorum is connected.

use std::collections::{BTreeMap, BTreeSet};

use super::health::LinkId;

/// The decision about a put that waits for a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Ask again when members connect or disconnect, and at the next tick.
    Wait,
    /// The put begins.
    Begin {
        /// The members that take part, each with its current link.
        members: BTreeMap<u16, LinkId>,
        /// Connected members that are too slow to take part.
        left_out: BTreeSet<u16>,
    },
    /// Fewer than a quorum are connected, and the put has waited long enough.
    TooFew {
        /// The connected members.
        connected: BTreeSet<u16>,
    },
}

/// Decides from the connected members and the slow ones among them. A put waits for a quorum that keeps up. Once it `has_waited`, slow
/// members take part as well: a slow put is better than none.
pub(super) fn decide(
    connected: BTreeMap<u16, LinkId>,
    slow: BTreeSet<u16>,
    quorum: usize,
    has_waited: bool,
) -> Admission {
    let keeping_up: BTreeMap<u16, LinkId> =
        connected.iter().filter(|(member, _)| !slow.contains(member)).map(|(member, link)| (*member, *link)).collect();
    if keeping_up.len() >= quorum {
        return Admission::Begin { members: keeping_up, left_out: slow };
    }
    if !has_waited {
        return Admission::Wait;
    }
    if connected.len() >= quorum {
        return Admission::Begin { members: connected, left_out: BTreeSet::new() };
    }
    Admission::TooFew { connected: connected.into_keys().collect() }
}
