//! Who is connected, who is a member, and when a committee forms. No IO: `H` is whatever reaches a replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use vouch_core::bls::{Possession, VoteKey};
use vouch_core::committee::{Committee, CommitteeRecord, GenesisError, Member, MemberName};
use vouch_core::limits::MAX_MEMBERS;
use vouch_core::link::NodeKey;

/// What a replica would bring into a committee. Its proof was checked when it joined.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its vote key.
    pub vote_key: VoteKey,
    /// The proof of possession of it.
    pub possession: Possession,
    /// Its name.
    pub name: MemberName,
}

/// One connected replica.
#[derive(Debug, Clone)]
struct Connected<H> {
    candidate: Candidate,
    /// Counts joins, so that the first to come found the committee and an old link's end does not remove a new link.
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
    pub fn join(&mut self, node_key: NodeKey, candidate: Candidate, handle: H) -> (u64, Standing) {
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.connected.insert(node_key, Connected { candidate, arrival, handle });
        (arrival, self.standing(&node_key))
    }

    fn standing(&self, node_key: &NodeKey) -> Standing {
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

    /// The genesis committee of the first `n` that came, or of everybody. Two replicas with one vote key count once.
    ///
    /// # Errors
    /// When nobody is there, or a proof is bad after all.
    pub fn form(&self, n: Option<u16>, nonce: [u8; 16]) -> Result<Committee, GenesisError> {
        let mut candidates: Vec<_> = self.connected.iter().collect();
        candidates.sort_by_key(|(_, connected)| connected.arrival);
        let mut members: Vec<(Member, Possession)> = Vec::new();
        for (node_key, Connected { candidate, .. }) in candidates {
            let Candidate { vote_key, possession, name } = *candidate;
            if members.iter().all(|(member, _)| member.vote_key != vote_key) {
                members.push((Member { node_key: *node_key, vote_key, name }, possession));
            }
        }
        members.truncate(n.unwrap_or(MAX_MEMBERS).min(MAX_MEMBERS).into());
        // a committee has its members, and so its proofs, in node-key order
        members.sort_by_key(|(member, _)| member.node_key);
        let (members, possessions): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let record = CommitteeRecord::genesis(nonce, members)?;
        Committee::genesis(record, possessions)
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
    use super::*;
    use vouch_core::bls::VoteSecretKey;
    use vouch_core::link::NodeSecretKey;

    fn replica(i: u8, vote: u8) -> (NodeKey, Candidate) {
        let vote = VoteSecretKey::generate(&[vote; 32]).unwrap();
        let name = MemberName::new(&format!("replica-{i}")).unwrap();
        let candidate = Candidate { vote_key: vote.vote_key(), possession: vote.prove_possession(), name };
        (NodeSecretKey::from_bytes(&[i; 32]).node_key(), candidate)
    }

    fn join(roster: &mut Roster<u8>, i: u8) -> (NodeKey, u64, Standing) {
        let (node_key, candidate) = replica(i, i);
        let (arrival, standing) = roster.join(node_key, candidate, i);
        (node_key, arrival, standing)
    }

    #[test]
    fn the_first_to_come_found_the_committee_and_the_rest_stand_by() {
        let mut roster = Roster::new(None);
        for i in 1..=3 {
            assert_eq!(join(&mut roster, i).2, Standing::Candidate);
        }
        let committee = Arc::new(roster.form(Some(2), [0; 16]).unwrap());
        assert_eq!(committee.record().n(), 2);
        roster.adopt(committee.clone());
        let members: Vec<u8> = roster.members().into_values().collect();
        assert!(members.contains(&1) && members.contains(&2) && members.len() == 2);
        assert_eq!(join(&mut roster, 3).2, Standing::Standby);
        assert!(matches!(join(&mut roster, 1).2, Standing::Member(_)));
    }

    #[test]
    fn a_newer_link_of_the_same_replica_stays_when_the_older_ends() {
        let mut roster = Roster::new(None);
        let (node_key, first, _) = join(&mut roster, 1);
        let (_, second, _) = join(&mut roster, 1);
        assert_eq!(roster.len(), 1);
        roster.leave(&node_key, first);
        assert_eq!(roster.len(), 1);
        roster.leave(&node_key, second);
        assert_eq!(roster.len(), 0);
    }

    #[test]
    fn one_vote_key_counts_once() {
        let mut roster = Roster::new(None);
        for i in 1..=2 {
            let (node_key, candidate) = replica(i, 9);
            roster.join(node_key, candidate, i);
        }
        assert_eq!(roster.form(None, [0; 16]).unwrap().record().n(), 1);
    }

    #[test]
    fn nobody_founds_nothing() {
        assert!(Roster::<u8>::new(None).form(None, [0; 16]).is_err());
    }
}
