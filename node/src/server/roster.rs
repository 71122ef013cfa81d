//! Who is connected, who is a member, and when a committee forms. No IO: `H` is whatever reaches a replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use vouch_core::bls::{Possession, VoteKey};
use vouch_core::committee::{Committee, CommitteeRecord, GenesisError, Member, MemberName};
use vouch_core::link::NodeKey;
use vouch_core::quorum::MAX_MEMBERS;

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
