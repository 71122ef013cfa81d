//! Queues one put's messages for its members. The core decides which members to wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use vouch_core::message::{Message, Stream};
use vouch_node_core::server::fanout::{Fanout, FanoutInput, FanoutOutput};
use vouch_node_core::server::put::Forwarded;

use super::core_performer::CorePerformer;
use super::member_links::ReplicaHandle;
use crate::host::Host;

/// The queues of one put's members.
pub(super) struct MemberQueues {
    host: Host,
    server_core: Arc<CorePerformer>,
    /// The server's stream number of the put.
    stream: Stream,
    core: Fanout,
    /// The members with which the put began.
    handles: BTreeMap<u16, ReplicaHandle>,
}

impl MemberQueues {
    pub(super) fn new(
        host: Host,
        server_core: Arc<CorePerformer>,
        stream: Stream,
        handles: BTreeMap<u16, ReplicaHandle>,
        quorum: usize,
    ) -> Self {
        let core = Fanout::new(handles.keys().copied().collect(), quorum);
        Self { host, server_core, stream, core, handles }
    }

    /// Queues the same message for every member. Returns the members that have left the put.
    pub(super) async fn send(&mut self, message: &Bytes) -> Forwarded {
        let takes = |member: &&u16| self.handles.get(*member).is_some_and(|handle| handle.data.try_send(message));
        let without_room: BTreeSet<u16> = self.core.members().iter().filter(|member| !takes(member)).copied().collect();
        if without_room.is_empty() {
            return self.handle(FanoutInput::Queued { without_room }).unwrap_or_default();
        }
        let waiting = without_room.iter().filter_map(|member| Some((*member, self.handles.get(member)?.data.clone())));
        let mut waiting: FuturesUnordered<_> =
            waiting.map(|(member, data)| async move { (member, data.send(message.clone()).await.is_ok()) }).collect();
        let mut input = FanoutInput::Queued { without_room };
        let outputs = loop {
            let now = self.host.monotonic();
            let not_awaited = self.server_core.state().not_awaited_with_bytes(now);
            let outputs = self.core.handle(input, now, &not_awaited);
            let until = outputs.iter().find_map(|output| match output {
                FanoutOutput::WaitUntil(until) => Some(*until),
                _ => None,
            });
            let Some(until) = until else { break outputs };
            input = match self.host.timeout(until.saturating_sub(now), waiting.next()).await {
                Ok(Some((member, true))) => FanoutInput::Took(member),
                Ok(Some((member, false))) => FanoutInput::Gone(member),
                Ok(None) | Err(_) => FanoutInput::Tick,
            };
        };
        // Stop waiting before a cancel is queued: the message must not follow it.
        drop(waiting);
        self.perform(outputs).unwrap_or_default()
    }

    /// Gives the core an input that does not wait for members.
    pub(super) fn handle(&mut self, input: FanoutInput) -> Option<Forwarded> {
        let outputs = self.core.handle(input, self.host.monotonic(), &BTreeSet::new());
        self.perform(outputs)
    }

    fn perform(&self, outputs: Vec<FanoutOutput>) -> Option<Forwarded> {
        let mut sent = None;
        for output in outputs {
            match output {
                FanoutOutput::Cancel { member, keep } => {
                    if let Some(handle) = self.handles.get(&member) {
                        let cancel = Message::Cancel { stream: self.stream, keep }.encode();
                        queue_behind(&self.host, handle, cancel);
                    }
                }
                FanoutOutput::Sent(forwarded) => sent = Some(forwarded),
                FanoutOutput::WaitUntil(_) => {}
            }
        }
        sent
    }
}

/// Queues a message behind the waiting ones, once there is room.
fn queue_behind(host: &Host, handle: &ReplicaHandle, message: Bytes) {
    if handle.data.try_send(&message) {
        return;
    }
    let data = handle.data.clone();
    host.spawn(async move {
        // Ends with the link at the latest, which ends the put as well.
        let _ = data.send(message).await;
    });
}
