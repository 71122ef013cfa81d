//! Finds where two chains of one cluster part.

use super::CommitteeChain;
use crate::certificate::Certificate;
use crate::statement::Handoff;

/// How two verified chains of one cluster compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainComparison {
    /// As far as both go, they are the same.
    Same,
    /// One committee signed two different handoffs. The epoch is in the certificates.
    Fork(Box<[Certificate<Handoff>; 2]>),
    /// They have no committee in common, so that it cannot be shown where they parted: they start too late, or end too early.
    Apart,
}

impl CommitteeChain {
    /// Compares this chain with another one of the same cluster. Both were verified.
    pub fn compare(&self, other: &Self) -> ChainComparison {
        let first = self.first.record().epoch().max(other.first.record().epoch());
        let last = self.current.record().epoch().min(other.current.record().epoch());
        let is_shared = |epoch| match (self.record(epoch), other.record(epoch)) {
            (Some(own), Some(other)) => own.digest() == other.digest(),
            _ => false,
        };
        if first > last || !is_shared(first) {
            return ChainComparison::Apart;
        }
        for epoch in first + 1..=last {
            let handoffs = [self, other].map(|chain| chain.place(epoch).and_then(|place| chain.later.get(place)));
            if let [Some(own), Some(other)] = handoffs
                && own.identity != other.identity
            {
                return ChainComparison::Fork(Box::new([own.handoff.clone(), other.handoff.clone()]));
            }
        }
        ChainComparison::Same
    }
}
