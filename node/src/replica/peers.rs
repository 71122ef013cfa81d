//! The network between members: gives the core's state machine the frames of every way, and performs its outputs.

mod addresses;
mod connections;
mod events;
mod listening;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};
use vouch_core::digest::ClusterId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::peer_frame::MemberAddress;
use vouch_node_core::peers::{HeldBack, Peers, PeersInput, PeersOutput, WayId, WayKind};

use crate::host::Host;
use crate::link::Outgoing;
pub(super) use addresses::AddressBook;
pub(super) use connections::Connections;
use events::EventQueue;
pub(super) use events::{PeerEvent, PeerEvents};
pub use listening::ListenError;
pub(super) use listening::{Listening, listen};
pub(super) use ways::RelayWay;
use ways::WayQueue;

/// The network of one member. Clones share it.
#[derive(Clone)]
pub(super) struct PeerNetwork(Arc<Shared>);

struct Shared {
    host: Host,
    /// Locked for one call, never across an await.
    state: Mutex<State>,
    /// There may be another time at which the core wants to be woken.
    changed: Notify,
    /// A connection ended, or the members or their addresses changed.
    reachability: Notify,
}

struct State {
    /// This end's node key, once it is a member.
    own: Option<NodeKey>,
    /// `None` until the members are known.
    core: Option<Peers>,
    /// The queues of the ways that are up.
    ways: BTreeMap<WayId, (WayKind, WayQueue)>,
    next_way: u64,
    events: EventQueue,
    /// Where this end accepts connections.
    announced: Option<MemberAddress>,
    addresses: AddressBook,
}

impl PeerNetwork {
    /// A network that nobody is in yet, and what it delivers. `announced`: where this end accepts connections.
    pub(super) fn new(host: Host, announced: Option<MemberAddress>, addresses: AddressBook) -> (Self, PeerEvents) {
        let (events, delivered) = events::queue();
        let state = State { own: None, core: None, ways: BTreeMap::new(), next_way: 0, events, announced, addresses };
        let (changed, reachability) = (Notify::new(), Notify::new());
        (Self(Arc::new(Shared { host, state: Mutex::new(state), changed, reachability })), delivered)
    }

    /// Joins the other members of a cluster.
    pub(super) fn join(&self, key: Arc<NodeSecretKey>, cluster: ClusterId, members: Vec<NodeKey>) {
        let session = self.0.host.random();
        let inputs = {
            let mut state = self.state();
            state.own = Some(key.node_key());
            state.addresses.retain(&members);
            state.core = Some(Peers::new(key, cluster, session, state.announced.clone()));
            let ways = state.ways.iter().map(|(way, (kind, _))| PeersInput::WayUp(*way, *kind));
            [PeersInput::Members(members)].into_iter().chain(ways).collect::<Vec<_>>()
        };
        inputs.into_iter().for_each(|input| self.handle(input));
        self.0.reachability.notify_waiters();
    }

    /// The nodes that this end exchanges messages with from now on, if it joined before.
    pub(super) fn set_members(&self, members: Vec<NodeKey>) {
        self.state().addresses.retain(&members);
        self.handle(PeersInput::Members(members));
        self.0.reachability.notify_waiters();
    }

    /// A server's link is up, and relays frames. Dropping the way ends it.
    pub(super) fn relay(&self, link: mpsc::Sender<Outgoing>) -> RelayWay {
        RelayWay { network: self.clone(), way: self.add(WayKind::Relay, WayQueue::relay(link)) }
    }

    /// Sends a message to a member, if there is a way to it.
    pub(super) fn send(&self, to: NodeKey, message: Bytes) {
        self.handle(PeersInput::Send { to, message });
    }

    /// Sends a message to every other member that there is a way to.
    pub(super) fn broadcast(&self, message: Bytes) {
        self.handle(PeersInput::Broadcast(message));
    }

    /// Gives the core the time whenever it wants it. Never completes.
    pub(super) async fn keep_time(&self) {
        let host = &self.0.host;
        loop {
            // Registered before the look, so that a change in between wakes this task.
            let changed = self.0.changed.notified();
            let due = self.state().core.as_ref().and_then(Peers::next_tick);
            match due {
                None => changed.await,
                Some(due) => {
                    let left = due.saturating_sub(host.monotonic());
                    if host.timeout(left, changed).await.is_err() {
                        self.handle(PeersInput::Tick);
                    }
                }
            }
        }
    }

    fn add(&self, kind: WayKind, queue: WayQueue) -> WayId {
        let way = {
            let mut state = self.state();
            let way = WayId(state.next_way);
            state.next_way += 1;
            state.ways.insert(way, (kind, queue));
            way
        };
        self.handle(PeersInput::WayUp(way, kind));
        way
    }

    fn remove(&self, way: WayId) {
        self.state().ways.remove(&way);
        self.handle(PeersInput::WayDown(way));
        self.0.reachability.notify_waiters();
    }

    fn host(&self) -> &Host {
        &self.0.host
    }

    fn is_joined(&self) -> bool {
        self.state().core.is_some()
    }

    /// Whether a member was heard on a way.
    fn is_proven(&self, way: WayId) -> bool {
        self.state().core.as_ref().is_some_and(|core| core.is_proven(way))
    }

    /// How long nothing is to be read from a connection: its peer sends more than is taken.
    fn pause(&self, way: WayId) -> Option<Duration> {
        let now = self.0.host.monotonic();
        let until = self.state().core.as_mut()?.pause(way, now)?;
        Some(until.saturating_sub(now))
    }

    /// The peers that sent more than was taken, and what was held back of each.
    pub(super) fn held_back(&self) -> Vec<(NodeKey, HeldBack)> {
        let state = self.state();
        let peers = state.core.iter().flat_map(|core| core.held_back());
        peers.map(|(peer, held_back)| (*peer, held_back)).collect()
    }

    /// Completes when a connection ends, or the members or their addresses change, from now on.
    fn reachability_changed(&self) -> Notified<'_> {
        self.0.reachability.notified()
    }

    /// This end's node key, and the peers with a known address to which no connection works. `None` before this end is a member.
    fn unconnected(&self) -> Option<(NodeKey, Vec<(NodeKey, MemberAddress)>)> {
        let state = self.state();
        let (own, core) = (state.own?, state.core.as_ref()?);
        let peers = state.addresses.iter().filter(|(peer, _)| **peer != own && !core.has_direct_way(peer));
        Some((own, peers.map(|(peer, address)| (*peer, address.clone())).collect()))
    }

    /// The file of addresses, if it has to be written.
    fn unsaved_addresses(&self) -> Option<(PathBuf, Vec<u8>)> {
        self.state().addresses.take_unsaved()
    }

    /// The file of addresses was not written.
    fn addresses_not_saved(&self) {
        self.state().addresses.not_saved();
    }

    /// Lets the core decide, and performs its outputs. The order of the outputs is kept: the lock is held until all are queued.
    fn handle(&self, input: PeersInput) {
        let mut state = self.state();
        let State { core: Some(core), ways, events, addresses, .. } = &mut *state else { return };
        let before = core.next_tick();
        for output in core.handle(input, self.0.host.monotonic()) {
            match output {
                PeersOutput::Transmit { way, bytes } => {
                    // Dropped if the way's queue is full: who sends it repeats what matters.
                    if let Some((_, queue)) = ways.get(&way) {
                        queue.try_send(bytes);
                    }
                }
                PeersOutput::Deliver { from, message } => events.push(PeerEvent::Message { from, bytes: message }),
                PeersOutput::PeerUp(peer) => events.push(PeerEvent::Up(peer)),
                PeersOutput::Address { peer, address } => {
                    addresses.set(peer, address);
                    self.0.reachability.notify_waiters();
                }
                // The owner of the way sees that its queue has ended.
                PeersOutput::Close { way, .. } => drop(ways.remove(&way)),
            }
        }
        if core.next_tick() != before {
            self.0.changed.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Recover from poisoning: the core is asked again with the next input.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
