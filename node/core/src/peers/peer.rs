//! What this end knows of one peer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::DecodeError;
use vouch_core::digest::ClusterId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::peer_frame::{FrameHeader, MemberAddress, PeerHello, PeerSession};

use super::WayId;
use super::contact::Contact;
use super::frame_budget::{FrameBudget, HeldBack};
use super::sessions::AdoptedSessions;

/// Maximum number of ways that one peer opened. A new one replaces the one on which the peer was silent for the longest time.
const ACCEPTED_WAYS: usize = 2;

/// Who this end is.
#[derive(Debug)]
pub(super) struct OwnEnd {
    pub(super) secret: Arc<NodeSecretKey>,
    pub(super) key: NodeKey,
    pub(super) cluster: ClusterId,
    pub(super) address: Option<MemberAddress>,
    /// What the sessions of this process are derived from.
    pub(super) seed: [u8; 16],
    /// The number of sessions derived so far.
    pub(super) sessions: u64,
}

impl OwnEnd {
    /// A session that was never used.
    fn new_session(&mut self) -> PeerSession {
        self.sessions += 1;
        PeerSession::derived(&self.seed, self.sessions)
    }
}

/// Whether a hello of a peer is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It proved a new session.
    NewSession,
    /// It is a new frame of an adopted session.
    Known,
    /// It may be a recording: its session is not adopted, and it does not echo this end's.
    Unproven,
}

#[derive(Debug)]
pub(super) struct Peer {
    key: NodeKey,
    /// This end's session toward the peer.
    pub(super) own: PeerSession,
    /// The number of the last frame to the peer.
    number: u64,
    pub(super) adopted: AdoptedSessions,
    pub(super) contacts: BTreeMap<WayId, Contact>,
    /// The way of the last accepted frame. `None`: the peer is not known to be reachable.
    pub(super) last_way: Option<WayId>,
    /// The address that was last announced.
    pub(super) address: Option<Option<MemberAddress>>,
    /// The authentic frames of the peer, over all ways. Only these count: nobody else can use it up.
    pub(super) budget: FrameBudget,
    pub(super) held_back: HeldBack,
}

impl Peer {
    pub(super) fn new(key: NodeKey, own: &mut OwnEnd) -> Self {
        Self {
            key,
            own: own.new_session(),
            number: 0,
            adopted: AdoptedSessions::default(),
            contacts: BTreeMap::new(),
            last_way: None,
            address: None,
            budget: FrameBudget::new(),
            held_back: HeldBack::default(),
        }
    }

    fn header(&mut self, own: &OwnEnd) -> FrameHeader {
        self.number += 1;
        FrameHeader { from: own.key, to: self.key, session: self.own, number: self.number }
    }

    /// The frame of a message. `None`: no session of the peer is known, so nobody could verify it.
    pub(super) fn message(&mut self, message: &[u8], own: &OwnEnd) -> Result<Option<Bytes>, DecodeError> {
        let Some(receiver) = self.adopted.current() else { return Ok(None) };
        let frame = self.header(own).seal_message(message, &receiver, &own.cluster, &own.secret)?;
        Ok(Some(frame.into()))
    }

    /// The hello that is due on a way, if one is. Each has a number of its own, so that the first of two ways does not spoil the other one.
    pub(super) fn due_hello(&mut self, way: WayId, own: &OwnEnd, now: Duration) -> Option<Bytes> {
        let contact = self.contacts.get_mut(&way).filter(|contact| contact.next_hello().is_some_and(|at| at <= now))?;
        if !contact.take_hello(now) {
            return None;
        }
        let echo = contact.seen.or(self.adopted.current());
        let is_adopted = echo.is_some_and(|echo| self.adopted.greatest(&echo).is_some());
        // Also on a way that is new while another one works: without an answer, nobody knows whether it works, too.
        let asks = !is_adopted || contact.heard.is_none() || self.last_way.is_none();
        let hello = PeerHello { echo, asks, address: own.address.clone() };
        // Fails only after 2^53 frames.
        self.header(own).seal_hello(&hello, &own.cluster, &own.secret).ok().map(Bytes::from)
    }

    /// Decides whether an authentic hello is new, and adopts its session if the hello was signed after this end drew its own.
    pub(super) fn judge(&mut self, header: &FrameHeader, echo: Option<PeerSession>, own: &mut OwnEnd) -> Freshness {
        let FrameHeader { session, number, .. } = *header;
        if self.adopted.accept(session, number) {
            return Freshness::Known;
        }
        if echo != Some(self.own) {
            return Freshness::Unproven;
        }
        if self.adopted.adopt(session, number).is_err() {
            // With a new session of this end, nothing signed before can be accepted, so the old sessions may be forgotten.
            self.own = own.new_session();
            self.adopted = AdoptedSessions::default();
            self.last_way = None;
            return Freshness::Unproven;
        }
        Freshness::NewSession
    }

    /// The ways for a message: the direct one that works, or else all that might, and of the relays only one that works if there is one.
    /// Without the rest, a way that died or an impostor's could hold messages up.
    pub(super) fn route(&self, now: Duration) -> Vec<WayId> {
        let latest = |is_relay| {
            let recent =
                self.contacts.iter().filter(move |(_, contact)| contact.is_relay == is_relay && contact.is_recent(now));
            recent.max_by_key(|(way, contact)| (contact.heard, **way)).map(|(way, _)| *way)
        };
        if let Some(direct) = latest(false) {
            return vec![direct];
        }
        let relay = latest(true);
        let is_used = |way: WayId, contact: &Contact| match contact.is_relay {
            true => relay.is_none_or(|relay| relay == way),
            false => contact.heard.is_some(),
        };
        self.contacts.iter().filter(|(way, contact)| is_used(**way, contact)).map(|(way, _)| *way).collect()
    }

    /// Whether the peer was ever heard on a direct way that is up.
    pub(super) fn has_direct_way(&self) -> bool {
        self.contacts.values().any(|contact| !contact.is_relay && contact.heard.is_some())
    }

    /// The way that has to go because the peer opened too many. `accepted`: the ways that it opened and was heard on.
    pub(super) fn surplus_way(&self, accepted: &[WayId]) -> Option<WayId> {
        if accepted.len() <= ACCEPTED_WAYS {
            return None;
        }
        accepted.iter().copied().min_by_key(|way| (self.contacts.get(way).and_then(|contact| contact.heard), *way))
    }
}
