//! The task that runs the log: gives inputs to the core, and performs its outputs in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::chain::CommitteeChain;
use vouch_core::link::NodeKey;
use vouch_core::log::{Evidence, Op, OpId, SignedOp};
use vouch_core::message::{Code, Message};
use vouch_node_core::cluster_state::ClusterState;
use vouch_node_core::log::LogCore;
use vouch_node_core::log::interface::{DecidedBlock, LogInput, LogOutput, LogStop, WriteId};
use vouch_node_core::log::members::LogMembers;
use vouch_node_core::log::wire::LogMessage;
use vouch_node_core::replica::Event;
use vouch_node_core::replica::log_calls::{LogCall, OpCaller, OpCallers};

use super::answers::{Answer, Answers};
use super::opening::nodes_of;
use super::status::abstains;
use super::{Call, LogContext, ReplicaLog, Tip, conversion, evidence};
use crate::latest::Follower;
use crate::link::Outgoing;
use crate::log::disk::{LogCompletion, LogDisk, LogRequest};
use crate::notices::Notice;
use crate::replica::peers::{PeerEvent, PeerEvents, PeerNetwork};

/// Capacity of the queue of blocks that were read for other nodes. A node whose blocks find it full asks again.
pub(super) const READS: usize = 64;
/// Maximum number of inputs that are decided together.
const TOGETHER: usize = 256;
/// Interval at which callers of expired ops are answered, while there are callers.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// A running log.
pub(super) struct LogTask {
    pub(super) context: Arc<LogContext>,
    pub(super) log: Arc<ReplicaLog>,
    /// `None` only while it decides.
    pub(super) core: Option<Box<LogCore<ClusterState>>>,
    pub(super) disk: LogDisk,
    pub(super) completions: mpsc::Receiver<LogCompletion>,
    pub(super) calls: mpsc::Receiver<Call>,
    /// The replica's own ops.
    pub(super) ops: mpsc::Receiver<Op>,
    pub(super) committees: Follower<Option<CommitteeChain>>,
    /// The nodes that this one exchanges messages with.
    pub(super) nodes: Vec<NodeKey>,
    pub(super) network: PeerNetwork,
    pub(super) events: PeerEvents,
    pub(super) answers: Answers,
    pub(super) callers: OpCallers,
    /// Where the callers on each link are answered.
    pub(super) links: BTreeMap<u64, mpsc::Sender<Outgoing>>,
    pub(super) reads: mpsc::Sender<LogInput>,
    pub(super) read: mpsc::Receiver<LogInput>,
    pub(super) misbehaved: Notice,
    /// When callers of expired ops are answered next.
    pub(super) expire_at: Duration,
}

/// What woke the task.
enum Woken {
    Completed(LogCompletion),
    Peer(PeerEvent),
    Read(LogInput),
    Called(Call),
    Wanted(Op),
    Committees,
    Answered(Answer),
    Tick,
}

impl LogTask {
    /// Runs until the log stops for good.
    pub(super) async fn run(mut self) {
        while self.core.is_some() {
            let first = self.woken().await;
            let mut inputs = self.inputs_of(first);
            while inputs.len() < TOGETHER
                && let Some(next) = self.woken_now()
            {
                inputs.extend(self.inputs_of(next));
            }
            self.answer_expired();
            if inputs.is_empty() {
                continue;
            }
            self.decide(inputs).await;
        }
    }

    async fn woken(&mut self) -> Woken {
        let host = &self.context.storage.host;
        let due = self.core.as_ref().and_then(|core| core.next_tick());
        let pause = due.map(|due| due.saturating_sub(host.monotonic()));
        let pause = match self.callers.is_empty() {
            true => pause,
            false => Some(pause.map_or(EXPIRE_EVERY, |pause| pause.min(EXPIRE_EVERY))),
        };
        let tick = async {
            match pause {
                Some(pause) => host.sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(completion) = self.completions.recv() => Woken::Completed(completion),
            Some(event) = self.events.next() => Woken::Peer(event),
            Some(read) = self.read.recv() => Woken::Read(read),
            answer = self.answers.next() => Woken::Answered(answer),
            Some(call) = self.calls.recv() => Woken::Called(call),
            Some(op) = self.ops.recv() => Woken::Wanted(op),
            Ok(()) = self.committees.changed() => Woken::Committees,
            () = tick => Woken::Tick,
        }
    }

    /// What has happened besides, without waiting.
    fn woken_now(&mut self) -> Option<Woken> {
        if let Ok(completion) = self.completions.try_recv() {
            return Some(Woken::Completed(completion));
        }
        if let Some(event) = self.events.try_next() {
            return Some(Woken::Peer(event));
        }
        if let Ok(read) = self.read.try_recv() {
            return Some(Woken::Read(read));
        }
        self.calls.try_recv().ok().map(Woken::Called)
    }

    fn inputs_of(&mut self, woken: Woken) -> Vec<LogInput> {
        match woken {
            Woken::Completed(LogCompletion::Written(write)) => vec![LogInput::Written(WriteId(write))],
            Woken::Completed(LogCompletion::Failed { write, error }) => {
                let (write, reason) = (WriteId(write.unwrap_or(0)), error.to_string());
                vec![LogInput::WriteFailed { write, reason }]
            }
            Woken::Peer(PeerEvent::Up(peer)) => vec![LogInput::PeerUp(peer)],
            Woken::Peer(PeerEvent::Message { from, bytes }) => match LogMessage::decode(&bytes) {
                Ok(message) => vec![LogInput::Message { from, message }],
                Err(error) => {
                    self.report_misbehaved(&from, &error.to_string());
                    Vec::new()
                }
            },
            Woken::Read(input) => vec![input],
            Woken::Called(call) => self.called(call),
            Woken::Wanted(op) => vec![LogInput::SubmitAny(op)],
            Woken::Committees => self.members_by_chain().into_iter().collect(),
            Woken::Answered(answer) => self.answered(answer),
            Woken::Tick => vec![LogInput::Tick],
        }
    }

    /// Exchanges messages with the nodes that the state and the chain of committees name now.
    fn choose_nodes(&mut self) {
        let (Some(core), Some(chain)) = (&self.core, self.context.identity.chain()) else { return };
        let nodes = nodes_of(core.applied().machine().membership(), &chain);
        if nodes != self.nodes {
            self.nodes.clone_from(&nodes);
            self.network.set_members(nodes);
        }
    }

    /// The members of the current epoch, by the chain of committees.
    pub(super) fn members_by_chain(&mut self) -> Option<LogInput> {
        let chain = self.committees.see()?;
        self.choose_nodes();
        let record = chain.current().record();
        let keys = record.members().iter().map(|member| member.node_key);
        LogMembers::new(record.epoch(), keys).map(LogInput::Members)
    }

    fn called(&mut self, Call { caller, call, replies }: Call) -> Vec<LogInput> {
        if !self.links.contains_key(&caller.link) {
            self.forget_ended_links();
            self.links.insert(caller.link, replies);
        }
        if let LogCall::Submit(op) = &call {
            let cluster = self.answers.cluster();
            if !self.callers.wait(op.id(&cluster), op.expires_at(), caller) {
                let detail = "too many ops wait for the log on this link";
                self.reply(caller, Message::failed(caller.stream, Code::Busy, detail));
                return Vec::new();
            }
        }
        if let Err(refusal) = self.answers.start(caller, call) {
            self.reply(caller, Message::Failed(refusal));
        }
        Vec::new()
    }

    fn answered(&mut self, answer: Answer) -> Vec<LogInput> {
        match answer {
            Answer::Reply(caller, message) => {
                self.reply(caller, message);
                Vec::new()
            }
            Answer::Decided(op, height) => {
                self.reply_decided(&op, height);
                Vec::new()
            }
            Answer::New(op) => {
                let key = &self.context.identity.keys.node;
                vec![LogInput::Submit(SignedOp::sign(op, &self.answers.cluster(), key))]
            }
        }
    }

    /// Lets the core decide, on a thread for it: a block has up to 512 signatures to verify.
    async fn decide(&mut self, inputs: Vec<LogInput>) {
        let Some(mut core) = self.core.take() else { return };
        let host = self.context.storage.host.clone();
        let clock = self.context.clock();
        let deciding = host.spawn_blocking(move || {
            let outputs: Vec<_> = inputs.into_iter().flat_map(|input| core.handle(input, clock)).collect();
            (core, outputs)
        });
        match deciding.await {
            Ok((core, outputs)) => {
                self.core = Some(core);
                self.begin(outputs);
            }
            // The core is lost with the thread.
            Err(error) => self.stop(&LogStop::Write(error.to_string())),
        }
    }

    /// Performs outputs, and shows the new state.
    pub(super) fn begin(&mut self, outputs: Vec<LogOutput>) {
        for output in outputs {
            self.perform(output);
        }
        let Some(core) = &self.core else { return };
        let tip = Tip { height: core.applied().height(), time: core.applied().time() };
        let (waiting, voting) = (core.waiting_ops(), core.voting());
        self.log.status.change(|status| {
            (status.height, status.time) = (tip.height, tip.time);
            (status.waiting, status.abstains) = (waiting, abstains(voting));
        });
        if self.log.tip.get() != Some(tip) {
            let machine = core.applied().machine();
            // first, so that it is there once the members are
            let access = self.log.access.get();
            if access.is_none_or(|access| *access != *machine.access()) {
                self.log.access.replace(Some(Arc::new(machine.access().clone())));
            }
            self.log.membership.replace(Some(Arc::new(machine.membership().clone())));
            self.log.tip.replace(Some(tip));
            self.choose_nodes();
        }
    }

    fn perform(&mut self, output: LogOutput) {
        match output {
            LogOutput::Append { write, records } => self.request(LogRequest::Append { write: write.0, records }),
            LogOutput::Commit { write, blocks, state } => {
                let blocks = blocks.into_iter().map(conversion::stored).collect();
                self.request(LogRequest::Commit { write: write.0, blocks, state });
            }
            LogOutput::Install { write, install } => {
                let state = Box::new(conversion::installed(*install));
                self.request(LogRequest::Install { write: write.0, state });
            }
            LogOutput::ResetWal { records } => self.request(LogRequest::Reset { records }),
            LogOutput::Send { to, message } => self.network.send(to, message.encode().into()),
            LogOutput::Broadcast(message) => self.network.broadcast(message.encode().into()),
            LogOutput::Read { to, from, count } => self.read_blocks(to, from, count),
            LogOutput::Decided(decided) => self.decided(&decided),
            LogOutput::Installed(head) => {
                let text = format!("the state at block {} replaced blocks that nobody keeps any more", head.height);
                self.context.reports.report(Event::Log(text));
            }
            LogOutput::UnverifiedHead { peer, error } => self.report_misbehaved(&peer, &error.to_string()),
            LogOutput::Refused { op, error } => {
                for caller in self.callers.take(&op) {
                    self.reply(caller, Message::failed(caller.stream, error.code(), error.to_string()));
                }
            }
            LogOutput::Evidence(found) => self.keep_evidence(found),
            LogOutput::Misbehaved { peer, reason } => self.report_misbehaved(&peer, &reason),
            LogOutput::ClockDiffers { peer, error } => {
                self.report_misbehaved(&peer, &format!("its clock or the clock here is wrong: {error}"));
            }
            LogOutput::Stopped(stop) => self.stop(&stop),
        }
    }

    fn request(&mut self, request: LogRequest) {
        if let Err(error) = self.disk.request(request) {
            self.stop(&LogStop::Write(error.to_string()));
        }
    }

    fn read_blocks(&self, to: NodeKey, from: u64, count: u64) {
        let (blocks, reads, context) = (self.disk.blocks().clone(), self.reads.clone(), self.context.clone());
        self.context.storage.host.spawn_blocking(move || {
            let read = blocks.blocks(from, count).map_err(|error| error.to_string()).and_then(|found| {
                found.into_iter().map(|stored| conversion::decided(stored).map_err(|error| error.to_string())).collect()
            });
            match read {
                // Dropped if many reads wait: the node asks again.
                Ok(blocks) => drop(reads.try_send(LogInput::Blocks { to, blocks })),
                Err(error) => context.trouble(format!("log: {error}")),
            }
        });
    }

    fn decided(&mut self, decided: &DecidedBlock) {
        let height = decided.block.header().height;
        for result in &decided.results {
            self.reply_decided(&result.op, height);
        }
    }

    fn reply_decided(&mut self, op: &OpId, height: u64) {
        for caller in self.callers.take(op) {
            self.reply(caller, Message::OpDecided { stream: caller.stream, height });
        }
    }

    fn answer_expired(&mut self) {
        // It looks at every waiting op, so not each time the task wakes.
        let now = self.context.storage.host.monotonic();
        if now < self.expire_at {
            return;
        }
        self.expire_at = now + EXPIRE_EVERY;
        for caller in self.callers.expired(self.context.storage.host.unix_seconds()) {
            let detail = "the op expired before the log decided it";
            self.reply(caller, Message::failed(caller.stream, Code::Expired, detail));
        }
    }

    /// Answers a caller. The answer is dropped if the link has ended or does not read.
    fn reply(&self, caller: OpCaller, message: Message) {
        if let Some(replies) = self.links.get(&caller.link) {
            let _ = replies.try_send(message.encode().into());
        }
    }

    fn forget_ended_links(&mut self) {
        let callers = &mut self.callers;
        self.links.retain(|link, replies| {
            let is_open = !replies.is_closed();
            if !is_open {
                callers.link_ended(*link);
            }
            is_open
        });
    }

    fn keep_evidence(&self, found: Evidence) {
        let (context, status) = (self.context.clone(), self.log.status.clone());
        let Some(chain) = self.context.identity.chain() else { return };
        let member = found.member();
        self.context.storage.host.spawn_blocking(move || match evidence::keep(&context, &chain, found) {
            Ok(None) => {}
            Ok(Some(name)) => {
                let text = format!("log: {member} signed two conflicting messages; the evidence is in {name}");
                status.change(|status| status.evidence.push(name));
                context.trouble(text);
            }
            Err(error) => context.trouble(format!("log: evidence is not kept: {error}")),
        });
    }

    fn report_misbehaved(&self, peer: &NodeKey, reason: &str) {
        let text = format!("log: {peer}: {reason}");
        if let Some(line) = self.misbehaved.line(self.context.storage.host.monotonic(), &text) {
            self.context.reports.report(Event::Refused(line));
        }
    }

    fn stop(&mut self, stop: &LogStop) {
        self.core = None;
        self.log.status.stopped(stop.to_string());
        self.context.trouble(format!("{stop}; start the replica again, and look at its disk"));
    }
}
