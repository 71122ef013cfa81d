//! While a change of members is approved, a blob must be held by enough of the members that stay: the next committee answers for it as soon
//! as it is active, and those that leave may be gone then.

use std::collections::{BTreeMap, BTreeSet};

use vouch_core::committee::CommitteeRecord;
use vouch_core::link::NodeKey;
use vouch_core::quorum;

/// The members that stay in the next committee, and how many of them must hold a new blob.
///
/// Of the members that stay, at most as many may be down as the next committee tolerates. More cannot be asked for: otherwise puts would fail
/// because of the change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StayingMembers {
    members: BTreeSet<u16>,
    needed: usize,
}

impl StayingMembers {
    /// `next`: the nodes of the next committee.
    pub(super) fn new(committee: &CommitteeRecord, next: &BTreeSet<NodeKey>) -> Self {
        let members: BTreeSet<u16> = next.iter().filter_map(|node_key| committee.position(node_key)).collect();
        let n = u16::try_from(next.len()).unwrap_or(u16::MAX);
        let needed = members.len().saturating_sub(quorum::tolerated_faults(n).into());
        Self { members, needed }
    }

    /// Whether these members are a quorum that includes enough of those that stay: they suffice for a certificate.
    pub fn suffice<'a>(&self, members: impl IntoIterator<Item = &'a u16>, quorum: usize) -> bool {
        let (mut all, mut staying) = (0, 0);
        for member in members {
            all += 1;
            staying += usize::from(self.members.contains(member));
        }
        all >= quorum && staying >= self.needed
    }

    /// The members that stay and are not among these.
    pub fn without(&self, holders: &BTreeSet<u16>) -> Vec<u16> {
        self.members.difference(holders).copied().collect()
    }
}

/// What the members say about the next committee, as each has executed the log.
#[derive(Debug, Default)]
pub(super) struct Succession {
    told: BTreeMap<u16, BTreeSet<NodeKey>>,
    /// What is believed.
    next: BTreeSet<NodeKey>,
    staying: StayingMembers,
}

impl Succession {
    /// A member names the nodes of the next committee; none while no change is approved. The server believes what f + 1 members name alike: one
    /// of them is honest. A liar alone could make puts fail.
    pub(super) fn told(&mut self, committee: &CommitteeRecord, member: u16, next: BTreeSet<NodeKey>) {
        match next.is_empty() {
            true => drop(self.told.remove(&member)),
            false => drop(self.told.insert(member, next)),
        }
        let needed = usize::from(quorum::tolerated_faults(committee.n())) + 1;
        let mut named = BTreeMap::<&BTreeSet<NodeKey>, usize>::new();
        self.told.values().for_each(|next| *named.entry(next).or_default() += 1);
        let most = named.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count >= needed);
        let next = most.map(|(next, _)| next.clone());
        self.staying = next.as_ref().map(|next| StayingMembers::new(committee, next)).unwrap_or_default();
        self.next = next.unwrap_or_default();
    }

    /// Whether a node is in the next committee, as far as members are believed.
    pub(super) fn includes(&self, node_key: &NodeKey) -> bool {
        self.next.contains(node_key)
    }

    /// The members that stay, as far as members are believed.
    pub(super) fn staying(&self) -> &StayingMembers {
        &self.staying
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TestCommittee, node_key};

    fn staying(n: u8, next: impl IntoIterator<Item = u8>) -> StayingMembers {
        let committee = TestCommittee::of(1..=n).committee;
        StayingMembers::new(committee.record(), &next.into_iter().map(node_key).collect())
    }

    #[test]
    fn those_that_stay_must_hold_a_blob_but_for_as_many_as_the_next_committee_tolerates() {
        // 10 become 7, which tolerate 2; 7 become 5; one of 4 is replaced; 4 become 10; one joins four; 4 become 1; all leave.
        for (n, next, members, needed) in [
            (10, (1..=7).collect(), 7, 5),
            (7, (1..=5).collect(), 5, 4),
            (4, vec![1, 2, 3, 9], 3, 2),
            (4, (1..=10).collect(), 4, 1),
            (4, (1..=5).collect(), 4, 3),
            (4, vec![1], 1, 1),
            (4, vec![11, 12, 13, 14], 0, 0),
        ] {
            let staying = staying(n, next.clone());
            assert_eq!((staying.members.len(), staying.needed), (members, needed), "{n} {next:?}");
            let enough: Vec<u16> = staying.members.iter().copied().take(needed).collect();
            assert!(staying.suffice(&enough, needed), "{n} {next:?}");
            assert!(needed == 0 || !staying.suffice(&enough[1..], 0), "{n} {next:?}");
            assert!(!staying.suffice(&enough, needed + 1), "no quorum");
            let held = enough.iter().copied().collect();
            assert_eq!(staying.without(&held).len(), members - needed);
        }
        assert!(StayingMembers::default().suffice([], 0), "no change is approved");
    }

    #[test]
    fn one_liar_changes_nothing_and_f_plus_one_members_are_believed() {
        let committee = TestCommittee::of(1..=4).committee;
        let next: BTreeSet<NodeKey> = [1, 2, 3, 9].map(node_key).into();
        let (record, mut succession) = (committee.record(), Succession::default());
        succession.told(record, 0, [node_key(1)].into());
        succession.told(record, 1, next.clone());
        assert_eq!(*succession.staying(), StayingMembers::default());
        succession.told(record, 2, next.clone());
        assert_eq!(*succession.staying(), StayingMembers::new(record, &next));
        assert!(succession.includes(&node_key(9)) && !succession.includes(&node_key(4)));
        succession.told(record, 1, BTreeSet::new());
        assert_eq!(*succession.staying(), StayingMembers::default());
        assert!(!succession.includes(&node_key(9)));
    }

    #[test]
    fn a_forced_change_names_all_members_so_that_no_put_waits_for_it() {
        for (n, joining) in [(4, 0), (4, 1), (4, 6), (1, 3), (7, 30)] {
            let committee = TestCommittee::of(1..=n).committee;
            let staying = staying(n, 1..=n + joining);
            let quorum = usize::from(committee.record().quorum());
            let least: Vec<u16> = (0..).take(quorum).collect();
            assert!(staying.suffice(&least, quorum), "{n} {joining}");
        }
    }
}
