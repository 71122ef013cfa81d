//! A server's side of a founding: it proposes one, relays messages between replicas, and notices when one is complete.
//!
//! The server is untrusted: safety does not depend on this module. It only ensures that foundings terminate.

mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use progress::Progress;

use crate::bls::ProvenVoteKey;
use crate::committee::{Committee, CommitteeError, MemberName, Policy};
use crate::digest::{ClusterId, CommitteeDigest};
use crate::founding::{Evidence, Founding, Refusal, VerifiedRefusal, WantedCommittee};
use crate::limits::MAX_MEMBERS;
use crate::link::NodeKey;
use crate::message::Message;
use crate::statement::Accept;
use crate::tally::VerifiedVote;

/// Maximum number of foundings in progress that a server keeps. One with a thousand members takes 300 KiB.
const MAX_FOUNDINGS: usize = 64;
/// Maximum number of refusals that a server remembers, to answer replicas that send a dead founding again.
const MAX_DEAD: usize = 256;

/// A replica that may become a member.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// The vote key, whose proof of possession was verified when the replica joined.
    pub vote_key: ProvenVoteKey,
    /// The name.
    pub name: MemberName,
}

#[derive(Debug, Clone)]
struct Peer {
    /// Number of this join: replicas that joined first are proposed first.
    arrival: u64,
    candidate: Candidate,
    /// The cluster that the replica claims to be a member of.
    claims: Option<ClusterId>,
    /// The founding that the replica accepted, if it has sent it.
    shows: Option<CommitteeDigest>,
    /// The acceptances that this server has sent to the replica, by founding.
    sent: BTreeMap<CommitteeDigest, BTreeSet<u16>>,
}

/// Messages to send to connected replicas, in order.
pub type OutgoingMessages = Vec<(NodeKey, Message)>;

/// An event for the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFoundingEvent {
    /// A founding ended because a member refused it.
    Refused(Refusal),
    /// Proof that a member is faulty.
    Evidence(Box<Evidence>),
}

/// A server's state in foundings.
#[derive(Debug, Clone)]
pub struct ServerFounding {
    wanted: WantedCommittee,
    peers: BTreeMap<NodeKey, Peer>,
    /// Foundings in progress, no matter which server proposed them.
    known: BTreeMap<CommitteeDigest, Founding>,
    dead: BTreeMap<CommitteeDigest, Refusal>,
    /// The founding of the committee that this server serves. It never changes once set.
    settled: Option<Founding>,
    /// The settled founding has just become complete, and its acceptances are not saved yet.
    is_newly_completed: bool,
    events: Vec<ServerFoundingEvent>,
}

impl ServerFounding {
    /// Begins without connected replicas. `settled`: the founding of the committee that the server already serves.
    pub fn new(wanted: WantedCommittee, settled: Option<Founding>) -> Self {
        Self {
            wanted,
            peers: BTreeMap::new(),
            known: BTreeMap::new(),
            dead: BTreeMap::new(),
            settled,
            is_newly_completed: false,
            events: Vec::new(),
        }
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> Vec<ServerFoundingEvent> {
        std::mem::take(&mut self.events)
    }

    /// The founding of the committee that the server serves, with the acceptances known so far.
    pub fn settled(&self) -> Option<&Founding> {
        self.settled.as_ref()
    }

    /// The settled founding, once, after its last acceptance has arrived. Servers of an earlier release kept no acceptances and collect them again.
    pub fn newly_completed(&mut self) -> Option<Founding> {
        std::mem::take(&mut self.is_newly_completed).then(|| self.settled.clone()).flatten()
    }

    fn record_completion(&mut self, was_complete: bool) {
        let is_complete = self.settled.as_ref().is_some_and(Founding::is_complete);
        self.is_newly_completed |= is_complete && !was_complete;
    }

    /// A replica has joined and proved its keys. It is sent every founding that names it. `arrival` grows with each call.
    pub fn join(
        &mut self,
        node_key: NodeKey,
        arrival: u64,
        candidate: Candidate,
        claims: Option<ClusterId>,
    ) -> OutgoingMessages {
        let peer = Peer { arrival, candidate, claims, shows: None, sent: BTreeMap::new() };
        self.peers.insert(node_key, peer);
        let mut sends = OutgoingMessages::new();
        for digest in self.known.keys().copied().collect::<Vec<_>>() {
            self.show(&digest, &[node_key], &mut sends);
        }
        sends
    }

    /// A link has ended. Foundings that only its replica had sent are forgotten: the replica sends them again when it returns.
    pub fn leave(&mut self, node_key: &NodeKey, arrival: u64) {
        if self.peers.get(node_key).is_some_and(|peer| peer.arrival == arrival) {
            self.peers.remove(node_key);
            self.forget_unheld();
        }
    }

    /// Forgets foundings that bind no connected replica: otherwise this server could wait for ever for a proposal that nobody is bound to.
    /// A founding is kept while a replica that accepted it is connected. One that nobody has accepted is kept while all its
    /// members are connected, or one that it was sent to: that member's acceptance may be on its way.
    fn forget_unheld(&mut self) {
        let peers = &self.peers;
        self.known.retain(|digest, founding| {
            let members = founding.record().members().iter().map(|member| peers.get(&member.node_key));
            match founding.acceptances().is_empty() {
                true => {
                    let is_shown = |peer: &Peer| peer.sent.contains_key(digest);
                    members.clone().all(|peer| peer.is_some()) || members.flatten().any(is_shown)
                }
                false => members.flatten().any(|peer| peer.shows == Some(*digest)),
            }
        });
        // Acceptances of a forgotten founding are ignored. If the founding returns, send it again to the replicas that accepted it.
        for peer in self.peers.values_mut() {
            peer.sent.retain(|digest, _| self.known.contains_key(digest));
        }
    }

    /// Whether this server has a use for a founding. Without a committee it takes any, or only that of `--cluster`; with one, only its own.
    pub fn concerns(&self, digest: &CommitteeDigest) -> bool {
        match (&self.settled, self.wanted.cluster) {
            (Some(settled), _) => settled.digest() == *digest,
            (None, Some(cluster)) => cluster.0 == digest.0,
            (None, None) => true,
        }
    }

    /// The founding of this digest, if acceptances of it may arrive.
    pub fn founding(&self, digest: &CommitteeDigest) -> Option<&Founding> {
        let settled = self.settled.as_ref().filter(|settled| settled.digest() == *digest);
        settled.or(self.known.get(digest))
    }

    /// The founding of this digest, or else another one, which may name the same members.
    pub fn founding_or_other(&self, digest: &CommitteeDigest) -> Option<&Founding> {
        self.founding(digest).or(self.known.values().next())
    }

    /// Handles the founding that a connected replica says it accepted.
    ///
    /// # Errors
    /// The replica sent what no honest one sends. The caller closes its link.
    pub fn shown(&mut self, from: &NodeKey, founding: Founding) -> Result<OutgoingMessages, String> {
        let digest = founding.digest();
        let is_its_own = founding.record().position(from).is_some_and(|member| founding.has(member));
        if !is_its_own {
            return Err(format!("expected a founding that {from} accepted, got {digest} without its acceptance"));
        }
        let Some(peer) = self.peers.get_mut(from) else { return Ok(OutgoingMessages::new()) };
        // One at a time: otherwise one link could make this server keep and relay any number.
        if let Some(shown) = peer.shows.filter(|shown| *shown != digest && self.known.contains_key(shown)) {
            return Err(format!("expected one founding accepted at a time, got {digest} beside {shown}"));
        }
        peer.shows = Some(digest);
        peer.sent.entry(digest).or_default().extend(founding.acceptances().keys());
        if let Some(dead) = self.dead.get(&digest) {
            return Ok(vec![(*from, Message::Refusals(vec![*dead]))]);
        }
        if let Some(settled) = self.settled.as_mut().filter(|settled| settled.digest() == digest) {
            let was_complete = settled.is_complete();
            settled.merge(&founding);
            self.record_completion(was_complete);
            return Ok(OutgoingMessages::new());
        }
        if let Some(known) = self.known.get_mut(&digest) {
            known.merge(&founding);
        } else if self.known.len() < MAX_FOUNDINGS {
            self.known.insert(digest, founding);
        }
        let mut sends = OutgoingMessages::new();
        let everybody: Vec<_> = self.peers.keys().copied().collect();
        self.show(&digest, &everybody, &mut sends);
        Ok(sends)
    }

    /// Handles acceptances from a replica. They are verified. The next [`flush`](Self::flush) relays them.
    pub fn accepted(&mut self, from: &NodeKey, acceptances: &[VerifiedVote<Accept>]) {
        let was_complete = self.settled.as_ref().is_some_and(Founding::is_complete);
        for acceptance in acceptances {
            let digest = acceptance.statement().committee();
            let settled = self.settled.as_mut().filter(|settled| settled.digest() == digest);
            let Some(founding) = settled.or(self.known.get_mut(&digest)) else { continue };
            founding.add(*acceptance);
            if let Some(peer) = self.peers.get_mut(from) {
                peer.sent.entry(digest).or_default().insert(acceptance.member());
                if founding.record().position(from) == Some(acceptance.member()) {
                    peer.shows = Some(digest);
                }
            }
        }
        self.record_completion(was_complete);
    }

    /// The committees of the foundings in progress that these refusals name, to [verify](crate::founding::verify_refusals) them with.
    pub fn refused_committees(&self, refusals: &[Refusal]) -> BTreeMap<CommitteeDigest, Arc<Committee>> {
        let named = refusals.iter().filter_map(|refusal| self.known.get_key_value(&refusal.refused));
        named.map(|(digest, founding)| (*digest, founding.committee().clone())).collect()
    }

    /// Handles refusals. Each is sent to all members of the founding that it ends.
    pub fn refused(&mut self, refusals: &[VerifiedRefusal]) -> OutgoingMessages {
        let mut sends = OutgoingMessages::new();
        for verified in refusals {
            let refusal = verified.refusal();
            // An earlier one may have ended the founding.
            let Some(founding) = self.known.get(&refusal.refused) else { continue };
            if let Some(evidence) = founding.evidence(verified) {
                let event = ServerFoundingEvent::Evidence(Box::new(evidence));
                if !self.events.contains(&event) {
                    self.events.push(event);
                }
                continue;
            }
            for member in founding.record().members() {
                if let Some(peer) = self.peers.get_mut(&member.node_key) {
                    peer.shows = peer.shows.filter(|shown| *shown != refusal.refused);
                    sends.push((member.node_key, Message::Refusals(vec![*refusal])));
                }
            }
            self.known.remove(&refusal.refused);
            self.events.push(ServerFoundingEvent::Refused(*refusal));
            self.dead.insert(refusal.refused, *refusal);
            while self.dead.len() > MAX_DEAD {
                self.dead.pop_first();
            }
        }
        sends
    }

    /// Sends a founding to those of `to` that are its members and have not been sent it.
    fn show(&mut self, digest: &CommitteeDigest, to: &[NodeKey], sends: &mut OutgoingMessages) {
        let Some(founding) = self.known.get(digest) else { return };
        let message = Message::Founding(Box::new(founding.message()));
        for node_key in to {
            let Some(member) = founding.record().position(node_key) else { continue };
            let named = founding.record().members().get(usize::from(member));
            let Some(peer) = self.peers.get_mut(node_key) else { continue };
            // A replica with this node key and another vote key is not a member.
            if named.is_none_or(|named| named.vote_key != peer.candidate.vote_key.vote_key())
                || peer.sent.contains_key(digest)
            {
                continue;
            }
            peer.sent.insert(*digest, founding.acceptances().keys().copied().collect());
            sends.push((*node_key, message.clone()));
        }
    }

    /// Relays the acceptances that members lack, so that each member can complete the founding at any server. Call it every few seconds:
    /// a founding that makes progress does not depend on it.
    pub fn flush(&mut self) -> OutgoingMessages {
        let mut sends = OutgoingMessages::new();
        for (digest, founding) in &self.known {
            for (node_key, peer) in &mut self.peers {
                let Some(sent) = peer.sent.get_mut(digest) else { continue };
                let news: Vec<_> = founding
                    .acceptances()
                    .iter()
                    .filter(|(member, _)| sent.insert(**member))
                    .map(|(member, signature)| (*member, *signature))
                    .collect();
                if !news.is_empty() {
                    sends.push((*node_key, Message::Acceptances { founding: *digest, acceptances: news }));
                }
            }
        }
        sends
    }

    /// The founding to make durable and then [`settle`](Self::settle) on: it is complete, and what the operator wants. With
    /// `--cluster`, a member's claim that this is its cluster is enough, because an earlier release kept no acceptances.
    pub fn complete(&self) -> Option<Founding> {
        if self.settled.is_some() {
            return None;
        }
        let claimed = |founding: &Founding| {
            let cluster = founding.record().cluster();
            self.wanted.cluster == Some(cluster) && self.peers.values().any(|peer| peer.claims == Some(cluster))
        };
        let mut candidates = self.known.values().filter(|founding| founding.is_complete() || claimed(founding));
        candidates.find(|founding| self.wanted.allows(founding.record()).is_ok()).cloned()
    }

    /// Makes this the committee of the server, and sends it to every connected replica.
    pub fn settle(&mut self, founding: Founding) -> OutgoingMessages {
        let message = Message::Founding(Box::new(founding.message()));
        self.known.remove(&founding.digest());
        self.settled = Some(founding);
        self.peers.keys().map(|node_key| (*node_key, message.clone())).collect()
    }

    /// Proposes a founding if one is due: of the first `--replicas`, of the listed members, or, `at_a_put`, of all connected replicas. Proposes
    /// none while one that the operator wants is in progress.
    ///
    /// # Errors
    /// The committee is not well formed.
    pub fn propose(&mut self, at_a_put: bool, nonce: [u8; 16]) -> Result<OutgoingMessages, CommitteeError> {
        self.forget_unheld();
        let is_in_progress = self.known.values().any(|founding| self.wanted.allows(founding.record()).is_ok());
        if self.settled.is_some() || self.wanted.cluster.is_some() || is_in_progress {
            return Ok(OutgoingMessages::new());
        }
        let free = self.free();
        let size = self.proposal_size(at_a_put).unwrap_or(0);
        if size == 0 || free.len() < size {
            return Ok(OutgoingMessages::new());
        }
        let mut chosen: Vec<_> = free.into_iter().take(size).collect();
        // members ascend by node key
        chosen.sort_by_key(|(node_key, _, _)| *node_key);
        let policy = Policy::of(self.wanted.operator);
        let founding = Founding::new(Arc::new(Committee::genesis_of_proven(policy, nonce, chosen)?));
        let digest = founding.digest();
        self.known.insert(digest, founding);
        let mut sends = OutgoingMessages::new();
        let everybody: Vec<_> = self.peers.keys().copied().collect();
        self.show(&digest, &everybody, &mut sends);
        Ok(sends)
    }

    /// Whether a replica is bound to a cluster, or to a founding in progress.
    fn is_bound(&self, peer: &Peer) -> bool {
        peer.claims.is_some() || peer.shows.is_some_and(|shown| self.known.contains_key(&shown))
    }

    /// The replicas that a new founding may name, in the order of their arrival: not bound, not named by a founding in progress, and
    /// listed if there is a list. Of two with the same vote key, only the first.
    fn free(&self) -> Vec<(NodeKey, MemberName, ProvenVoteKey)> {
        let named: BTreeSet<_> =
            self.known.values().flat_map(|known| known.record().members()).map(|member| member.node_key).collect();
        let mut peers: Vec<_> = self
            .peers
            .iter()
            .filter(|(node_key, peer)| !self.is_bound(peer) && !named.contains(node_key))
            .filter(|(node_key, _)| self.wanted.members.as_ref().is_none_or(|members| members.contains(node_key)))
            .collect();
        peers.sort_by_key(|(_, peer)| peer.arrival);
        let mut vote_keys = BTreeSet::new();
        peers.retain(|(_, peer)| vote_keys.insert(peer.candidate.vote_key.vote_key()));
        let member = |(node_key, peer): (&NodeKey, &Peer)| (*node_key, peer.candidate.name, peer.candidate.vote_key);
        peers.into_iter().map(member).collect()
    }

    /// Whether a put would start a founding.
    fn would_propose(&self) -> bool {
        let is_in_progress = self.known.values().any(|founding| self.wanted.allows(founding.record()).is_ok());
        let size = self.proposal_size(true).unwrap_or(0);
        !is_in_progress && self.wanted.cluster.is_none() && size > 0 && self.free().len() >= size
    }

    /// The number of members of a founding proposed now; `None` if none is due.
    fn proposal_size(&self, at_a_put: bool) -> Option<usize> {
        match (&self.wanted.members, self.wanted.replicas) {
            (Some(members), _) => Some(members.len()),
            (None, Some(n)) => Some(n.into()),
            (None, None) => at_a_put.then(|| self.free().len().min(MAX_MEMBERS.into())),
        }
    }
}
