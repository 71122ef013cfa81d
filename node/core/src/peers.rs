//! Messages between the members of a cluster, over ways that nobody trusts.
//!
//! A *way* is a connection to a member, or a link to a server that relays frames. [`Peers`] decides which way a message takes, and which
//! frames are believed: those that a member signed for this process in a session that it proved to be fresh, each once, in the order of
//! their numbers. A relay can lose, delay, repeat, reorder, alter and misdirect frames; the worst that comes of it is that messages are lost.
//! Lost messages are not repeated, so users repeat what still matters, at the latest after [`PeersOutput::PeerUp`].
//!
//! A member may send only so many frames ([`FRAMES_PER_SECOND`], [`MIB_PER_SECOND`]): [`Peers::pause`] says when nothing is to be read from its
//! connection, and what relays pass on beyond that is dropped before its signature is checked.
//!
//! While nothing is sent, no frame is: hellos are sent when a way comes up, in answer to a hello, and when a message cannot be sent or
//! verified because the other end has another session.

mod contact;
mod dialling;
mod frame_budget;
mod peer;
mod sessions;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::digest::ClusterId;
use vouch_core::limits::MAX_MEMBERS;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::peer_frame::{MemberAddress, OpenedFrame, PeerFrame, PeerHello};

use contact::Contact;
pub use dialling::DialPlan;
pub use frame_budget::{FRAMES_PER_SECOND, HeldBack, MIB_PER_SECOND};
use peer::{Freshness, OwnEnd, Peer};
use ways::{Way, Ways};
pub use ways::{WayClosed, WayId, WayKind};

/// What [`Peers`] is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeersInput {
    /// A way can take frames from now on. A number is used once.
    WayUp(WayId, WayKind),
    /// A way has ended.
    WayDown(WayId),
    /// A frame came.
    Frame {
        /// The way on which it came.
        way: WayId,
        /// The frame.
        bytes: Bytes,
    },
    /// A message to a peer, of at most [`MAX_PEER_MESSAGE`](vouch_core::limits::MAX_PEER_MESSAGE) bytes; a longer one is lost.
    Send {
        /// The peer.
        to: NodeKey,
        /// The message.
        message: Bytes,
    },
    /// A message to every peer.
    Broadcast(Bytes),
    /// The members from now on. This end's own key may be among them. The first 1000 count.
    Members(Vec<NodeKey>),
    /// The time of [`Peers::next_tick`] has come.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeersOutput {
    /// Send a frame, or drop it if the way's queue is full.
    Transmit {
        /// The way to send it on.
        way: WayId,
        /// The frame.
        bytes: Bytes,
    },
    /// A message came.
    Deliver {
        /// The peer that sent it to this end.
        from: NodeKey,
        /// The message.
        message: Bytes,
    },
    /// A peer can be reached from now on. It started, or it was out of reach: it may lack whatever was sent to it before.
    PeerUp(NodeKey),
    /// A peer announced where it accepts connections. `None`: nowhere.
    Address {
        /// The peer.
        peer: NodeKey,
        /// The address.
        address: Option<MemberAddress>,
    },
    /// End a way. It is down from now on.
    Close {
        /// The way.
        way: WayId,
        /// The reason.
        why: WayClosed,
    },
}

/// The peers of one member, and the ways to them. All memory is bounded by the number of members and ways.
#[derive(Debug)]
pub struct Peers {
    own: OwnEnd,
    peers: BTreeMap<NodeKey, Peer>,
    ways: Ways,
    /// Where a hello is due.
    due: BTreeSet<(NodeKey, WayId)>,
    dropped: u64,
    outputs: Vec<PeersOutput>,
}

impl Peers {
    /// No members and no ways. `session`: random bytes, fresh in every process. `address`: where this end accepts connections.
    pub fn new(
        secret: Arc<NodeSecretKey>,
        cluster: ClusterId,
        session: [u8; 16],
        address: Option<MemberAddress>,
    ) -> Self {
        let key = secret.node_key();
        Self {
            own: OwnEnd { secret, key, cluster, address, seed: session, sessions: 0 },
            peers: BTreeMap::new(),
            ways: Ways::default(),
            due: BTreeSet::new(),
            dropped: 0,
            outputs: Vec::new(),
        }
    }

    /// The number of frames that were not accepted: altered, repeated, late, or from nobody that is known.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The peers that can be reached, as far as this end knows.
    pub fn reachable(&self) -> impl Iterator<Item = &NodeKey> {
        self.peers.iter().filter(|(_, peer)| peer.last_way.is_some()).map(|(key, _)| key)
    }

    /// Whether a direct way to a peer is up, on which it was heard.
    pub fn has_direct_way(&self, peer: &NodeKey) -> bool {
        self.peers.get(peer).is_some_and(Peer::has_direct_way)
    }

    /// Whether a member was heard on a way. Until then, a connection may be anyone's.
    pub fn is_proven(&self, way: WayId) -> bool {
        self.ways.get(way).is_some_and(|way| way.is_proven())
    }

    /// Until when nothing is to be read from a connection, because its peer sends more than is taken. `None`: read on.
    pub fn pause(&mut self, way: WayId, now: Duration) -> Option<Duration> {
        let peer = self.peers.get_mut(&self.ways.get(way)?.peer?)?;
        let until = peer.contacts.get(&way)?.read.next().max(peer.budget.next());
        if until <= now {
            return None;
        }
        peer.held_back.pauses += 1;
        Some(until)
    }

    /// The peers that sent more than was taken, and what was held back of each.
    pub fn held_back(&self) -> impl Iterator<Item = (&NodeKey, HeldBack)> {
        let peers = self.peers.iter().map(|(key, peer)| (key, peer.held_back));
        peers.filter(|(_, held_back)| *held_back != HeldBack::default())
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, input: PeersInput, now: Duration) -> Vec<PeersOutput> {
        match input {
            PeersInput::WayUp(way, kind) => self.way_up(way, kind, now),
            PeersInput::WayDown(way) => self.forget_way(way, now),
            PeersInput::Frame { way, bytes } => self.receive(way, &bytes, now),
            PeersInput::Send { to, message } => self.send(&to, &message, now),
            PeersInput::Broadcast(message) => {
                let all: Vec<_> = self.peers.keys().copied().collect();
                for to in all {
                    self.send(&to, &message, now);
                }
            }
            PeersInput::Members(members) => self.set_members(members, now),
            PeersInput::Tick => {}
        }
        for way in self.ways.silent(now) {
            self.close(way, WayClosed::Silent, now);
        }
        self.send_hellos(now);
        std::mem::take(&mut self.outputs)
    }

    /// When [`PeersInput::Tick`] is due. `None` while nothing waits for the time.
    pub fn next_tick(&self) -> Option<Duration> {
        let hellos = self.due.iter().filter_map(|(peer, way)| self.peers.get(peer)?.contacts.get(way)?.next_hello());
        hellos.chain(self.ways.next_deadline()).min()
    }

    fn set_members(&mut self, members: Vec<NodeKey>, now: Duration) {
        let members: BTreeSet<_> =
            members.into_iter().take(MAX_MEMBERS.into()).filter(|member| *member != self.own.key).collect();
        let removed: Vec<_> = self.peers.keys().filter(|peer| !members.contains(*peer)).copied().collect();
        for peer in removed {
            for way in self.ways.direct_of(&peer) {
                self.close(way, WayClosed::NotAMember(peer), now);
            }
            self.due.retain(|(waiting, _)| *waiting != peer);
            self.peers.remove(&peer);
        }
        for key in members {
            if self.peers.contains_key(&key) {
                continue;
            }
            // A member that comes back gets another session of this end: the old ones of its own are forgotten here.
            let mut peer = Peer::new(key, &mut self.own);
            for way in self.ways.relays() {
                let mut contact = Contact::new(true);
                contact.greet(now);
                peer.contacts.insert(way, contact);
                self.due.insert((key, way));
            }
            self.peers.insert(key, peer);
        }
    }

    fn way_up(&mut self, id: WayId, kind: WayKind, now: Duration) {
        if self.ways.get(id).is_some() {
            return;
        }
        let is_known = |peer| self.peers.contains_key(peer);
        let refused = match kind {
            WayKind::Dialled(peer) if !is_known(&peer) => Some(WayClosed::NotAMember(peer)),
            kind => self.ways.limit(kind, self.peers.len()).map(|limit| WayClosed::TooMany { limit }),
        };
        if let Some(why) = refused {
            return self.outputs.push(PeersOutput::Close { way: id, why });
        }
        self.ways.insert(id, kind, now);
        match kind {
            WayKind::Accepted => {}
            WayKind::Dialled(key) => {
                if let Some(peer) = self.peers.get_mut(&key) {
                    peer.contacts.entry(id).or_insert(Contact::new(false)).greet(now);
                    self.due.insert((key, id));
                }
            }
            WayKind::Relay => {
                for (key, peer) in &mut self.peers {
                    let is_met = peer.has_direct_way();
                    let contact = peer.contacts.entry(id).or_insert(Contact::new(true));
                    if !is_met {
                        contact.greet(now);
                        self.due.insert((*key, id));
                    }
                }
            }
        }
    }

    /// A way has ended. Peers that were heard there last are greeted on the others: what was under way may be lost.
    fn forget_way(&mut self, id: WayId, now: Duration) {
        let Some(way) = self.ways.remove(id) else { return };
        let forget = |key: &NodeKey, peer: &mut Peer, due: &mut BTreeSet<_>| {
            peer.contacts.remove(&id);
            due.remove(&(*key, id));
            if peer.last_way == Some(id) {
                peer.last_way = None;
                for (way, contact) in &mut peer.contacts {
                    contact.greet(now);
                    due.insert((*key, *way));
                }
            }
        };
        match way {
            Way { kind: WayKind::Relay, .. } => {
                self.peers.iter_mut().for_each(|(key, peer)| forget(key, peer, &mut self.due));
            }
            Way { peer: Some(key), .. } => {
                if let Some(peer) = self.peers.get_mut(&key) {
                    forget(&key, peer, &mut self.due);
                }
            }
            Way { peer: None, .. } => {}
        }
    }

    fn close(&mut self, way: WayId, why: WayClosed, now: Duration) {
        self.outputs.push(PeersOutput::Close { way, why });
        self.forget_way(way, now);
    }

    fn send(&mut self, to: &NodeKey, message: &[u8], now: Duration) {
        let Some(peer) = self.peers.get_mut(to) else { return };
        match peer.message(message, &self.own) {
            Ok(Some(bytes)) => {
                let transmit = |way| PeersOutput::Transmit { way, bytes: bytes.clone() };
                self.outputs.extend(peer.route(now).into_iter().map(transmit));
            }
            Ok(None) => {
                for (way, contact) in &mut peer.contacts {
                    contact.introduce(now);
                    self.due.insert((*to, *way));
                }
            }
            // A message that is too long.
            Err(_) => self.dropped += 1,
        }
    }

    /// Sends the hellos that are due.
    fn send_hellos(&mut self, now: Duration) {
        let (peers, own, outputs) = (&mut self.peers, &self.own, &mut self.outputs);
        self.due.retain(|(key, way)| {
            let Some(peer) = peers.get_mut(key) else { return false };
            if let Some(bytes) = peer.due_hello(*way, own, now) {
                outputs.push(PeersOutput::Transmit { way: *way, bytes });
            }
            peer.contacts.get(way).is_some_and(|contact| contact.next_hello().is_some())
        });
    }

    fn receive(&mut self, id: WayId, bytes: &Bytes, now: Duration) {
        let Some(way) = self.ways.get(id) else { return };
        if let Some(peer) = way.peer.and_then(|peer| self.peers.get_mut(&peer))
            && let Some(contact) = peer.contacts.get_mut(&id)
        {
            contact.read.spend(bytes.len(), now);
        }
        match self.accept(id, way, bytes, now) {
            Ok(true) => {}
            Ok(false) => self.dropped += 1,
            Err(why) => {
                self.dropped += 1;
                // A relay passes on what others made. On a connection, only the other end can have sent it.
                if way.kind != WayKind::Relay {
                    self.close(id, why, now);
                }
            }
        }
    }

    /// Takes a frame. `Ok(false)`: it is dropped.
    fn accept(&mut self, id: WayId, way: Way, bytes: &Bytes, now: Duration) -> Result<bool, WayClosed> {
        let frame = PeerFrame::decode(bytes).map_err(WayClosed::Malformed)?;
        let header = *frame.header();
        if header.to != self.own.key {
            return Err(WayClosed::Misdirected { to: header.to });
        }
        let from = header.from;
        if let Some(expected) = way.peer.filter(|peer| *peer != from) {
            return Err(WayClosed::AnotherMember { expected, got: from });
        }
        let peer = self.peers.get_mut(&from).ok_or(WayClosed::NotAMember(from))?;
        let greatest = peer.adopted.greatest(&header.session);
        let is_copy = greatest == Some(header.number);
        if greatest.is_some_and(|greatest| header.number < greatest) {
            return Ok(false);
        }
        if let Some(contact) = peer.contacts.get_mut(&id) {
            // A copy only shows that a direct way works.
            let is_useless = is_copy && (contact.is_relay || contact.heard.is_none() || contact.is_recent(now));
            if is_useless || !contact.may_verify(now) {
                return Ok(false);
            }
            if !frame.is_hello() && greatest.is_none() {
                contact.introduce(now);
                self.due.insert((from, id));
                return Ok(false);
            }
        } else if is_copy || (!frame.is_hello() && greatest.is_none()) {
            return Ok(false);
        }
        // From a connection, nothing is read meanwhile; a relay passes on the frames of others, too.
        if way.kind == WayKind::Relay && peer.budget.next() > now {
            peer.held_back.dropped += 1;
            return Ok(false);
        }
        let opened = match frame.open(&self.own.cluster, &peer.own) {
            Ok(opened) => opened,
            Err(_) => {
                let Some(contact) = peer.contacts.get_mut(&id) else { return Err(WayClosed::Forged { from }) };
                contact.failed(now);
                return Ok(false);
            }
        };
        peer.budget.spend(bytes.len(), now);
        if is_copy {
            if let Some(contact) = peer.contacts.get_mut(&id) {
                contact.heard(now);
            }
            return Ok(false);
        }
        match opened {
            OpenedFrame::Hello(hello) => {
                let freshness = peer.judge(&header, hello.echo, &mut self.own);
                let contact = peer.contacts.entry(id).or_insert(Contact::new(false));
                contact.seen = Some(header.session);
                self.ways.belongs_to(id, from);
                if freshness == Freshness::Unproven {
                    contact.failed(now);
                } else {
                    self.heard(from, id, freshness, now);
                }
                self.heed(from, id, freshness, hello, now);
            }
            OpenedFrame::Message(message) => {
                peer.adopted.accept(header.session, header.number);
                let contact = peer.contacts.entry(id).or_insert(Contact::new(false));
                contact.seen = Some(header.session);
                self.ways.belongs_to(id, from);
                self.heard(from, id, Freshness::Known, now);
                self.outputs.push(PeersOutput::Deliver { from, message: bytes.slice_ref(message) });
            }
        }
        Ok(true)
    }

    /// A new frame of a peer came on a way.
    fn heard(&mut self, from: NodeKey, id: WayId, freshness: Freshness, now: Duration) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let Some(contact) = peer.contacts.get_mut(&id) else { return };
        contact.heard(now);
        let was_reachable = peer.last_way.replace(id).is_some();
        if freshness == Freshness::NewSession || !was_reachable {
            self.outputs.push(PeersOutput::PeerUp(from));
        }
        if self.ways.proven(id)
            && let Some(surplus) = peer.surplus_way(&self.ways.accepted_of(&from))
        {
            self.close(surplus, WayClosed::Replaced, now);
        }
    }

    /// Does what a hello demands.
    fn heed(&mut self, from: NodeKey, id: WayId, freshness: Freshness, hello: PeerHello, now: Duration) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let PeerHello { echo, asks, address } = hello;
        if freshness != Freshness::Unproven && peer.address.as_ref() != Some(&address) {
            peer.address = Some(address.clone());
            self.outputs.push(PeersOutput::Address { peer: from, address });
        }
        if (asks || echo != Some(peer.own))
            && let Some(contact) = peer.contacts.get_mut(&id)
        {
            contact.answer(now);
            self.due.insert((from, id));
        }
    }
}
