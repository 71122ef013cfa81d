//! Who is connected, and who is a member. No IO: `H` is whatever reaches a replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use vouch_core::committee::Committee;
use vouch_core::link::NodeKey;

/// One connected replica.
#[derive(Debug, Clone)]
struct Connected<H> {
    /// Counts joins, so that an old link's end does not remove a new link.
    arrival: u64,
    handle: H,
}

/// What a replica is on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
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
    connected: BTreeMap<NodeKey, Connected<H>>,
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
    pub fn len(&self) -> usize {
        self.connected.len()
    }

    /// A replica proved its node key and joined; a link that it had before is replaced. Returns the arrival number for
    /// [`Roster::leave`].
    pub fn join(&mut self, node_key: NodeKey, handle: H) -> u64 {
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.connected.insert(node_key, Connected { arrival, handle });
        arrival
    }

    /// What a replica is to this server.
    pub fn standing(&self, node_key: &NodeKey) -> Standing {
        match &self.committee {
            None => Standing::Candidate,
            Some(committee) => committee.record().position(node_key).map_or(Standing::Standby, Standing::Member),
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

    /// Every connected replica with its standing.
    pub fn connected(&self) -> impl Iterator<Item = (Standing, &H)> {
        self.connected.iter().map(|(node_key, connected)| (self.standing(node_key), &connected.handle))
    }

    /// How to reach each connected member, by position.
    pub fn members(&self) -> BTreeMap<u16, H> {
        self.connected()
            .filter_map(|(standing, handle)| match standing {
                Standing::Member(position) => Some((position, handle.clone())),
                Standing::Candidate | Standing::Standby => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::VoteSecretKey;
    use vouch_core::committee::{CommitteeRecord, Member, MemberName};
    use vouch_core::link::NodeSecretKey;

    use super::*;

    fn node_key(i: u8) -> NodeKey {
        NodeSecretKey::from_bytes(&[i; 32]).node_key()
    }

    fn committee_of(numbers: [u8; 2]) -> Arc<Committee> {
        let mut members: Vec<_> = numbers
            .iter()
            .map(|i| {
                let vote = VoteSecretKey::generate(&[*i; 32]).unwrap();
                let name = MemberName::new(&format!("replica-{i}")).unwrap();
                (Member { node_key: node_key(*i), vote_key: vote.vote_key(), name }, vote.prove_possession())
            })
            .collect();
        members.sort_by_key(|(member, _)| member.node_key);
        let (members, possessions) = members.into_iter().unzip();
        let record = CommitteeRecord::genesis([0; 16], members).unwrap();
        Arc::new(Committee::genesis(record, possessions).unwrap())
    }

    #[test]
    fn whoever_the_committee_names_is_a_member_and_the_rest_stand_by() {
        let mut roster = Roster::new(None);
        for i in 1..=3 {
            roster.join(node_key(i), i);
            assert_eq!(roster.standing(&node_key(i)), Standing::Candidate);
        }
        roster.adopt(committee_of([1, 2]));
        let members: Vec<u8> = roster.members().into_values().collect();
        assert!(members.contains(&1) && members.contains(&2) && members.len() == 2);
        assert_eq!(roster.standing(&node_key(3)), Standing::Standby);
        assert!(matches!(roster.standing(&node_key(1)), Standing::Member(_)));
        assert_eq!(roster.handle(&node_key(3)), Some(&3));
    }

    #[test]
    fn a_newer_link_of_the_same_replica_stays_when_the_older_ends() {
        let mut roster = Roster::new(None);
        let first = roster.join(node_key(1), 1);
        let second = roster.join(node_key(1), 2);
        assert_eq!(roster.len(), 1);
        roster.leave(&node_key(1), first);
        assert_eq!(roster.handle(&node_key(1)), Some(&2));
        roster.leave(&node_key(1), second);
        assert_eq!(roster.len(), 0);
    }
}
