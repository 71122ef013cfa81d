//! Sends one put's bytes to its members through their bounded queues, and never waits for the slowest once a quorum has room.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use vouch_core::message::{Message, Stream};
use vouch_node_core::server::put::Forwarded;

use super::{ReplicaHandle, SharedCore};
use crate::host::Host;

/// How long a put waits, over all its chunks, for members behind a quorum.
const LAG_BUDGET: Duration = Duration::from_secs(2);
/// How long it waits for a quorum to have room for one chunk.
const STALL_DEADLINE: Duration = Duration::from_secs(30);

/// The members that one put flows to.
pub(crate) struct Fanout {
    host: Host,
    stream: Stream,
    members: BTreeMap<u16, ReplicaHandle>,
    quorum: usize,
    core: SharedCore,
    lag_left: Duration,
}

impl Fanout {
    pub(crate) fn new(
        host: Host,
        stream: Stream,
        members: BTreeMap<u16, ReplicaHandle>,
        quorum: usize,
        core: SharedCore,
    ) -> Self {
        Self { host, stream, members, quorum, core, lag_left: LAG_BUDGET }
    }

    pub(crate) fn remove(&mut self, member: u16) {
        self.members.remove(&member);
    }

    /// Tells a member that the put goes on without it; what came of it may do for another one.
    pub(crate) fn leave_out(&mut self, member: u16) {
        if let Some(handle) = self.members.remove(&member) {
            queue_behind(&self.host, &handle, &Message::Cancel { stream: self.stream, keep: true }.encode());
        }
    }

    fn is_waited_for<'a>(&self, mut awaited: impl Iterator<Item = &'a ReplicaHandle>, now: Duration) -> bool {
        let core = self.core.lock();
        awaited.any(|handle| core.health().is_waited_for_with_bytes(&handle.link.node_key, now))
    }

    /// Tells every member that the put is off, and whether to keep what came of it for another one.
    pub(crate) fn cancel_all(&self, keep: bool) {
        let cancel = Message::Cancel { stream: self.stream, keep }.encode();
        self.members.values().for_each(|handle| queue_behind(&self.host, handle, &cancel));
    }

    /// Queues the same bytes for every member; returns those that take no part any more.
    pub(crate) async fn send(&mut self, bytes: &Bytes) -> Forwarded {
        let without_room: Vec<u16> =
            self.members.iter().filter(|(_, handle)| !handle.data.try_send(bytes)).map(|(member, _)| *member).collect();
        if without_room.is_empty() { Forwarded::default() } else { self.wait_for(without_room, bytes).await }
    }

    /// Waits for those that have no room: for a quorum as long as it takes, for the rest a little, for who is slow anyway no more.
    async fn wait_for(&mut self, waiting: Vec<u16>, bytes: &Bytes) -> Forwarded {
        let mut sent = self.members.len() - waiting.len();
        let mut awaited: BTreeMap<u16, ReplicaHandle> = waiting
            .into_iter()
            .filter_map(|member| self.members.get(&member).map(|handle| (member, handle.clone())))
            .collect();
        let mut gone = Vec::new();
        let mut sending: FuturesUnordered<_> = awaited
            .iter()
            .map(|(member, handle)| {
                let (member, data, bytes) = (*member, handle.data.clone(), bytes.clone());
                async move { (member, data.send(bytes).await) }
            })
            .collect();
        let (started, mut enough_at) = (self.host.monotonic(), None);
        while !sending.is_empty() {
            let now = self.host.monotonic();
            let patience = if sent < self.quorum {
                (started + STALL_DEADLINE).saturating_sub(now)
            } else if !self.is_waited_for(awaited.values(), now) {
                break;
            } else {
                (*enough_at.get_or_insert(now) + self.lag_left).saturating_sub(now)
            };
            match self.host.timeout(patience, sending.next()).await {
                Ok(Some((member, result))) => {
                    awaited.remove(&member);
                    match result {
                        Ok(()) => sent += 1,
                        Err(_) => gone.push(member),
                    }
                }
                Ok(None) | Err(_) => break,
            }
        }
        drop(sending);
        if let Some(enough_at) = enough_at {
            self.lag_left = self.lag_left.saturating_sub(self.host.monotonic().saturating_sub(enough_at));
        }
        let cancel = Message::Cancel { stream: self.stream, keep: true }.encode();
        for handle in awaited.values() {
            queue_behind(&self.host, handle, &cancel);
        }
        let too_slow: Vec<u16> = awaited.into_keys().collect();
        self.members.retain(|member, _| !gone.contains(member) && !too_slow.contains(member));
        Forwarded { gone, too_slow }
    }
}

/// Behind what is queued already: a cancel that overtakes the put's beginning would leave it begun for ever.
fn queue_behind(host: &Host, handle: &ReplicaHandle, cancel: &Bytes) {
    if handle.data.try_send(cancel) {
        return;
    }
    let (data, cancel) = (handle.data.clone(), cancel.clone());
    host.spawn(async move {
        // ends with the link at the latest, and with it the put
        let _ = data.send(cancel).await;
    });
}
