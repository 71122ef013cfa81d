//! The connected members, for parts of the server that ask them: sends requests, and collects the replies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::committee::Committee;
use vouch_core::message::{Message, Stream};
use vouch_node_core::server::StreamNumbers;

use super::Snapshot;
use super::routes::{Reply, Route, Routes};
use crate::host::Host;
use crate::latest::{Follower, Latest};

/// The links of the connected members. Clones share them.
#[derive(Clone)]
pub(super) struct MemberLinks {
    host: Host,
    snapshot: Arc<Latest<Arc<Snapshot>>>,
    numbers: StreamNumbers,
    routes: Routes,
}

impl MemberLinks {
    pub(super) fn new(
        host: Host,
        snapshot: Arc<Latest<Arc<Snapshot>>>,
        numbers: StreamNumbers,
        routes: Routes,
    ) -> Self {
        Self { host, snapshot, numbers, routes }
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

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.get()
    }

    pub(super) fn follow(&self) -> Follower<Arc<Snapshot>> {
        self.snapshot.follow()
    }

    pub(super) fn committee(&self) -> Option<Arc<Committee>> {
        self.snapshot().committee.clone()
    }

    /// The indices of the connected members.
    pub(super) fn connected(&self) -> BTreeSet<u16> {
        self.snapshot().members.keys().copied().collect()
    }

    /// Queues a message for a member. `false` if it is not connected or does not read.
    pub(super) fn tell(&self, member: u16, message: &Message) -> bool {
        self.snapshot().members.get(&member).is_some_and(|handle| handle.tell(message))
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
        Replies { host: self.host.clone(), inbox, _route: self.routes.open(stream, mailbox) }
    }
}

/// The replies on one stream. Dropping it ends the route.
pub(super) struct Replies {
    host: Host,
    inbox: mpsc::Receiver<Box<Reply>>,
    _route: Route,
}

impl Replies {
    /// The next reply; `None` at the time `until` on the monotonic clock, unless a reply is waiting then.
    pub(super) async fn next(&mut self, until: Duration) -> Option<Reply> {
        let left = until.saturating_sub(self.host.monotonic());
        let reply = self.host.timeout(left, self.inbox.recv()).await.ok().flatten();
        reply.map(|reply| *reply)
    }
}
