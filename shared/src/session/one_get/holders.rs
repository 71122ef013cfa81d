//! The order in which a get reads from the members that hold the blob.
//!
//! Only this module depends on what a holder has, see [`Placement`]. Of copies, any holder can deliver any byte, and the next holder
//! continues where the last one failed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::chain::{CommitteeChain, MemberId};
use crate::link::NodeKey;
use crate::message::Holder;
use crate::placement::Placement;

/// How the blobs that a lookup finds are placed: the members name the length of a whole blob.
const LOCATED: Placement = Placement::Copies;

/// The members that claim to hold the blob.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Not tried yet.
    untried: VecDeque<Holder>,
    /// Tried so far; no member is tried twice. A list instead of a set: it is short, and each set type adds to the size of the
    /// wasm module.
    tried: Vec<MemberId>,
    /// Members to try after all others.
    last_resort: Vec<NodeKey>,
}

impl Holders {
    /// Tries these members after all others.
    pub(super) fn try_last(&mut self, members: BTreeSet<NodeKey>) {
        self.last_resort = members.into_iter().collect();
    }

    /// Whether no member was tried yet.
    pub(super) fn none_tried(&self) -> bool {
        self.tried.is_empty()
    }

    /// Whether every member was tried.
    pub(super) fn all_tried(&self, chain: &CommitteeChain) -> bool {
        (0..chain.current().record().n()).all(|index| self.tried.contains(&chain.member(index)))
    }

    /// Takes the answer to a lookup. Holders whose claimed length most others share come first, and members of the last resort
    /// come last.
    pub(super) fn add_located(&mut self, found: Vec<Holder>, chain: &CommitteeChain) {
        let untried = found.into_iter().filter(|holder| !self.tried.contains(&chain.member(holder.member))).collect();
        let record = chain.current().record();
        let is_last_resort = |holder: &Holder| {
            record.member(holder.member).is_some_and(|member| self.last_resort.contains(&member.node_key))
        };
        let (last, first): (Vec<_>, Vec<_>) = by_agreement(untried).into_iter().partition(is_last_resort);
        self.untried = first.into();
        self.untried.extend(last);
    }

    /// The next holder to read from. It counts as tried from now on.
    pub(super) fn next(&mut self, chain: &CommitteeChain) -> Option<Holder> {
        let holder = match LOCATED {
            // Each can serve every range.
            Placement::Copies => self.untried.pop_front()?,
        };
        self.tried.push(chain.member(holder.member));
        Some(holder)
    }
}

/// Sorts holders by the number of holders that claim the same length, most first; otherwise their order stays.
fn by_agreement(mut holders: Vec<Holder>) -> Vec<Holder> {
    let mut ordered = Vec::with_capacity(holders.len());
    let mut claims = BTreeMap::<u64, usize>::new();
    holders.iter().for_each(|holder| *claims.entry(holder.length).or_default() += 1);
    // One round per distinct count of claims; usually all holders agree, so there is one.
    while let Some(most) = holders.iter().filter_map(|holder| claims.get(&holder.length)).max().copied() {
        let is_of_most = |holder: &mut Holder| claims.get(&holder.length) == Some(&most);
        ordered.extend(holders.extract_if(.., is_of_most));
    }
    ordered
}
