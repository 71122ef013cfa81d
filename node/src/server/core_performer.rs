//! Gives the server's core its inputs, and performs the outputs.

mod batch_requests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_node_core::server::health::Fault;
use vouch_node_core::server::put::PutContext;
use vouch_node_core::server::{ServerClock, ServerCore, ServerInput, ServerOutput};

use super::certificate_lists::CertificateLists;
use super::member_links::{MemberLinks, ReplicaHandle, Snapshot};
use super::reports::ServerReports;
use super::waiting_puts::Batcher;
use crate::host::Host;
pub(super) use batch_requests::{Storing, settle_when_due};

/// The server's core, with what its outputs need. All links give it their inputs.
pub(super) struct CorePerformer {
    host: Host,
    /// Locked for one call, never across an await.
    core: Mutex<ServerCore<ReplicaHandle>>,
    members: MemberLinks,
    batcher: Batcher,
    reports: Arc<ServerReports>,
    certificates: Arc<CertificateLists>,
}

impl CorePerformer {
    pub(super) fn new(
        core: ServerCore<ReplicaHandle>,
        members: MemberLinks,
        certificates: Arc<CertificateLists>,
        reports: Arc<ServerReports>,
    ) -> Self {
        let host = members.host().clone();
        Self { host, core: Mutex::new(core), members, batcher: Batcher::default(), certificates, reports }
    }

    /// The core, for reading its state. Change it only through [`handle`](Self::handle).
    pub(super) fn state(&self) -> MutexGuard<'_, ServerCore<ReplicaHandle>> {
        // Consistent after a panic elsewhere: every change is one call.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> ServerClock {
        ServerClock { now: self.host.monotonic(), unix_seconds: self.host.unix_seconds() }
    }

    /// Gives the core an input and performs its outputs. Does not wait: a long operation becomes a task whose result is an input.
    pub(super) fn handle(self: &Arc<Self>, input: ServerInput<ReplicaHandle>) {
        let clock = self.clock();
        let outputs = self.state().handle(input, clock);
        for output in outputs {
            self.perform(output);
        }
    }

    fn perform(self: &Arc<Self>, output: ServerOutput) {
        match output {
            ServerOutput::Deliver(link, reply) => {
                if let Some(reply) = self.members.routes().deliver(reply) {
                    self.handle(ServerInput::Unclaimed(link, reply));
                }
            }
            ServerOutput::Batch(request) => self.perform_batch(request),
            ServerOutput::LeftOut { stream, member, code, why } => self.left_out(stream, member, code, why),
            ServerOutput::MemberReport { member, line } => self.report_health(member, &line),
            ServerOutput::Settle => self.batcher.settle_soon(),
        }
    }

    /// Publishes the connected members.
    pub(super) fn publish(&self) {
        // Keep the lock until the snapshot is published: an older one must not replace a newer one.
        let core = self.state();
        let roster = core.roster();
        self.members.publish(Snapshot { chain: roster.chain().cloned(), members: roster.members() });
    }

    /// Records a member's fault in a put or a get, and reports a new one.
    pub(super) fn blame(self: &Arc<Self>, stream: Stream, member: u16, fault: Fault) {
        self.handle(ServerInput::Blamed { stream, member, fault });
    }

    /// Reports to the operator and to the member why a put or a batch continues without it. A slow member's own log shows nothing wrong.
    pub(super) fn left_out(&self, stream: Stream, member: u16, code: Code, why: &str) {
        self.report_health(member, why);
        let failed = Message::Failed(Failed::new(stream, code, why).with_subjects(vec![member]));
        if let Some(handle) = self.members.snapshot().members.get(&member) {
            // A member that does not read gets no message.
            handle.control.try_send_spare(&failed.encode());
        }
    }

    fn report_health(&self, member: u16, text: &str) {
        if let Some(chain) = self.members.chain() {
            self.reports.report_health(&chain.current().record().name(member), text);
        }
    }

    /// The state outside a put that its decisions depend on. Read it for each input: another put may have changed it.
    pub(super) fn put_context(&self) -> PutContext {
        let clock = self.clock();
        self.state().put_context(clock)
    }

    /// Maximum number of replicas that may send replies: the committee's members or, before the founding, the connected replicas.
    pub(super) fn replicas(&self) -> usize {
        let members = self.members.chain().map(|chain| chain.current().record().n().into());
        members.unwrap_or_else(|| self.state().roster().count()).max(16)
    }
}
