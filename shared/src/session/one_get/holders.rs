//! Whom a get reads from next.
//!
//! The one place that knows what a holder has: today the whole blob, so that any of them can give any byte, and the next one goes on
//! where the last one failed. Blobs that are kept in fragments are read through another choice than this.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::chain::{CommitteeChain, MemberId};
use crate::link::NodeKey;
use crate::message::Holder;

/// The members that say they hold the blob.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Not tried yet.
    waiting: VecDeque<Holder>,
    /// Tried so far: nobody is asked twice. Lists and no sets: they are short, and each type of set adds to what a browser downloads.
    tried: Vec<MemberId>,
    /// Tried after all others.
    last: Vec<NodeKey>,
}

impl Holders {
    /// Tries these after all others.
    pub(super) fn try_last(&mut self, members: BTreeSet<NodeKey>) {
        self.last = members.into_iter().collect();
    }

    /// Whether nobody was tried yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.tried.is_empty()
    }

    /// Whether every member was tried.
    pub(super) fn are_all_tried(&self, chain: &CommitteeChain) -> bool {
        (0..chain.current().record().n()).all(|index| self.tried.contains(&chain.member(index)))
    }

    /// Takes the answer to a lookup: those whose claim of the length most others share come first, suspects last.
    pub(super) fn learn(&mut self, found: Vec<Holder>, chain: &CommitteeChain) {
        let untried = found.into_iter().filter(|holder| !self.tried.contains(&chain.member(holder.member))).collect();
        let record = chain.current().record();
        let is_last =
            |holder: &Holder| record.member(holder.member).is_some_and(|member| self.last.contains(&member.node_key));
        let (last, first): (Vec<_>, Vec<_>) = by_agreement(untried).into_iter().partition(is_last);
        self.waiting = first.into();
        self.waiting.extend(last);
    }

    /// The next one, who counts as tried from now on.
    pub(super) fn next(&mut self, chain: &CommitteeChain) -> Option<Holder> {
        let holder = self.waiting.pop_front()?;
        self.tried.push(chain.member(holder.member));
        Some(holder)
    }
}

/// Those whose claim of the length most others share come first, else in their order.
fn by_agreement(mut holders: Vec<Holder>) -> Vec<Holder> {
    let mut ordered = Vec::with_capacity(holders.len());
    let mut claims = BTreeMap::<u64, usize>::new();
    holders.iter().for_each(|holder| *claims.entry(holder.length).or_default() += 1);
    // most agree on one: this goes round once for each different claim
    while let Some(most) = holders.iter().filter_map(|holder| claims.get(&holder.length)).max().copied() {
        let is_of_most = |holder: &mut Holder| claims.get(&holder.length) == Some(&most);
        ordered.extend(holders.extract_if(.., is_of_most));
    }
    ordered
}
