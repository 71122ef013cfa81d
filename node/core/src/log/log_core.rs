//! The log's core: it takes an input and the time, and returns outputs.

mod deciding;
mod following;
mod opening;
#[cfg(test)]
mod tests;
mod transferring;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::digest::ClusterId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{Block, SignedOp};

use super::applied::Applied;
use super::catch_up::CatchUp;
use super::engine::{EngineTimeout, Signing};
use super::interface::{DecidedBlock, LogClock, LogInput, LogOutput, LogStop, WalState, WriteId};
use super::members::LogMembers;
use super::messages::{SignedProposal, VoteCertificate};
use super::op_pool::OpPool;
use super::outbox::Outbox;
use super::recovery::{Recovery, Voting};
use super::state_machine::StateMachine;
use super::state_transfer::{Fetching, HeadError, Offering};
use super::wire::LogMessage;
use deciding::Height;

/// Messages of the next height that are kept for each sender, until it starts.
const EARLY_MESSAGES: usize = 16;
/// Proposals among them: each has a block.
const EARLY_PROPOSALS: usize = 2;

/// What a log is opened with.
#[derive(Debug)]
pub struct LogConfig<M> {
    /// This node's key.
    pub key: Arc<NodeSecretKey>,
    /// The state after the last decided block.
    pub applied: Applied<M>,
    /// The last decided blocks, consecutive up to that height; at most 32 are used.
    pub recent: Vec<(Block, VoteCertificate)>,
    /// What was found of the write-ahead log.
    pub wal: WalState,
    /// Whether the operator lets a node of a committee that tolerates no fault vote again without its write-ahead log.
    pub may_recover: bool,
    /// The number of blocks that every node keeps: [`KEPT_BLOCKS`](super::state_transfer::KEPT_BLOCKS).
    pub kept_blocks: u64,
}

enum Phase<M> {
    /// No height runs: nothing waits to be decided.
    Idle,
    Deciding(Box<Height<M>>),
    /// Blocks are decided and being written.
    Committing {
        write: WriteId,
        blocks: Vec<DecidedBlock>,
        next: Box<Applied<M>>,
        from: Option<NodeKey>,
    },
    /// A state is being written in place of blocks.
    Installing {
        write: WriteId,
        next: Box<Applied<M>>,
        from: NodeKey,
    },
    Stopped,
}

/// The ordered log of one node.
pub struct LogCore<M> {
    own: NodeKey,
    signing: Signing,
    applied: Applied<M>,
    pool: OpPool,
    outbox: Outbox,
    phase: Phase<M>,
    timers: BTreeMap<EngineTimeout, Duration>,
    /// Timers that the engine started, until the next look at the clock.
    started: Vec<(EngineTimeout, Duration)>,
    /// What this node proposed last.
    own_proposal: Option<SignedProposal>,
    early: BTreeMap<NodeKey, VecDeque<LogMessage>>,
    catch_up: CatchUp,
    recovery: Recovery,
    kept_blocks: u64,
    offering: Offering,
    fetching: Fetching,
    /// The members of an epoch, as the caller knows them.
    by_chain: Option<LogMembers>,
    /// Why a state could not be verified, as it was said last.
    unverified: Option<HeadError>,
}

impl<M: StateMachine> LogCore<M> {
    /// The height after the last decided block.
    pub fn next_height(&self) -> u64 {
        self.applied.height() + 1
    }

    /// The state after the last decided block.
    pub fn applied(&self) -> &Applied<M> {
        &self.applied
    }

    /// Whether this node signs.
    pub fn voting(&self) -> Voting {
        self.recovery.voting()
    }

    /// The number of ops that wait here.
    pub fn waiting_ops(&self) -> usize {
        self.pool.count()
    }

    fn cluster(&self) -> ClusterId {
        *self.applied.cluster()
    }

    /// Decides on an input.
    pub fn handle(&mut self, input: LogInput, clock: LogClock) -> Vec<LogOutput> {
        if matches!(self.phase, Phase::Stopped) {
            return Vec::new();
        }
        let result = self.decide(input, clock);
        self.finish(result, clock)
    }

    fn finish(&mut self, result: Result<(), LogStop>, clock: LogClock) -> Vec<LogOutput> {
        let result = result.and_then(|()| self.after(clock));
        if let Err(stop) = result {
            self.phase = Phase::Stopped;
            self.timers.clear();
            // Nothing else leaves: not even what was decided before the error.
            self.outbox = Outbox::default();
            self.outbox.push(LogOutput::Stopped(stop));
        }
        self.outbox.take()
    }

    /// When [`LogInput::Tick`] is due. `None` while nothing waits: an idle log needs no timer.
    pub fn next_tick(&self) -> Option<Duration> {
        if matches!(self.phase, Phase::Stopped) {
            return None;
        }
        let timers = self.timers.values().copied();
        // While the state is fetched, nobody is asked for blocks.
        let catch_up = self.fetching.next_due().or_else(|| self.catch_up.next_due());
        let others = [self.pool.next_due(), catch_up, self.recovery.next_due()];
        timers.chain(others.into_iter().flatten()).min()
    }

    fn decide(&mut self, input: LogInput, clock: LogClock) -> Result<(), LogStop> {
        match input {
            LogInput::Submit(op) => self.add_op(op, clock, true),
            LogInput::SubmitAny(op) if self.applied.members().contains(&self.own) => {
                self.add_op(self.signing.submit(op), clock, true);
            }
            LogInput::SubmitAny(op) => self.outbox.push(LogOutput::Broadcast(LogMessage::SubmitFor(op))),
            LogInput::Members(members) => self.by_chain = Some(members),
            LogInput::Message { from, message } => return self.receive(from, message, clock),
            LogInput::PeerUp(peer) => {
                let message = LogMessage::Status { next: self.next_height(), asks: true };
                self.outbox.push(LogOutput::Send { to: peer, message });
            }
            LogInput::Written(write) => {
                self.outbox.written(write);
                if matches!(&self.phase, Phase::Committing { write: awaited, .. } if *awaited == write) {
                    self.committed(clock)?;
                }
                if matches!(&self.phase, Phase::Installing { write: awaited, .. } if *awaited == write) {
                    self.installed(clock)?;
                }
            }
            LogInput::WriteFailed { reason, .. } => return Err(LogStop::Write(reason)),
            LogInput::Blocks { to, blocks } => self.send_blocks(to, blocks),
            LogInput::Tick => {}
        }
        Ok(())
    }

    /// What follows from every input: timeouts that are over, ops to send, and whether to start a height.
    fn after(&mut self, clock: LogClock) -> Result<(), LogStop> {
        self.fire_timers(clock)?;
        self.pool.expire(self.applied.time());
        for op in self.pool.due(clock.now) {
            self.outbox.push(LogOutput::Broadcast(LogMessage::Op(op)));
        }
        self.go_on_with_state(clock);
        if !self.fetching.is_running()
            && let Some(to) = self.catch_up.due(self.next_height(), clock.now)
        {
            self.ask(to);
        }
        let members = self.applied.members();
        let votes = self.recovery.voting() == Voting::Yes && members.contains(&self.own);
        let is_following = matches!(self.phase, Phase::Deciding(_)) && !votes;
        if let Some(to) = self.catch_up.follow(is_following, members.keys(), clock.now).filter(|to| *to != self.own) {
            self.ask(to);
        }
        if self.recovery.advance(&self.own, &members, self.applied.height()) {
            let records = self.recovery.records();
            self.outbox.push(LogOutput::ResetWal { records });
            // The height that runs without this node's votes starts again with them.
            if matches!(self.phase, Phase::Deciding(_)) {
                self.phase = Phase::Idle;
                self.stop_timers();
            }
        }
        if self.recovery.is_due(clock.now) {
            let message = LogMessage::Status { next: self.next_height(), asks: true };
            self.outbox.push(LogOutput::Broadcast(message));
        }
        self.propose_or_start(clock)
    }

    fn ask(&mut self, to: NodeKey) {
        let message = LogMessage::Status { next: self.next_height(), asks: true };
        self.outbox.push(LogOutput::Send { to, message });
    }

    fn add_op(&mut self, op: SignedOp, clock: LogClock, is_own: bool) {
        let id = op.op.id(&self.cluster());
        if let Err(error) = self.pool.add(op, &self.applied, clock.now, clock.unix_seconds)
            && is_own
        {
            self.outbox.push(LogOutput::Refused { op: id, error });
        }
    }

    fn stop_timers(&mut self) {
        self.timers.clear();
        self.started.clear();
    }

    /// Whether decided blocks, or a state in their place, are being written.
    fn is_writing_blocks(&self) -> bool {
        matches!(self.phase, Phase::Committing { .. } | Phase::Installing { .. })
    }

    fn misbehaved(&mut self, peer: NodeKey, reason: String) {
        self.outbox.push(LogOutput::Misbehaved { peer, reason });
    }

    /// Keeps a message of the next height until it starts.
    fn keep_early(&mut self, from: NodeKey, message: LogMessage) {
        if !self.applied.members().contains(&from) && self.early.len() >= self.applied.members().count() + 16 {
            return;
        }
        let kept = self.early.entry(from).or_default();
        let is_proposal = |message: &LogMessage| matches!(message, LogMessage::Proposal { .. });
        let proposals = kept.iter().filter(|message| is_proposal(message)).count();
        if kept.len() < EARLY_MESSAGES && !(is_proposal(&message) && proposals >= EARLY_PROPOSALS) {
            kept.push_back(message);
        }
    }
}
