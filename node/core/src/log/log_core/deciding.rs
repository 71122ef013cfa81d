//! Deciding a height: what the engine is given, and what becomes of its outputs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use vouch_core::bugs::{self, Bug};
use vouch_core::link::NodeKey;
use vouch_core::log::{Block, BlockDigest, Evidence};

use super::{LogCore, Phase};
use crate::log::applied::{Applied, BlockError, Executed, check_new_block};
use crate::log::engine::{Engine, EngineError, EngineInput, EngineOutput, JudgedBlock, Signing, TimeoutStep, Voters};
use crate::log::interface::{DecidedBlock, LogClock, LogOutput, LogStop};
use crate::log::messages::{SignedProposal, SignedVote, VoteCertificate};
use crate::log::recovery::Voting;
use crate::log::state_machine::StateMachine;
use crate::log::wal_record::WalRecord;
use crate::log::wire::LogMessage;

/// A block that was proposed for the height.
struct Candidate<M> {
    block: Block,
    executed: Result<Executed<M>, BlockError>,
    /// What the engine was told.
    is_valid: Option<bool>,
}

/// The height that is being decided.
pub(super) struct Height<M> {
    pub(super) engine: Engine,
    candidates: BTreeMap<BlockDigest, Candidate<M>>,
    /// The round for which the engine wants a block of this node.
    wanted: Option<u32>,
    /// The rounds in which this node has proposed.
    pub(super) proposed: BTreeSet<u32>,
}

impl<M: StateMachine> Height<M> {
    pub(super) fn start(
        applied: &Applied<M>,
        is_voting: bool,
        replay: &[EngineInput],
        signing: &mut Signing,
    ) -> Result<(Self, Vec<EngineOutput>), EngineError> {
        let voters = Voters { keys: applied.members().keys().to_vec(), first: applied.first_proposer() };
        let (engine, outputs) = Engine::start(applied.height() + 1, voters, is_voting, replay, signing)?;
        let height = Self { engine, candidates: BTreeMap::new(), wanted: None, proposed: BTreeSet::new() };
        Ok((height, outputs))
    }

    /// Takes a block back from the write-ahead log.
    pub(super) fn restore(&mut self, block: Block, applied: &Applied<M>) {
        let executed = applied.validate(&block, |_, _| false);
        self.candidates.insert(block.digest(), Candidate { block, executed, is_valid: None });
    }
}

impl<M: StateMachine> LogCore<M> {
    /// Starts the next height, if none runs, because a verified message of it is here or an op waits.
    pub(super) fn start_height(&mut self) -> Result<(), LogStop> {
        if matches!(self.phase, Phase::Idle) {
            let is_voting = self.recovery.voting() == Voting::Yes;
            let (height, outputs) = Height::start(&self.applied, is_voting, &[], &mut self.signing)?;
            self.phase = Phase::Deciding(Box::new(height));
            self.perform(outputs)?;
        }
        Ok(())
    }

    /// Gives the engine an input, if a height runs, and performs what it wants. Whether the engine recorded the input.
    pub(super) fn feed(&mut self, input: &EngineInput) -> Result<bool, LogStop> {
        let Phase::Deciding(height) = &mut self.phase else { return Ok(false) };
        let outputs = height.engine.handle(input, &mut self.signing)?;
        let is_recorded =
            outputs.iter().any(|output| matches!(output, EngineOutput::Record(record) if record == input));
        self.perform(outputs)?;
        Ok(is_recorded)
    }

    /// Performs the engine's outputs in their order. What was decided comes last: the engine goes on after it.
    pub(super) fn perform(&mut self, outputs: Vec<EngineOutput>) -> Result<(), LogStop> {
        let at = self.next_height();
        let mut decided = None;
        for output in outputs {
            match output {
                EngineOutput::Record(input) => self.record(&WalRecord::Input(at, input)),
                EngineOutput::SendVote { vote, is_repeated } => {
                    self.outbox.broadcast_when_durable(LogMessage::Vote { vote, is_repeated });
                }
                EngineOutput::SendProposal(proposal) => {
                    if proposal.proposer == self.own {
                        self.own_proposal = Some(proposal);
                    }
                    self.send_proposal(proposal);
                }
                EngineOutput::SendPolka(polka) => self.outbox.broadcast_when_durable(LogMessage::Polka(polka)),
                EngineOutput::SendRound(round) => self.outbox.broadcast_when_durable(LogMessage::Round(round)),
                EngineOutput::StartTimer(timeout, duration) => {
                    // Relative to the next look at the clock, which follows at once.
                    self.started.push((timeout, duration));
                }
                EngineOutput::StopTimer(timeout) => {
                    self.timers.remove(&timeout);
                    self.started.retain(|(started, _)| *started != timeout);
                }
                EngineOutput::StopAllTimers => {
                    self.timers.clear();
                    self.started.clear();
                }
                EngineOutput::WantBlock { round } => {
                    if let Phase::Deciding(height) = &mut self.phase {
                        height.wanted = Some(round);
                    }
                }
                EngineOutput::Decided(certificate) => decided = Some(certificate),
                EngineOutput::DoubleVote(first, second) => self.double_vote(&first, &second),
                EngineOutput::DoubleProposal(first, second) => self.double_proposal(&first, &second),
            }
        }
        decided.map_or(Ok(()), |certificate| self.decided(certificate))
    }

    fn record(&mut self, record: &WalRecord) {
        // A node that signs nothing has nothing to replay. The planted bug forgets own proposals.
        let is_own = |proposer: &NodeKey| *proposer == self.own && bugs::has(Bug::LogProposesTwice);
        let is_forgotten = match record {
            WalRecord::Input(_, EngineInput::Proposal(signed)) => is_own(&signed.proposer),
            WalRecord::Input(_, EngineInput::Judged(judged)) => is_own(&judged.proposer),
            _ => false,
        };
        if self.recovery.voting() == Voting::Yes && !is_forgotten {
            self.outbox.record(record);
        }
    }

    pub(super) fn send_proposal(&mut self, proposal: SignedProposal) {
        let Phase::Deciding(height) = &self.phase else { return };
        if let Some(candidate) = height.candidates.get(&proposal.proposal.block) {
            let block = Box::new(candidate.block.clone());
            self.outbox.broadcast_when_durable(LogMessage::Proposal { proposal, block });
        }
    }

    fn double_vote(&mut self, first: &SignedVote, second: &SignedVote) {
        let votes = [(first.vote, first.signature), (second.vote, second.signature)];
        let epoch = self.applied.members().epoch();
        let evidence = Evidence::of_votes(self.cluster(), epoch, first.voter, votes);
        self.outbox_evidence(evidence);
    }

    fn double_proposal(&mut self, first: &SignedProposal, second: &SignedProposal) {
        let proposals = [(first.proposal, first.signature), (second.proposal, second.signature)];
        let epoch = self.applied.members().epoch();
        let evidence = Evidence::of_proposals(self.cluster(), epoch, first.proposer, proposals);
        self.outbox_evidence(evidence);
    }

    fn outbox_evidence(&mut self, evidence: Option<Evidence>) {
        if let Some(evidence) = evidence {
            self.outbox.push(LogOutput::Evidence(evidence));
        }
    }

    /// A proposal for the height that runs, from its proposer, with its block.
    pub(super) fn proposed(&mut self, signed: SignedProposal, block: Block, clock: LogClock) -> Result<(), LogStop> {
        let at = self.next_height();
        let proposal = signed.proposal;
        let is_accepted = self.feed(&EngineInput::Proposal(signed))?;
        if self.next_height() != at {
            return Ok(());
        }
        let Phase::Deciding(height) = &mut self.phase else { return Ok(()) };
        // The engine takes few proposals of a round, and so bounds how many blocks are executed.
        if !is_accepted && !height.candidates.contains_key(&proposal.block) {
            return Ok(());
        }
        if let Entry::Vacant(entry) = height.candidates.entry(proposal.block) {
            let pool = &self.pool;
            let executed = self.applied.validate(&block, |id, op| pool.has_verified(id, op));
            let record = WalRecord::Block(Box::new(block.clone()));
            entry.insert(Candidate { block, executed, is_valid: None });
            self.record(&record);
        }
        let Phase::Deciding(height) = &mut self.phase else { return Ok(()) };
        let Some(candidate) = height.candidates.get_mut(&proposal.block) else { return Ok(()) };
        // Others may be locked on it, whatever this node's clock says.
        let is_new = proposal.valid_round.is_none();
        let checked = match &candidate.executed {
            Err(error) => Err(error.clone()),
            Ok(executed) if is_new => check_new_block(executed.block.header(), &signed.proposer, clock.unix_seconds),
            Ok(_) => Ok(()),
        };
        let is_valid = checked.is_ok() && !(is_new && clock.is_in_doubt);
        // Valid is never taken back, and nothing is said twice.
        if candidate.is_valid != Some(true) && candidate.is_valid != Some(is_valid) {
            candidate.is_valid = Some(is_valid);
            let judged = JudgedBlock {
                round: proposal.round,
                valid_round: proposal.valid_round,
                proposer: signed.proposer,
                block: proposal.block,
                is_valid,
            };
            self.feed(&EngineInput::Judged(judged))?;
        }
        let peer = signed.proposer;
        match checked {
            Ok(()) => {}
            Err(BlockError::Clock { .. }) if clock.is_in_doubt => {}
            Err(error @ BlockError::Clock { .. }) => self.outbox.push(LogOutput::ClockDiffers { peer, error }),
            Err(error) => self.misbehaved(peer, error.to_string()),
        }
        Ok(())
    }

    /// Proposes a block if the engine waits for one and ops are here; starts a height if ops wait and none runs.
    pub(super) fn propose_or_start(&mut self, clock: LogClock) -> Result<(), LogStop> {
        if matches!(self.phase, Phase::Idle)
            && self.recovery.voting() == Voting::Yes
            && self.applied.members().contains(&self.own)
            && !clock.is_in_doubt
            && self.pool.is_ready(&self.applied, clock.unix_seconds)
        {
            self.start_height()?;
        }
        self.propose(clock)?;
        let now = clock.now;
        self.timers.extend(self.started.drain(..).map(|(timeout, duration)| (timeout, now + duration)));
        Ok(())
    }

    fn propose(&mut self, clock: LogClock) -> Result<(), LogStop> {
        let Phase::Deciding(height) = &mut self.phase else { return Ok(()) };
        let Some(round) = height.wanted else { return Ok(()) };
        if height.engine.round() != round || height.proposed.contains(&round) {
            height.wanted = None;
            return Ok(());
        }
        if clock.is_in_doubt {
            return Ok(());
        }
        let at = self.applied.height() + 1;
        let built = self.applied.build(self.pool.candidates(), self.own, clock.unix_seconds);
        let built = built.map_err(|error| LogStop::Block { height: at, got: error.to_string() })?;
        let Some(executed) = built else { return Ok(()) };
        height.wanted = None;
        height.proposed.insert(round);
        let (block, digest) = (executed.block.clone(), executed.block.digest());
        let record = WalRecord::Block(Box::new(block.clone()));
        height.candidates.insert(digest, Candidate { block, executed: Ok(executed), is_valid: Some(true) });
        self.record(&record);
        self.feed(&EngineInput::Propose { round, block: digest })?;
        Ok(())
    }

    pub(super) fn fire_timers(&mut self, clock: LogClock) -> Result<(), LogStop> {
        let now = clock.now;
        self.timers.extend(self.started.drain(..).map(|(timeout, duration)| (timeout, now + duration)));
        let mut due: Vec<_> =
            self.timers.iter().filter(|(_, at)| **at <= now).map(|(timeout, at)| (*at, *timeout)).collect();
        due.sort_unstable();
        for (_, timeout) in due {
            // An earlier one may have stopped it.
            if self.timers.remove(&timeout).is_some() {
                self.feed(&EngineInput::Timeout(timeout))?;
                if timeout.step == TimeoutStep::Rebroadcast {
                    self.send_own_proposal_again();
                }
            }
        }
        Ok(())
    }

    /// A lost proposal would cost the round: only the proposer repeats it.
    fn send_own_proposal_again(&mut self) {
        let Phase::Deciding(height) = &self.phase else { return };
        let round = height.engine.round();
        if let Some(proposal) =
            self.own_proposal.filter(|own| own.proposal.round == round && own.proposal.height == height.engine.height())
        {
            self.send_proposal(proposal);
        }
    }

    fn decided(&mut self, certificate: VoteCertificate) -> Result<(), LogStop> {
        let at = certificate.height;
        let Phase::Deciding(height) = &mut self.phase else { return Ok(()) };
        let candidate = height.candidates.remove(&certificate.block);
        let executed = match candidate.map(|candidate| candidate.executed) {
            Some(Ok(executed)) => executed,
            Some(Err(error)) => return Err(LogStop::Block { height: at, got: error.to_string() }),
            None => return Err(LogStop::Block { height: at, got: "none".into() }),
        };
        let Executed { block, results, next } = executed;
        self.commit(vec![DecidedBlock { block, results, certificate }], next, None);
        Ok(())
    }
}
