//! The ways to other members.

use bytes::Bytes;
use tokio::sync::mpsc;
use vouch_core::message::Message;
use vouch_node_core::peers::{PeersInput, WayId};

use super::PeerNetwork;
use crate::link::{ByteBoundedQueue, Outgoing};

/// Maximum size in bytes of the frames that wait for one way. More are dropped.
const QUEUE: usize = 1 << 20;

/// The frames that wait for a way.
pub(super) enum WayQueue {
    /// The queue of a link to a server, which its other messages share.
    Relay(ByteBoundedQueue),
    /// The queue of a connection to a member, which ends when this is dropped.
    Connection(ByteBoundedQueue),
}

impl WayQueue {
    pub(super) fn relay(link: mpsc::Sender<Outgoing>) -> Self {
        Self::Relay(ByteBoundedQueue::over(link, QUEUE))
    }

    /// Queues a frame. `false` if there is no room.
    pub(super) fn try_send(&self, frame: Bytes) -> bool {
        match self {
            Self::Relay(queue) => queue.try_send(&Message::Peer(frame).encode()),
            Self::Connection(queue) => queue.try_send(&frame),
        }
    }
}

/// A server's link, as a way to the members behind it.
pub(in crate::replica) struct RelayWay {
    pub(super) network: PeerNetwork,
    pub(super) way: WayId,
}

impl RelayWay {
    /// A frame came from the server.
    pub(in crate::replica) fn frame(&self, bytes: Bytes) {
        self.network.handle(PeersInput::Frame { way: self.way, bytes });
    }
}

impl Drop for RelayWay {
    fn drop(&mut self) {
        self.network.remove(self.way);
    }
}
