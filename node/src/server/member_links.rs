//! The committees and the connected members, as all parts of the server see them: sends members requests, and collects the replies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Message, Stream};
use vouch_node_core::server::StreamNumbers;
use vouch_node_core::server::health::LinkId;

use super::reply_routing::{Reply, Route, Routes};
use crate::host::Host;
use crate::latest::{Follower, Latest};
use crate::link::ByteBoundedQueue;

/// The handle of a connected replica.
#[derive(Debug, Clone)]
pub(super) struct ReplicaHandle {
    /// Distinguishes the link from earlier ones of the same replica.
    pub(super) link: LinkId,
    /// Control messages, which overtake data. If this queue is full, the replica does not read, and the link is closed.
    pub(super) control: ByteBoundedQueue,
    pub(super) data: ByteBoundedQueue,
}

impl ReplicaHandle {
    /// Queues a control message. `false` if the replica has disconnected or does not read.
    pub(super) fn try_send(&self, message: &Message) -> bool {
        self.control.try_send(&message.encode())
    }
}

/// The committees and the connected members at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// `None` before the founding.
    pub(super) chain: Option<CommitteeChain>,
    /// By index in the current committee.
    pub(super) members: BTreeMap<u16, ReplicaHandle>,
}

impl Snapshot {
    /// The current epoch; 0 before the founding.
    pub(super) fn epoch(&self) -> u64 {
        self.chain.as_ref().map_or(0, |chain| chain.current().record().epoch())
    }

    /// The connected members with their links.
    pub(super) fn links(&self) -> BTreeMap<u16, LinkId> {
        self.members.iter().map(|(member, handle)| (*member, handle.link)).collect()
    }

    /// The connected members with their links; `None` before there is a committee.
    pub(super) fn committee_links(&self) -> Option<BTreeMap<u16, LinkId>> {
        self.chain.is_some().then(|| self.links())
    }
}

/// The links of the connected members. Clones share them.
#[derive(Clone)]
pub(super) struct MemberLinks {
    host: Host,
    snapshot: Arc<Latest<Arc<Snapshot>>>,
    numbers: StreamNumbers,
    routes: Routes,
}

impl MemberLinks {
    /// No member is connected. `numbers`: of all requests to members.
    pub(super) fn new(host: Host, chain: Option<CommitteeChain>, numbers: StreamNumbers) -> Self {
        let snapshot = Snapshot { chain, members: BTreeMap::new() };
        Self { host, snapshot: Arc::new(Latest::new(Arc::new(snapshot))), numbers, routes: Routes::default() }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn now(&self) -> Duration {
        self.host.monotonic()
    }

    /// The counter of the server's stream numbers.
    pub(super) fn numbers(&self) -> &StreamNumbers {
        &self.numbers
    }

    /// The open requests.
    pub(super) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Routes replies on `stream` to `mailbox` until the route is dropped.
    pub(super) fn open(&self, stream: Stream, mailbox: mpsc::Sender<Box<Reply>>) -> Route {
        self.routes.open(stream, mailbox)
    }

    /// The committees and the connected members now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.get()
    }

    /// The committees; `None` before the founding.
    pub(super) fn chain(&self) -> Option<CommitteeChain> {
        self.snapshot().chain.clone()
    }

    /// Follows the committees and the connected members.
    pub(super) fn follow(&self) -> Follower<Arc<Snapshot>> {
        self.snapshot.follow()
    }

    /// Publishes the committees and the connected members.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.snapshot.replace(Arc::new(snapshot));
    }

    /// The indices of the connected members.
    pub(super) fn connected(&self) -> BTreeSet<u16> {
        self.snapshot().members.keys().copied().collect()
    }

    /// Queues a message for a member. `false` if it is not connected or does not read.
    pub(super) fn try_send(&self, member: u16, message: &Message) -> bool {
        self.snapshot().members.get(&member).is_some_and(|handle| handle.try_send(message))
    }

    /// Queues a message, encoded once, for these members. Returns those that are connected and whose queues had room.
    pub(super) fn ask(&self, members: &BTreeSet<u16>, message: &Message) -> BTreeSet<u16> {
        let (bytes, snapshot) = (message.encode(), self.snapshot());
        let is_sent =
            |member: &&u16| snapshot.members.get(*member).is_some_and(|handle| handle.control.try_send(&bytes));
        members.iter().filter(is_sent).copied().collect()
    }

    /// Collects the replies on a stream, at most `most` that were not taken yet.
    pub(super) fn replies(&self, stream: Stream, most: usize) -> Replies {
        let (mailbox, inbox) = mpsc::channel(most.max(1));
        Replies { host: self.host.clone(), stream, inbox, _route: self.open(stream, mailbox) }
    }
}

/// The replies on one stream. Dropping it ends the route.
pub(super) struct Replies {
    host: Host,
    stream: Stream,
    inbox: mpsc::Receiver<Box<Reply>>,
    _route: Route,
}

impl Replies {
    /// The stream.
    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// The next reply.
    pub(super) async fn recv(&mut self) -> Option<Reply> {
        self.inbox.recv().await.map(|reply| *reply)
    }

    /// The next reply; `None` at the time `until` on the monotonic clock, unless a reply is waiting then.
    pub(super) async fn next(&mut self, until: Duration) -> Option<Reply> {
        let left = until.saturating_sub(self.host.monotonic());
        let reply = self.host.timeout(left, self.inbox.recv()).await.ok().flatten();
        reply.map(|reply| *reply)
    }
}
