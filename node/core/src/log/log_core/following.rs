//! Messages of other nodes, and blocks that others decided.

use vouch_core::link::NodeKey;
use vouch_core::log::Block;

use super::{LogCore, Phase};
use crate::log::applied::{Applied, Executed};
use crate::log::catch_up::BATCH;
use crate::log::engine::EngineInput;
use crate::log::interface::{DecidedBlock, LogClock, LogOutput, LogStop};
use crate::log::messages::{SignedProposal, SignedVote, VoteCertificate};
use crate::log::state_machine::StateMachine;
use crate::log::wire::LogMessage;

impl<M: StateMachine> LogCore<M> {
    pub(super) fn receive(&mut self, from: NodeKey, message: LogMessage, clock: LogClock) -> Result<(), LogStop> {
        let next = self.next_height();
        let height = match &message {
            LogMessage::Op(_)
            | LogMessage::Status { .. }
            | LogMessage::Decided { .. }
            | LogMessage::StateOffer { .. }
            | LogMessage::AskState { .. }
            | LogMessage::StatePart { .. }
            | LogMessage::SubmitFor(_) => next,
            LogMessage::Vote { vote, .. } => vote.vote.height,
            LogMessage::Proposal { proposal, .. } => proposal.proposal.height,
            LogMessage::Polka(certificate) => certificate.height,
            LogMessage::Round(certificate) => certificate.height,
        };
        if height > next {
            self.catch_up.note(from, height, next, clock.now);
        }
        if height > next {
            // It may overtake the end of this height, or come while the decided block is written.
            if height == next + 1 {
                self.keep_early(from, message);
            }
            return Ok(());
        }
        match message {
            LogMessage::Op(op) => self.add_op(op, clock, false),
            LogMessage::Vote { vote, is_repeated } if height < next => {
                if is_repeated {
                    self.answer(from, vote.vote.height, clock);
                }
            }
            LogMessage::Round(_) if height < next => self.answer(from, height, clock),
            LogMessage::Proposal { .. } | LogMessage::Polka(_) if height < next => {}
            LogMessage::Vote { vote, .. } => self.received_vote(from, vote)?,
            LogMessage::Proposal { proposal, block } => self.received_proposal(from, proposal, *block, clock)?,
            // The engine verifies certificates. They start no height: their votes are repeated.
            LogMessage::Polka(certificate) => {
                self.feed(&EngineInput::Polka(certificate))?;
            }
            LogMessage::Round(certificate) => {
                self.feed(&EngineInput::Round(certificate))?;
            }
            LogMessage::Status { next: theirs, asks } => self.received_status(from, theirs, asks, clock),
            LogMessage::Decided { block, certificate, next: theirs } => {
                self.catch_up.note(from, theirs, next, clock.now);
                self.recovery.report(from, theirs, &self.applied.members());
                self.catch_up.keep(block.header().height, next, (from, block, certificate));
                self.commit_received(clock)?;
            }
            LogMessage::StateOffer { header, certificate, length } => {
                self.received_offer(from, *header, &certificate, length, clock);
            }
            LogMessage::AskState { height, offset } => self.asked_for_state(from, height, offset, clock),
            LogMessage::StatePart { height, offset, bytes } => {
                self.received_state(from, (height, offset), &bytes, clock);
            }
            LogMessage::SubmitFor(op) => {
                if self.applied.members().contains(&self.own) {
                    self.add_op(self.signing.submit(op), clock, false);
                }
            }
        }
        Ok(())
    }

    fn received_vote(&mut self, from: NodeKey, vote: SignedVote) -> Result<(), LogStop> {
        if !self.applied.members().contains(&vote.voter) {
            self.misbehaved(from, format!("vote: expected a member's, got one of {}", vote.voter));
            return Ok(());
        }
        if !self.signing.is_vote(&vote) {
            self.misbehaved(from, format!("vote: expected a signature by {}, got another", vote.voter));
            return Ok(());
        }
        self.start_height()?;
        self.feed(&EngineInput::Vote(vote))?;
        Ok(())
    }

    fn received_proposal(
        &mut self,
        from: NodeKey,
        signed: SignedProposal,
        block: Block,
        clock: LogClock,
    ) -> Result<(), LogStop> {
        let proposal = signed.proposal;
        let digest = block.digest();
        let fault = if !self.applied.members().contains(&signed.proposer) {
            Some(format!("proposal: expected a member's, got one of {}", signed.proposer))
        } else if digest != proposal.block || block.header().height != proposal.height {
            Some(format!("proposal: expected block {}, got {digest}", proposal.block))
        } else if proposal.valid_round.is_some_and(|valid| valid >= proposal.round) {
            Some(format!("proposal: expected a valid round before round {}", proposal.round))
        } else if !self.signing.is_proposal(&signed) {
            Some(format!("proposal: expected a signature by {}, got another", signed.proposer))
        } else {
            None
        };
        if let Some(reason) = fault {
            self.misbehaved(from, reason);
            return Ok(());
        }
        self.start_height()?;
        let Phase::Deciding(height) = &self.phase else { return Ok(()) };
        // Before the block is executed.
        if height.engine.proposer(proposal.round) != signed.proposer {
            self.misbehaved(signed.proposer, format!("proposal of round {}: expected its proposer's", proposal.round));
            return Ok(());
        }
        self.proposed(signed, block, clock)
    }

    fn received_status(&mut self, from: NodeKey, theirs: u64, asks: bool, clock: LogClock) {
        let next = self.next_height();
        self.catch_up.note(from, theirs, next, clock.now);
        self.recovery.report(from, theirs, &self.applied.members());
        if theirs < next {
            self.answer(from, theirs, clock);
        } else if asks {
            self.outbox.push(LogOutput::Send { to: from, message: LogMessage::Status { next, asks: false } });
        }
    }

    /// Sends a node the decided blocks from a height on, if it was not sent them just now.
    fn answer(&mut self, to: NodeKey, from: u64, clock: LogClock) {
        if !self.catch_up.may_answer(to, from, clock.now) {
            return;
        }
        if self.offer_state(to, from, clock) {
            return;
        }
        match self.catch_up.batch(from) {
            Some(blocks) => self.send_blocks(to, blocks),
            None => {
                let count = BATCH.min(self.next_height().saturating_sub(from));
                self.outbox.push(LogOutput::Read { to, from, count });
            }
        }
    }

    pub(super) fn send_blocks(&mut self, to: NodeKey, blocks: Vec<(Block, VoteCertificate)>) {
        let next = self.next_height();
        for (block, certificate) in blocks {
            let message = LogMessage::Decided { block: Box::new(block), certificate, next };
            self.outbox.push(LogOutput::Send { to, message });
        }
    }

    /// Commits the received blocks that come next, as many as are here, in one write.
    pub(super) fn commit_received(&mut self, clock: LogClock) -> Result<(), LogStop> {
        if self.is_writing_blocks() || matches!(self.phase, Phase::Stopped) {
            return Ok(());
        }
        let mut blocks = Vec::new();
        let mut state: Option<Applied<M>> = None;
        let mut supplier = None;
        while (blocks.len() as u64) < BATCH {
            let last = state.as_ref().unwrap_or(&self.applied);
            let Some((from, block, certificate)) = self.catch_up.take(last.height() + 1) else { break };
            let members = last.members();
            self.signing.set_epoch(members.epoch());
            let checked = if certificate.height != block.header().height || certificate.block != block.digest() {
                Err(format!(
                    "decided block: expected a certificate of {}, got one of {}",
                    block.digest(),
                    certificate.block
                ))
            } else {
                let commit = self.signing.check_commit(&certificate, members.keys()).map_err(|error| error.to_string());
                commit.and_then(|()| last.validate(&block, |_, _| false).map_err(|error| error.to_string()))
            };
            match checked {
                Ok(Executed { block, results, next }) => {
                    blocks.push(DecidedBlock { block, results, certificate });
                    state = Some(next);
                    supplier = Some(from);
                }
                Err(reason) => {
                    self.misbehaved(from, reason);
                    self.catch_up.drop_peer(&from, clock.now);
                    break;
                }
            }
        }
        self.signing.set_epoch(self.applied.members().epoch());
        if let Some(next) = state {
            self.commit(blocks, next, supplier);
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, blocks: Vec<DecidedBlock>, next: Applied<M>, from: Option<NodeKey>) {
        self.stop_timers();
        // A state after a block always has an encoding.
        let state = next.encode().unwrap_or_default();
        let write = self.outbox.commit(blocks.clone(), state);
        self.phase = Phase::Committing { write, blocks, next: Box::new(next), from };
    }

    /// The decided blocks are durable: they are applied, and the next height may begin.
    pub(super) fn committed(&mut self, clock: LogClock) -> Result<(), LogStop> {
        let Phase::Committing { blocks, next, from, .. } = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(());
        };
        let before = self.applied.members();
        self.applied = *next;
        let members = self.applied.members();
        self.signing.forget();
        self.signing.set_epoch(members.epoch());
        let newcomers: Vec<_> = members.keys().iter().filter(|key| !before.contains(key)).copied().collect();
        if members != before {
            self.pool.settle(&self.applied);
        }
        self.pool.expire(self.applied.time());
        let next = self.next_height();
        for decided in blocks {
            self.pool.decided(&decided.results);
            self.catch_up.remember(decided.block.clone(), decided.certificate.clone());
            // Who becomes a member may not know it, and cannot vote before it has the block.
            for to in newcomers.iter().filter(|_| from.is_none()) {
                let block = Box::new(decided.block.clone());
                let message = LogMessage::Decided { block, certificate: decided.certificate.clone(), next };
                self.outbox.push(LogOutput::Send { to: *to, message });
            }
            self.outbox.push(LogOutput::Decided(Box::new(decided)));
        }
        let records = self.recovery.records();
        self.outbox.push(LogOutput::ResetWal { records });
        self.commit_received(clock)?;
        if let Some(peer) = from.filter(|peer| self.catch_up.go_on(*peer, next, clock.now)) {
            self.ask(peer);
        }
        self.receive_early(clock)
    }

    fn receive_early(&mut self, clock: LogClock) -> Result<(), LogStop> {
        for (from, messages) in std::mem::take(&mut self.early) {
            for message in messages {
                self.receive(from, message, clock)?;
            }
        }
        Ok(())
    }
}
