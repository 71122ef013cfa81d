//! Who is connected, and who is a member. No IO: `H` is whatever reaches a replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;

/// One connected replica.
#[derive(Debug, Clone)]
struct ConnectedReplica<H> {
    /// Counts joins, so that an old link's end does not remove a new link.
    arrival: u64,
    handle: H,
}

/// What a replica is on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It is in the committee, at this position.
    Member(u16),
    /// There is no committee yet.
    Candidate,
    /// There is a committee without it.
    Standby,
}

/// Everybody connected.
#[derive(Debug)]
pub struct Roster<H> {
    committee: Option<Arc<Committee>>,
    connected: BTreeMap<NodeKey, ConnectedReplica<H>>,
    arrivals: u64,
}

impl<H: Clone> Roster<H> {
    /// Nobody is connected. `committee` is the one remembered.
    pub fn new(committee: Option<Arc<Committee>>) -> Self {
        Self { committee, connected: BTreeMap::new(), arrivals: 0 }
    }

    /// The committee, once there is one.
    pub fn committee(&self) -> Option<&Arc<Committee>> {
        self.committee.as_ref()
    }

    /// The number of replicas connected, members or not.
    pub fn count(&self) -> usize {
        self.connected.len()
    }

    /// A replica proved its node key and joined; a link that it had before is replaced. Returns the arrival number for
    /// [`Roster::leave`].
    pub fn join(&mut self, node_key: NodeKey, handle: H) -> u64 {
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.connected.insert(node_key, ConnectedReplica { arrival, handle });
        arrival
    }

    /// What a replica is to this server.
    pub fn membership(&self, node_key: &NodeKey) -> Membership {
        match &self.committee {
            None => Membership::Candidate,
            Some(committee) => committee.record().position(node_key).map_or(Membership::Standby, Membership::Member),
        }
    }

    /// A link ended. Nothing happens when the replica has a newer one.
    pub fn leave(&mut self, node_key: &NodeKey, arrival: u64) {
        if self.connected.get(node_key).is_some_and(|connected| connected.arrival == arrival) {
            self.connected.remove(node_key);
        }
    }

    /// How to reach a replica that is connected.
    pub fn handle(&self, node_key: &NodeKey) -> Option<&H> {
        self.connected.get(node_key).map(|connected| &connected.handle)
    }

    /// From now on this is the committee.
    pub fn adopt(&mut self, committee: Arc<Committee>) {
        self.committee = Some(committee);
    }

    /// Every connected replica with its membership.
    pub fn connected(&self) -> impl Iterator<Item = (Membership, &H)> {
        self.connected.iter().map(|(node_key, connected)| (self.membership(node_key), &connected.handle))
    }

    /// How to reach each connected member, by position.
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

    #[test]
    fn whoever_the_committee_names_is_a_member_and_the_rest_stand_by() {
        let mut roster = Roster::new(None);
        for i in 1..=3 {
            roster.join(node_key(i), i);
            assert_eq!(roster.membership(&node_key(i)), Membership::Candidate);
        }
        roster.adopt(TestCommittee::of([1, 2]).committee);
        let members: Vec<u8> = roster.members().into_values().collect();
        assert!(members.contains(&1) && members.contains(&2) && members.len() == 2);
        assert_eq!(roster.membership(&node_key(3)), Membership::Standby);
        assert!(matches!(roster.membership(&node_key(1)), Membership::Member(_)));
        assert_eq!(roster.handle(&node_key(3)), Some(&3));
    }

    #[test]
    fn a_newer_link_of_the_same_replica_stays_when_the_older_ends() {
        let mut roster = Roster::new(None);
        let first = roster.join(node_key(1), 1);
        let second = roster.join(node_key(1), 2);
        assert_eq!(roster.count(), 1);
        roster.leave(&node_key(1), first);
        assert_eq!(roster.handle(&node_key(1)), Some(&2));
        roster.leave(&node_key(1), second);
        assert_eq!(roster.count(), 0);
    }
}
