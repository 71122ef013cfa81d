//! What a server does to bring a founding about: it proposes, passes on what replicas show, and sees when one is complete.
//!
//! A server is not trusted: nothing here is needed for safety. It only has to see to it that foundings end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Evidence, Founding, Refusal};
use crate::bls::{Possession, VoteKey};
use crate::committee::{Committee, CommitteeRecord, GenesisError, Member, MemberName};
use crate::digest::{ClusterId, CommitteeDigest};
use crate::limits::MAX_MEMBERS;
use crate::link::NodeKey;
use crate::message::Message;
use crate::statement::Accept;
use crate::tally::VerifiedVote;

/// Foundings in progress that a server keeps; one of a thousand members takes 300 KiB.
const MAX_FOUNDINGS: usize = 64;
/// Refusals that a server remembers, for replicas that show a dead founding again.
const MAX_DEAD: usize = 256;

/// Which committee its operator wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// One of so many members.
    pub replicas: Option<u16>,
    /// One of exactly these node keys.
    pub members: Option<BTreeSet<NodeKey>>,
    /// The one of this cluster, which others found.
    pub cluster: Option<ClusterId>,
}

impl Told {
    /// How many members the wanted committee has; 0 where that was not said.
    pub fn size(&self) -> u64 {
        let listed = self.members.as_ref().map(|members| members.len() as u64);
        listed.or(self.replicas.map(u64::from)).unwrap_or(0)
    }

    /// Whether a committee is what the operator wants; else why not.
    ///
    /// # Errors
    /// What contradicts it, as expected and got.
    pub fn allows(&self, genesis: &CommitteeRecord) -> Result<(), String> {
        if let Some(expected) = self.replicas.filter(|expected| *expected != genesis.n()) {
            return Err(format!("--replicas: expected a committee of {expected}, got one of {}", genesis.n()));
        }
        if let Some(expected) = self.cluster.filter(|expected| *expected != genesis.cluster()) {
            return Err(format!("--cluster: expected {expected}, got {}", genesis.cluster()));
        }
        let Some(expected) = &self.members else { return Ok(()) };
        let got: BTreeSet<_> = genesis.members().iter().map(|member| member.node_key).collect();
        if let Some(missing) = expected.difference(&got).next() {
            return Err(format!("--members: expected {missing} in the committee, got one without it"));
        }
        match got.difference(expected).next() {
            Some(stranger) => Err(format!("--members: expected only listed members, got {stranger}")),
            None => Ok(()),
        }
    }
}

/// What a replica would bring into a committee. Its proof was checked when it joined.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Its vote key.
    pub vote_key: VoteKey,
    /// The proof of possession of it.
    pub possession: Possession,
    /// Its name.
    pub name: MemberName,
}

#[derive(Debug, Clone)]
struct Peer {
    /// Counts joins: the first to come are proposed.
    arrival: u64,
    candidate: Candidate,
    /// The cluster that it said it is a member of.
    claims: Option<ClusterId>,
    /// The founding that it accepted, as far as it showed it.
    shows: Option<CommitteeDigest>,
    /// Acceptances that it was sent, by founding.
    sent: BTreeMap<CommitteeDigest, BTreeSet<u16>>,
}

/// Messages for connected replicas, in order.
pub type Sends = Vec<(NodeKey, Message)>;

/// What the operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerNote {
    /// A founding ended because a member refused it.
    Refused(Refusal),
    /// A member is faulty.
    Evidence(Box<Evidence>),
}

/// How far a founding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Everybody who has to act is connected: it is a matter of a moment.
    UnderWay,
    /// It waits for somebody, or for the operator.
    Waiting(String),
}

/// A server's part in foundings.
#[derive(Debug, Clone)]
pub struct ServerFounding {
    told: Told,
    peers: BTreeMap<NodeKey, Peer>,
    /// In progress, whoever proposed them.
    known: BTreeMap<CommitteeDigest, Founding>,
    dead: BTreeMap<CommitteeDigest, Refusal>,
    /// The committee that this server serves, for good.
    settled: Option<Founding>,
    /// Whether the settled founding has acceptances that are not saved, the last of which completed it.
    is_newly_completed: bool,
    notes: Vec<ServerNote>,
}

impl ServerFounding {
    /// Nobody is connected. `settled` is what the server serves already.
    pub fn new(told: Told, settled: Option<Founding>) -> Self {
        Self {
            told,
            peers: BTreeMap::new(),
            known: BTreeMap::new(),
            dead: BTreeMap::new(),
            settled,
            is_newly_completed: false,
            notes: Vec::new(),
        }
    }

    /// What was learned since the last call.
    pub fn take_notes(&mut self) -> Vec<ServerNote> {
        std::mem::take(&mut self.notes)
    }

    /// The founding that the server serves, with the acceptances that it knows.
    pub fn settled(&self) -> Option<&Founding> {
        self.settled.as_ref()
    }

    /// The settled founding, once after the last of its acceptances came. An earlier release kept none, so they are gathered anew.
    pub fn newly_completed(&mut self) -> Option<Founding> {
        std::mem::take(&mut self.is_newly_completed).then(|| self.settled.clone()).flatten()
    }

    fn note_completion(&mut self, was_complete: bool) {
        let is_complete = self.settled.as_ref().is_some_and(Founding::is_complete);
        self.is_newly_completed |= is_complete && !was_complete;
    }

    /// A replica proved its keys. It is shown every founding that names it. `arrival` grows with each call.
    pub fn join(&mut self, node_key: NodeKey, arrival: u64, candidate: Candidate, claims: Option<ClusterId>) -> Sends {
        let peer = Peer { arrival, candidate, claims, shows: None, sent: BTreeMap::new() };
        self.peers.insert(node_key, peer);
        let mut sends = Sends::new();
        for digest in self.known.keys().copied().collect::<Vec<_>>() {
            self.show(&digest, &[node_key], &mut sends);
        }
        sends
    }

    /// A link ended. What only its replica had shown is forgotten with it: the replica will show it again.
    pub fn leave(&mut self, node_key: &NodeKey, arrival: u64) {
        if self.peers.get(node_key).is_some_and(|peer| peer.arrival == arrival) {
            self.peers.remove(node_key);
            self.forget_unheld();
        }
    }

    /// A founding is kept while a replica that accepted it is connected, or, before anybody accepted it, while all whom it
    /// names are, or one that was shown it: its acceptance may be under way, and would be passed over. Else this server could wait
    /// for ever for a proposal that nobody is bound to.
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
        // An acceptance of a forgotten founding is passed over: whoever sent one must be shown it again, should it come back.
        for peer in self.peers.values_mut() {
            peer.sent.retain(|digest, _| self.known.contains_key(digest));
        }
    }

    /// Whether this server has a use for a founding: any while it has no committee, unless it was told which; then that one only.
    pub fn concerns(&self, digest: &CommitteeDigest) -> bool {
        match (&self.settled, self.told.cluster) {
            (Some(settled), _) => settled.digest() == *digest,
            (None, Some(cluster)) => cluster.0 == digest.0,
            (None, None) => true,
        }
    }

    /// The committee of a founding that acceptances may arrive for.
    pub fn committee(&self, digest: &CommitteeDigest) -> Option<Arc<Committee>> {
        let settled = self.settled.as_ref().filter(|settled| settled.digest() == *digest);
        settled.or(self.known.get(digest)).map(|founding| founding.committee().clone())
    }

    /// A connected replica shows the founding that it accepted.
    ///
    /// # Errors
    /// What the replica did that no honest one does: its link is to be closed.
    pub fn shown(&mut self, from: &NodeKey, founding: Founding) -> Result<Sends, String> {
        let digest = founding.digest();
        let is_its_own = founding.record().position(from).is_some_and(|member| founding.has(member));
        if !is_its_own {
            return Err(format!("expected a founding that {from} accepted, got {digest} without its acceptance"));
        }
        let Some(peer) = self.peers.get_mut(from) else { return Ok(Sends::new()) };
        // One at a time: else one link could have this server keep and pass on any number.
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
            self.note_completion(was_complete);
            return Ok(Sends::new());
        }
        if let Some(known) = self.known.get_mut(&digest) {
            known.merge(&founding);
        } else if self.known.len() < MAX_FOUNDINGS {
            self.known.insert(digest, founding);
        }
        let mut sends = Sends::new();
        let everybody: Vec<_> = self.peers.keys().copied().collect();
        self.show(&digest, &everybody, &mut sends);
        Ok(sends)
    }

    /// Verified acceptances arrived from a replica. They go on with the next [`flush`](Self::flush).
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
        self.note_completion(was_complete);
    }

    /// Refusals arrived; those that do not hold are passed over, the others go to everybody concerned.
    pub fn refused(&mut self, refusals: &[Refusal]) -> Sends {
        let mut sends = Sends::new();
        for refusal in refusals {
            let Some(founding) = self.known.get(&refusal.refused) else { continue };
            let Some(judged) = founding.judge(refusal) else { continue };
            if let Err(evidence) = judged {
                let note = ServerNote::Evidence(Box::new(evidence));
                if !self.notes.contains(&note) {
                    self.notes.push(note);
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
            self.notes.push(ServerNote::Refused(*refusal));
            self.dead.insert(refusal.refused, *refusal);
            while self.dead.len() > MAX_DEAD {
                self.dead.pop_first();
            }
        }
        sends
    }

    /// Shows a founding to those of `whom` that it names and that were not shown it.
    fn show(&mut self, digest: &CommitteeDigest, whom: &[NodeKey], sends: &mut Sends) {
        let Some(founding) = self.known.get(digest) else { return };
        let message = Message::Founding(Box::new(founding.message()));
        for node_key in whom {
            let Some(member) = founding.record().position(node_key) else { continue };
            let named = founding.record().members().get(usize::from(member));
            let Some(peer) = self.peers.get_mut(node_key) else { continue };
            // whoever holds this node key with another vote key is no member of it
            if named.is_none_or(|named| named.vote_key != peer.candidate.vote_key) || peer.sent.contains_key(digest) {
                continue;
            }
            peer.sent.insert(*digest, founding.acceptances().keys().copied().collect());
            sends.push((*node_key, message.clone()));
        }
    }

    /// Sends on the acceptances that members lack, so that each of them can finish the founding anywhere. Called now and then:
    /// a founding that makes progress needs none of it.
    pub fn flush(&mut self) -> Sends {
        let mut sends = Sends::new();
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

    /// The founding to make durable and then [`settle`](Self::settle) on: complete, and what the operator wants. With
    /// `--cluster`, the identity alone decides, on the word of a member that it was founded: an earlier release kept no acceptances.
    pub fn complete(&self) -> Option<Founding> {
        if self.settled.is_some() {
            return None;
        }
        let claimed = |founding: &Founding| {
            let cluster = founding.record().cluster();
            self.told.cluster == Some(cluster) && self.peers.values().any(|peer| peer.claims == Some(cluster))
        };
        let mut candidates = self.known.values().filter(|founding| founding.is_complete() || claimed(founding));
        candidates.find(|founding| self.told.allows(founding.record()).is_ok()).cloned()
    }

    /// From now on this is the committee. Everybody connected is shown it.
    pub fn settle(&mut self, founding: Founding) -> Sends {
        let message = Message::Founding(Box::new(founding.message()));
        self.known.remove(&founding.digest());
        self.settled = Some(founding);
        self.peers.keys().map(|node_key| (*node_key, message.clone())).collect()
    }

    /// Proposes a founding if one is due: from the first so many, from those listed, or `at_a_put` from everybody connected. One
    /// that is in progress already comes first.
    ///
    /// # Errors
    /// A proof of possession that is bad after all.
    pub fn propose(&mut self, at_a_put: bool, nonce: [u8; 16]) -> Result<Sends, GenesisError> {
        self.forget_unheld();
        let is_in_progress = self.known.values().any(|founding| self.told.allows(founding.record()).is_ok());
        if self.settled.is_some() || self.told.cluster.is_some() || is_in_progress {
            return Ok(Sends::new());
        }
        let free = self.free();
        let wanted = self.wanted(at_a_put).unwrap_or(0);
        if wanted == 0 || free.len() < wanted {
            return Ok(Sends::new());
        }
        let mut chosen: Vec<_> = free.into_iter().take(wanted).collect();
        // a committee has its members, and so its proofs, in node-key order
        chosen.sort_by_key(|(member, _)| member.node_key);
        let (members, possessions): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
        let record = CommitteeRecord::genesis(nonce, members)?;
        let founding = Founding::new(Arc::new(Committee::genesis(record, possessions)?));
        let digest = founding.digest();
        self.known.insert(digest, founding);
        let mut sends = Sends::new();
        let everybody: Vec<_> = self.peers.keys().copied().collect();
        self.show(&digest, &everybody, &mut sends);
        Ok(sends)
    }

    /// Whether a replica belongs to a cluster, or to a founding that is not dead.
    fn is_bound(&self, peer: &Peer) -> bool {
        peer.claims.is_some() || peer.shows.is_some_and(|shown| self.known.contains_key(&shown))
    }

    /// The replicas that a new founding may name, in the order of their arrival: in no cluster, in no founding in progress, and
    /// listed where there is a list. Two with one vote key count once.
    fn free(&self) -> Vec<(Member, Possession)> {
        let named: BTreeSet<_> =
            self.known.values().flat_map(|known| known.record().members()).map(|member| member.node_key).collect();
        let mut peers: Vec<_> = self
            .peers
            .iter()
            .filter(|(node_key, peer)| !self.is_bound(peer) && !named.contains(node_key))
            .filter(|(node_key, _)| self.told.members.as_ref().is_none_or(|members| members.contains(node_key)))
            .collect();
        peers.sort_by_key(|(_, peer)| peer.arrival);
        let mut vote_keys = BTreeSet::new();
        peers.retain(|(_, peer)| vote_keys.insert(peer.candidate.vote_key));
        let member = |(node_key, peer): (&NodeKey, &Peer)| {
            let Candidate { vote_key, possession, name } = peer.candidate;
            (Member { node_key: *node_key, vote_key, name }, possession)
        };
        peers.into_iter().map(member).collect()
    }

    /// What a put would wait for in vain, if anything.
    pub fn lacks(&self) -> Option<String> {
        match self.progress() {
            Progress::UnderWay => None,
            Progress::Waiting(_) if self.would_propose() => None,
            Progress::Waiting(why) => Some(why),
        }
    }

    /// Whether a put would begin a founding.
    fn would_propose(&self) -> bool {
        let is_in_progress = self.known.values().any(|founding| self.told.allows(founding.record()).is_ok());
        let wanted = self.wanted(true).unwrap_or(0);
        !is_in_progress && self.told.cluster.is_none() && wanted > 0 && self.free().len() >= wanted
    }

    /// How many members a founding would have now; `None` when there is no occasion for one.
    fn wanted(&self, at_a_put: bool) -> Option<usize> {
        match (&self.told.members, self.told.replicas) {
            (Some(members), _) => Some(members.len()),
            (None, Some(n)) => Some(n.into()),
            (None, None) => at_a_put.then(|| self.free().len().min(MAX_MEMBERS.into())),
        }
    }

    /// Why there is no committee yet, and what to do about it.
    pub fn progress(&self) -> Progress {
        let wanted = self.known.values().find(|founding| self.told.allows(founding.record()).is_ok());
        match wanted {
            Some(founding) => self.progress_of(founding),
            None => Progress::Waiting(self.lacks_founders()),
        }
    }

    fn progress_of(&self, founding: &Founding) -> Progress {
        let record = founding.record();
        let mut waits = Vec::new();
        for member in founding.missing() {
            let Some(about) = record.members().get(usize::from(member)) else { continue };
            match self.peers.get(&about.node_key) {
                None => waits.push(format!("{}, which is not connected", about.name)),
                Some(peer) if self.is_bound(peer) => {
                    waits.push(format!("{}, which accepted another founding", about.name));
                }
                Some(_) => {}
            }
        }
        let Some(first) = waits.first() else { return Progress::UnderWay };
        let more = if waits.len() > 1 { format!(" and {} more", waits.len() - 1) } else { String::new() };
        let cluster = record.cluster();
        if self.peers.values().any(|peer| peer.claims == Some(cluster)) {
            return Progress::Waiting(format!(
                "members of cluster {cluster} are connected, and not all its acceptances are known: a release before this one kept none. Start                  the members that lack, such as {first}{more}; or start this server with --cluster {cluster}"
            ));
        }
        Progress::Waiting(format!(
            "the committee of {} forms when all its members accepted: {} did; it waits for {first}{more}. Start that replica, or connect \
             it to this server. If it is gone for good, start the others with `vouch replica --abandon-founding`",
            record.n(),
            founding.acceptances().len(),
        ))
    }

    fn lacks_founders(&self) -> String {
        let connected = self.peers.len();
        if let Some(cluster) = self.told.cluster {
            return format!(
                "this server serves cluster {cluster} only, and no member of it is connected; start one with `vouch replica SERVER`"
            );
        }
        if let Some(members) = &self.told.members {
            let missing: Vec<_> = members.iter().filter(|key| !self.peers.contains_key(key)).collect();
            if let Some(first) = missing.first() {
                return format!(
                    "{} members must join first, {} of them are not connected, such as {first}; start it with `vouch replica SERVER`",
                    members.len(),
                    missing.len(),
                );
            }
        }
        let needed = match (&self.told.members, self.told.replicas) {
            (Some(members), _) => format!("{} members", members.len()),
            (None, Some(n)) => format!("{n} replicas"),
            (None, None) => "at least 1 replica".into(),
        };
        let bound = connected - self.free().len().min(connected);
        let start = "start one with `vouch replica SERVER`";
        let elsewhere = self.known.values().find_map(|known| self.told.allows(known.record()).err());
        match (bound, elsewhere) {
            (0, _) => format!("{needed} must join first, {connected} are connected; {start}"),
            (_, Some(why)) => format!(
                "{needed} must join first, {connected} are connected, {bound} of them belong to another founding ({why}); {start}, or \
                 start this server with what they agreed on"
            ),
            (_, None) => format!(
                "{needed} must join first, {connected} are connected, {bound} of them belong to another cluster or founding; {start}"
            ),
        }
    }
}
