//! The replica's part in the ordered log: performs what the log's core decides, and answers what servers ask of it.

mod answers;
mod conversion;
mod evidence;
mod opening;
mod status;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use vouch_core::limits::MAX_MEMBERS;
use vouch_core::link::NodeKey;
use vouch_core::log::Op;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_node_core::access::Access;
use vouch_node_core::log::interface::LogClock;
use vouch_node_core::membership::Membership;
use vouch_node_core::replica::Event;
use vouch_node_core::replica::log_calls::{LogCall, OpCaller};

use super::clock_watch::ClockWatch;
use super::context::{OwnIdentity, Reports, Storage};
use super::peers::{PeerEvents, PeerNetwork};
use crate::latest::{Follower, Latest};
use crate::link::Outgoing;
use crate::log::block_store::BlockStore;
pub use status::LogStatus;
use status::SharedStatus;

/// Maximum number of calls that the log has not taken yet.
const CALLS: usize = 1024;
/// Maximum number of the replica's own ops that the log has not taken yet.
const OWN_OPS: usize = 64;

/// The last decided block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tip {
    /// Its height; 0 before the first block.
    pub(super) height: u64,
    /// Its time, seconds since 1970.
    pub(super) time: u64,
}

/// What the log uses of the replica.
pub(super) struct LogContext {
    pub(super) identity: Arc<OwnIdentity>,
    pub(super) reports: Arc<Reports>,
    pub(super) storage: Storage,
    pub(super) clock: Arc<ClockWatch>,
    /// `--recover-log`.
    pub(super) may_recover: bool,
    /// Whether the replica follows the log before it is a member.
    pub(super) joins: bool,
}

impl LogContext {
    fn trouble(&self, text: impl ToString) {
        self.reports.report(Event::Trouble(text.to_string()));
    }

    /// The clocks now. The doubt is asked last: a jump before the time was read is then noticed.
    fn clock(&self) -> LogClock {
        let host = &self.storage.host;
        let (now, unix_seconds) = (host.monotonic(), host.unix_seconds());
        LogClock { now, unix_seconds, is_in_doubt: self.clock.doubt().is_some() }
    }

    fn folder(&self) -> PathBuf {
        self.storage.folder().to_owned()
    }
}

/// What a server asks, and where the answer goes.
struct Call {
    caller: OpCaller,
    call: LogCall,
    replies: mpsc::Sender<Outgoing>,
}

fn busy(stream: Stream) -> Failed {
    Failed::new(stream, Code::Busy, "too much is asked of this replica's log at once")
}

/// The handle of the log, for the links.
pub(super) struct ReplicaLog {
    calls: mpsc::Sender<Call>,
    ops: mpsc::Sender<Op>,
    tip: Latest<Option<Tip>>,
    /// The members' part of the state after the last decided block. `None` while the log does not run.
    membership: Latest<Option<Arc<Membership>>>,
    /// Who may put and read after the last decided block. `None` while the log does not run.
    access: Latest<Option<Arc<Access>>>,
    status: SharedStatus,
    next_link: AtomicU64,
    /// Set once the log is open.
    blocks: OnceLock<Arc<BlockStore>>,
}

/// The log that is to be run.
pub(super) struct LogRunner {
    log: Arc<ReplicaLog>,
    calls: mpsc::Receiver<Call>,
    ops: mpsc::Receiver<Op>,
}

impl ReplicaLog {
    /// The log of this replica. It does nothing until it is [run](LogRunner::run).
    pub(super) fn new() -> (Arc<Self>, LogRunner) {
        let (calls, queue) = mpsc::channel(CALLS);
        let (ops, own_ops) = mpsc::channel(OWN_OPS);
        let (tip, membership, access) = (Latest::new(None), Latest::new(None), Latest::new(None));
        let status = SharedStatus::default();
        let (next_link, blocks) = (AtomicU64::new(0), OnceLock::new());
        let log = Arc::new(Self { calls, ops, tip, membership, access, status, next_link, blocks });
        (log.clone(), LogRunner { log, calls: queue, ops: own_ops })
    }

    /// Wants an op in the log. It may get lost: the caller looks at the state, and submits it again.
    pub(super) fn submit(&self, op: Op) {
        drop(self.ops.try_send(op));
    }

    /// Follows the members' part of the log's state.
    pub(super) fn follow_membership(&self) -> Follower<Option<Arc<Membership>>> {
        self.membership.follow()
    }

    /// Follows who may put and read.
    pub(super) fn follow_access(&self) -> Follower<Option<Arc<Access>>> {
        self.access.follow()
    }

    /// The store of what the log decided. `None` until the log is open.
    pub(super) fn blocks(&self) -> Option<Arc<BlockStore>> {
        self.blocks.get().cloned()
    }

    /// The state of the log, for the operator.
    pub(super) fn status(&self) -> LogStatus {
        self.status.get()
    }

    /// A new link to a server.
    pub(super) fn link(self: &Arc<Self>, replies: mpsc::Sender<Outgoing>) -> LogLink {
        LogLink { log: self.clone(), number: self.next_link.fetch_add(1, Ordering::Relaxed), replies }
    }
}

/// One server's link, as the log sees it.
pub(super) struct LogLink {
    log: Arc<ReplicaLog>,
    number: u64,
    replies: mpsc::Sender<Outgoing>,
}

impl LogLink {
    /// Passes on what the server asks. The log sends the answer. `None`, or the refusal to send.
    pub(super) fn call(&self, stream: Stream, call: LogCall) -> Option<Message> {
        let caller = OpCaller { link: self.number, stream };
        let call = Call { caller, call, replies: self.replies.clone() };
        let refused = self.log.calls.try_send(call).is_err();
        refused.then(|| Message::Failed(busy(stream)))
    }

    /// Tells the server what it should know of the log. Completes when the link ends.
    pub(super) async fn tell(self: Arc<Self>) {
        tokio::select! {
            biased;
            () = self.tell_tips() => {}
            () = self.tell_next_members() => {}
            () = self.tell_access() => {}
        }
    }

    /// Tells the server the nodes of the next committee whenever a change is approved or has ended.
    async fn tell_next_members(&self) {
        let mut states = self.log.follow_membership();
        let mut told = Vec::new();
        loop {
            let next = states.see().as_deref().map(next_members).unwrap_or_default();
            if next != told {
                told.clone_from(&next);
                if self.replies.send(Message::NextMembers { members: next }.encode().into()).await.is_err() {
                    return;
                }
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the server who may put and read, once the log has decided anything about that.
    async fn tell_access(&self) {
        let mut states = self.log.follow_access();
        let mut told = 0;
        loop {
            if let Some(access) = states.see().filter(|access| access.number() != told) {
                told = access.number();
                if self.replies.send(Message::Access(Box::new(access.view())).encode().into()).await.is_err() {
                    return;
                }
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the server of each new last block.
    async fn tell_tips(&self) {
        let mut tips = self.log.tip.follow();
        loop {
            if let Some(Tip { height, time }) = tips.see()
                && self.replies.send(Message::LogTip { height, time }.encode().into()).await.is_err()
            {
                return;
            }
            if tips.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The nodes of the next committee, while a change is approved. With a forced one, also those that leave: it is for emergencies, and puts must not
/// wait for members then.
fn next_members(membership: &Membership) -> Vec<NodeKey> {
    let (committee, Some(running)) = (membership.committee().record(), membership.running()) else { return Vec::new() };
    let mut next: BTreeSet<NodeKey> = running.members(committee).iter().map(|member| member.node_key).collect();
    if running.change.is_forced {
        next.extend(committee.members().iter().map(|member| member.node_key));
    }
    // Only a forced change can name so many. It goes on without: only those that join cannot ask for the time.
    if next.len() > MAX_MEMBERS.into() {
        return Vec::new();
    }
    next.into_iter().collect()
}

impl LogRunner {
    /// Runs the log once the replica is a member of a committee. Never completes.
    pub(super) async fn run(self, context: Arc<LogContext>, network: PeerNetwork, events: PeerEvents) {
        let Self { log, calls, ops } = self;
        let chain = opening::membership(&context).await;
        match opening::open(&context, &chain, log.clone(), (calls, ops), (network, events)).await {
            Ok(task) => task.run().await,
            Err(why) => {
                log.status.stopped(why.clone());
                context.trouble(format!("the log does not run: {why}"));
            }
        }
        std::future::pending().await
    }
}
