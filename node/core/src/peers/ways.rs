//! The ways that are up.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::link::NodeKey;

/// Maximum number of servers that relay.
const RELAYS: usize = 64;
/// Accepted connections beyond two for each peer: of those that did not show yet who they are.
const STRANGERS: usize = 16;
/// Dialled connections to one peer: a new one may come before the end of the old one is noticed.
const DIALLED_PER_PEER: usize = 2;
/// On an accepted connection, a member must be heard within this time.
const ACCEPTED_DEADLINE: Duration = Duration::from_secs(5);
/// On a dialled connection, the peer must be heard within this time: longer than it is greeted.
const DIALLED_DEADLINE: Duration = Duration::from_secs(10);

/// Names a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WayId(pub u64);

/// What kind of way it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayKind {
    /// A connection to the address of this peer.
    Dialled(NodeKey),
    /// A connection from somebody.
    Accepted,
    /// A link to a server that relays frames to members.
    Relay,
}

/// Why a way is closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WayClosed {
    /// A frame does not follow the layout.
    #[error("frame of a member: {0}")]
    Malformed(DecodeError),
    /// The first frame is not signed by the member that it names.
    #[error("frame of a member: expected a signature by {from}, got another")]
    Forged {
        /// The member.
        from: NodeKey,
    },
    /// A frame is for another node.
    #[error("frame of a member: expected one for this node, got one for {to}")]
    Misdirected {
        /// The other node.
        to: NodeKey,
    },
    /// A frame is of another member than the frames before it, or than the one dialled.
    #[error("frame of a member: expected one of {expected}, got one of {got}")]
    AnotherMember {
        /// The member at the other end.
        expected: NodeKey,
        /// The member that the frame names.
        got: NodeKey,
    },
    /// The other end is not a member, or no longer.
    #[error("expected a member of the cluster, got {0}")]
    NotAMember(NodeKey),
    /// No member was heard in time.
    #[error("expected a frame of a member, got none in time")]
    Silent,
    /// There are as many ways of this kind as may be.
    #[error("connections: expected at most {limit}, got one more")]
    TooMany {
        /// The maximum.
        limit: usize,
    },
    /// The member opened other connections since.
    #[error("replaced by later connections of the same member")]
    Replaced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) kind: WayKind,
    /// The member at the other end. `None`: a relay, or not known yet.
    pub(super) peer: Option<NodeKey>,
    /// When a direct way is closed unless a member was heard on it.
    deadline: Option<Duration>,
}

impl Way {
    /// Whether a member was heard on it, or it is a relay.
    pub(super) fn is_proven(&self) -> bool {
        self.deadline.is_none()
    }
}

#[derive(Debug, Default)]
pub(super) struct Ways(BTreeMap<WayId, Way>);

impl Ways {
    pub(super) fn get(&self, id: WayId) -> Option<Way> {
        self.0.get(&id).copied()
    }

    /// The maximum number of ways of a kind, if there are so many.
    pub(super) fn limit(&self, kind: WayKind, peers: usize) -> Option<usize> {
        let limit = match kind {
            WayKind::Dialled(_) => DIALLED_PER_PEER,
            WayKind::Accepted => 2 * peers + STRANGERS,
            WayKind::Relay => RELAYS,
        };
        let count = self.0.values().filter(|way| way.kind == kind).count();
        (count >= limit).then_some(limit)
    }

    pub(super) fn insert(&mut self, id: WayId, kind: WayKind, now: Duration) {
        let (peer, deadline) = match kind {
            WayKind::Dialled(peer) => (Some(peer), Some(now + DIALLED_DEADLINE)),
            WayKind::Accepted => (None, Some(now + ACCEPTED_DEADLINE)),
            WayKind::Relay => (None, None),
        };
        self.0.insert(id, Way { kind, peer, deadline });
    }

    pub(super) fn remove(&mut self, id: WayId) -> Option<Way> {
        self.0.remove(&id)
    }

    /// The member at the other end of a connection is known.
    pub(super) fn belongs_to(&mut self, id: WayId, peer: NodeKey) {
        if let Some(way) = self.0.get_mut(&id).filter(|way| way.kind != WayKind::Relay) {
            way.peer = Some(peer);
        }
    }

    /// The member was heard: its connection has no deadline any more. `true` if it had one.
    pub(super) fn proven(&mut self, id: WayId) -> bool {
        self.0.get_mut(&id).is_some_and(|way| way.deadline.take().is_some())
    }

    pub(super) fn relays(&self) -> impl Iterator<Item = WayId> {
        self.0.iter().filter(|(_, way)| way.kind == WayKind::Relay).map(|(id, _)| *id)
    }

    /// The connections of a member.
    pub(super) fn direct_of(&self, peer: &NodeKey) -> Vec<WayId> {
        self.0.iter().filter(|(_, way)| way.peer == Some(*peer)).map(|(id, _)| *id).collect()
    }

    /// The connections that a member opened and was heard on.
    pub(super) fn accepted_of(&self, peer: &NodeKey) -> Vec<WayId> {
        let is_accepted = |way: &Way| way.kind == WayKind::Accepted && way.peer == Some(*peer) && way.is_proven();
        self.0.iter().filter(|(_, way)| is_accepted(way)).map(|(id, _)| *id).collect()
    }

    /// The connections whose deadline has passed.
    pub(super) fn silent(&self, now: Duration) -> Vec<WayId> {
        self.0.iter().filter(|(_, way)| way.deadline.is_some_and(|at| at <= now)).map(|(id, _)| *id).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.0.values().filter_map(|way| way.deadline).min()
    }
}
