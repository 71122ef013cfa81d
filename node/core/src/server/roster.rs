//! The connected replicas and the committee. No IO: `H` is the shell's handle of a replica's link.

use std::collections::BTreeMap;

use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;

use super::health::LinkId;

/// A connected replica.
#[derive(Debug, Clone)]
struct ConnectedReplica<H> {
    link: LinkId,
    handle: H,
}

/// A replica's membership in the server's committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The replica is the committee's member with this index.
    Member(u16),
    /// There is no committee yet.
    Candidate,
    /// The committee does not include the replica.
    Standby,
}

/// All connected replicas, and the committees.
#[derive(Debug)]
pub struct Roster<H> {
    chain: Option<CommitteeChain>,
    connected: BTreeMap<NodeKey, ConnectedReplica<H>>,
}

impl<H> Default for Roster<H> {
    fn default() -> Self {
        Self { chain: None, connected: BTreeMap::new() }
    }
}

impl<H: Clone> Roster<H> {
    /// The committees; `None` before the first.
    pub fn chain(&self) -> Option<&CommitteeChain> {
        self.chain.as_ref()
    }

    /// The number of connected replicas, members or not.
    pub fn count(&self) -> usize {
        self.connected.len()
    }

    /// A replica has a new link. `true` if it replaces an earlier one.
    pub(super) fn join(&mut self, link: LinkId, handle: H) -> bool {
        self.connected.insert(link.node_key, ConnectedReplica { link, handle }).is_some()
    }

    /// A link has ended. `false` if the replica has a newer one, which stays.
    pub(super) fn leave(&mut self, link: &LinkId) -> bool {
        let is_current = self.connected.get(&link.node_key).is_some_and(|connected| connected.link == *link);
        if is_current {
            self.connected.remove(&link.node_key);
        }
        is_current
    }

    /// Forgets all links: their replicas joined as members of an epoch that has ended.
    pub(super) fn clear(&mut self) {
        self.connected.clear();
    }

    /// Adopts these committees; the last one is current.
    pub(super) fn adopt(&mut self, chain: CommitteeChain) {
        self.chain = Some(chain);
    }

    /// A replica's membership.
    pub fn membership(&self, node_key: &NodeKey) -> Membership {
        match &self.chain {
            None => Membership::Candidate,
            Some(chain) => chain.current().record().position(node_key).map_or(Membership::Standby, Membership::Member),
        }
    }

    /// The handle of a connected replica.
    pub fn handle(&self, node_key: &NodeKey) -> Option<&H> {
        self.connected.get(node_key).map(|connected| &connected.handle)
    }

    /// The link of a connected member.
    pub fn link(&self, member: u16) -> Option<LinkId> {
        let node_key = self.chain()?.current().record().members().get(usize::from(member))?.node_key;
        self.connected.get(&node_key).map(|connected| connected.link)
    }

    /// Every connected replica with its membership.
    pub fn connected(&self) -> impl Iterator<Item = (Membership, &H)> {
        self.connected.iter().map(|(node_key, connected)| (self.membership(node_key), &connected.handle))
    }

    /// The handle of each connected member, by index.
    pub fn members(&self) -> BTreeMap<u16, H> {
        self.connected()
            .filter_map(|(membership, handle)| match membership {
                Membership::Member(position) => Some((position, handle.clone())),
                Membership::Candidate | Membership::Standby => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TestCommittee, node_key};

    fn link(i: u8, number: u64) -> LinkId {
        LinkId { node_key: node_key(i), number }
    }

    #[test]
    fn replicas_in_the_committee_are_members_and_others_are_standbys() {
        let mut roster = Roster::default();
        for i in 1..=3 {
            assert!(!roster.join(link(i, i.into()), i));
            assert_eq!(roster.membership(&node_key(i)), Membership::Candidate);
        }
        roster.adopt(TestCommittee::of([1, 2]).committee.into());
        let members: Vec<u8> = roster.members().into_values().collect();
        assert!(members.contains(&1) && members.contains(&2) && members.len() == 2);
        assert_eq!(roster.membership(&node_key(3)), Membership::Standby);
        let Membership::Member(member) = roster.membership(&node_key(1)) else { panic!("it is a member") };
        assert_eq!(roster.link(member), Some(link(1, 1)));
        assert_eq!((roster.link(2), roster.handle(&node_key(3))), (None, Some(&3)));
    }

    #[test]
    fn the_end_of_an_older_link_keeps_the_newer_one() {
        let mut roster = Roster::default();
        roster.join(link(1, 1), 1);
        assert!(roster.join(link(1, 2), 2));
        assert_eq!(roster.count(), 1);
        assert!(!roster.leave(&link(1, 1)));
        assert_eq!(roster.handle(&node_key(1)), Some(&2));
        assert!(roster.leave(&link(1, 2)));
        assert_eq!(roster.count(), 0);
    }
}
