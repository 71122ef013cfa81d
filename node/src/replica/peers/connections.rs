//! Connections between members: accepted, dialled, and served until they end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::link::NodeKey;
use vouch_core::peer_frame::MemberAddress;
use vouch_node_core::budgets::{AddressBuckets, LimitReport};
use vouch_node_core::peers::{DialPlan, PeersInput, WayId, WayKind};

use super::listening::Listening;
use super::ways::WayQueue;
use super::{PeerNetwork, addresses};
use crate::budgets::{Party, Permit, Pool, Rules};
use crate::host::Host;
use crate::host::net::{Io, Listener};
use crate::host::tasks::JoinSet;
use crate::link::{self, Allowance, ByteBoundedQueue, LinkReader, LinkWriter, Outgoing};

/// Maximum size in bytes of the frames that wait for one connection: the blocks of one answer to a member that catches up. More are dropped.
const QUEUE: usize = 3 << 20;
/// Connections on which no member was heard yet, those of one address give way to those of another.
const STRANGERS: u64 = 16;
/// Connections of one address: so many at once, and then one per interval.
const ACCEPTED: u32 = 128;
const ACCEPT_EVERY: Duration = Duration::from_millis(250);
/// Pause after an error of the listening socket, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Pause after the addresses could not be saved.
const SAVE_PAUSE: Duration = Duration::from_secs(60);

/// The connections of a network.
pub(in crate::replica) struct Connections {
    network: PeerNetwork,
    listening: Option<Listening>,
}

/// One connection, as a way of the network.
struct DirectWay {
    network: PeerNetwork,
    way: WayId,
}

impl Drop for DirectWay {
    fn drop(&mut self) {
        self.network.remove(self.way);
    }
}

impl Connections {
    pub(in crate::replica) fn new(network: PeerNetwork, listening: Option<Listening>) -> Self {
        Self { network, listening }
    }

    /// The address of the listening socket.
    pub(in crate::replica) fn local_addr(&self) -> Option<SocketAddr> {
        self.listening.as_ref().and_then(|listening| listening.listener.local_addr().ok())
    }

    /// Accepts and dials members, and keeps their addresses. Never completes. `trouble` takes what the operator should know.
    pub(in crate::replica) async fn run(self, trouble: impl Fn(String)) {
        let Self { network, listening } = self;
        let accepting = async {
            match listening {
                Some(Listening { listener, .. }) => accept(&network, &*listener).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(accepting, dial(&network), keep_saved(&network, trouble));
    }
}

/// Serves a connection until it ends. `place`: of an accepted one, until a member is heard on it.
async fn serve(network: &PeerNetwork, kind: WayKind, link: (LinkReader, LinkWriter), place: Option<Permit>) {
    let ((mut reader, mut writer), mut place) = (link, place);
    let (queue, frames) = ByteBoundedQueue::new(QUEUE);
    // Nothing but frames is sent.
    let (_, nothing) = mpsc::channel::<Outgoing>(1);
    let connection = DirectWay { network: network.clone(), way: network.add(kind, WayQueue::Connection(queue)) };
    let mut is_proven = false;
    let reading = async {
        while let Ok(bytes) = reader.next().await {
            network.handle(PeersInput::Frame { way: connection.way, bytes });
            if !is_proven && network.is_proven(connection.way) {
                is_proven = true;
                reader.is_member();
                drop(place.take());
            }
            // The peer's bytes wait in the network meanwhile, and so it is slowed down.
            if let Some(pause) = network.pause(connection.way) {
                network.host().sleep(pause).await;
            }
        }
    };
    tokio::select! {
        biased;
        // Also when the core closes the way, which drops its queue.
        _ = link::write_queues(&mut writer, frames, nothing) => {}
        () = reading => {}
    }
}

/// The budgets of connections on which no member was heard yet.
struct Strangers {
    host: Host,
    connections: Arc<Pool>,
    messages: Arc<Pool>,
    rate: AddressBuckets,
}

impl Strangers {
    fn new(host: &Host) -> Self {
        let limits = Arc::new(std::sync::Mutex::new(LimitReport::default()));
        let pool = |limit| {
            let rules = Rules {
                limit,
                limit_of_one: limit,
                stale_after: Duration::ZERO,
                cut_off: "connections of members cut off",
                refused: "connections of members refused",
            };
            Pool::new(host.clone(), rules, limits.clone())
        };
        Self {
            host: host.clone(),
            connections: pool(STRANGERS),
            messages: pool(STRANGERS * Allowance::MESSAGE),
            rate: AddressBuckets::new(ACCEPTED, ACCEPT_EVERY),
        }
    }

    /// Admits a connection, which may end an older one. `None`: it is refused.
    fn admit(&mut self, from: IpAddr) -> Option<(Allowance, Permit)> {
        let party = Party::new(from.into());
        if !self.rate.take(party.source(), self.host.monotonic()) {
            return None;
        }
        let place = self.connections.claim(&party, 1).ok()?;
        let (connections, messages) = (self.connections.clone(), self.messages.clone());
        let reads = connections.clone();
        // Before a member is heard, only small messages are taken, so their rate does not matter.
        let (rate, window) = (0, Duration::MAX);
        Some((Allowance { host: self.host.clone(), party, messages, connections, reads, rate, window }, place))
    }
}

/// Accepts connections. Never completes.
async fn accept(network: &PeerNetwork, listener: &dyn Listener) {
    let host = network.host();
    let mut strangers = Strangers::new(host);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                // Before this end is a member, nobody can be heard.
                Ok((io, from)) if network.is_joined() => {
                    if let Some((allowance, place)) = strangers.admit(from.ip()) {
                        connections.spawn(serve_accepted(network.clone(), io, allowance, place));
                    }
                }
                Ok(_) => {}
                Err(_) => host.sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn serve_accepted(network: PeerNetwork, io: Box<dyn Io>, allowance: Allowance, place: Permit) {
    let party = allowance.party.clone();
    let serving = async {
        // Held while the connection is upgraded, too.
        let place = place;
        if let Ok(link) = link::accept_member(io, allowance).await {
            serve(&network, WayKind::Accepted, link, Some(place)).await;
        }
    };
    tokio::select! {
        biased;
        () = party.until_cut_off() => {}
        () = serving => {}
    }
}

/// Dials the peers whose addresses are known and to which no connection works. Never completes.
async fn dial(network: &PeerNetwork) {
    let host = network.host();
    let mut connections = JoinSet::new();
    let mut plan = None;
    loop {
        // Registered before the look, so that a change in between wakes this task.
        let changed = network.reachability_changed();
        let now = host.monotonic();
        if let Some((own, wanted)) = network.unconnected() {
            let plan = plan.get_or_insert_with(|| DialPlan::new(own));
            for (peer, address) in plan.due(wanted, now) {
                connections.spawn(serve_dialled(network.clone(), peer, address));
            }
        }
        let next = plan.as_ref().and_then(DialPlan::next).map(|at| at.saturating_sub(now));
        tokio::select! {
            biased;
            Some(Ok((peer, lasted))) = connections.join_next() => {
                if let Some(plan) = &mut plan {
                    plan.ended(&peer, lasted, host.monotonic());
                }
            }
            () = changed => {}
            () = sleep(host, next) => {}
        }
    }
}

/// Returns the peer and how long the connection lasted.
async fn serve_dialled(network: PeerNetwork, peer: NodeKey, address: MemberAddress) -> (NodeKey, Duration) {
    let host = network.host();
    let began = host.monotonic();
    // Without a connection, frames are relayed: nobody has to be told.
    if let Ok(link) = link::dial_member(host, address.as_str()).await {
        serve(&network, WayKind::Dialled(peer), link, None).await;
    }
    (peer, host.monotonic().saturating_sub(began))
}

/// `None`: never completes.
async fn sleep(host: &Host, time: Option<Duration>) {
    match time {
        Some(time) => host.sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Writes the addresses of peers whenever they changed. Never completes.
async fn keep_saved(network: &PeerNetwork, trouble: impl Fn(String)) {
    let host = network.host();
    loop {
        let changed = network.reachability_changed();
        let Some((path, bytes)) = network.unsaved_addresses() else {
            changed.await;
            continue;
        };
        let disk = host.shared_disk();
        let saved = host.spawn_blocking(move || addresses::save(&*disk, &path, &bytes)).await;
        let failed = match saved {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        trouble(format!("the addresses of other members are not saved: {failed}"));
        network.addresses_not_saved();
        host.sleep(SAVE_PAUSE).await;
    }
}
