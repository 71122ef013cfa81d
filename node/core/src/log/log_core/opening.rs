//! Opening the log: after a crash, the write-ahead log is replayed before anything else is sent.

use std::collections::BTreeMap;

use vouch_core::bugs::{self, Bug};
use vouch_core::log::Block;

use super::deciding::Height;
use super::{LogConfig, LogCore, Phase};
use crate::log::catch_up::CatchUp;
use crate::log::engine::{EngineInput, Signing};
use crate::log::interface::{LogClock, LogOutput, LogStop, WalState};
use crate::log::messages::SignedProposal;
use crate::log::op_pool::OpPool;
use crate::log::outbox::Outbox;
use crate::log::recovery::{Recovery, Voting};
use crate::log::state_machine::StateMachine;
use crate::log::state_transfer::{Fetching, Offering};
use crate::log::wal_record::WalRecord;
use crate::log::wire::LogMessage;

/// What the write-ahead log says about the height that was being decided.
#[derive(Default)]
struct Replay {
    blocks: Vec<Block>,
    inputs: Vec<EngineInput>,
    abstain: Option<Option<u64>>,
}

impl Replay {
    /// `None` if a record is none: the write-ahead log is damaged.
    fn read(records: &[Vec<u8>], height: u64) -> Option<Self> {
        let mut replay = Self::default();
        for record in records {
            match WalRecord::decode(record).ok()? {
                WalRecord::Abstain(until) => replay.abstain = Some(until),
                WalRecord::Input(of, input) if of == height => replay.inputs.push(input),
                WalRecord::Block(block) if block.header().height == height => replay.blocks.push(*block),
                // Of a height that is decided: the crash came before the write-ahead log was emptied.
                WalRecord::Input(..) | WalRecord::Block(_) => {}
            }
        }
        Some(replay)
    }
}

impl<M: StateMachine> LogCore<M> {
    /// Opens the log with what the disk has.
    pub fn open(config: LogConfig<M>, clock: LogClock) -> (Self, Vec<LogOutput>) {
        let LogConfig { key, applied, recent, wal, may_recover, kept_blocks } = config;
        let own = key.node_key();
        let height = applied.height() + 1;
        let replay = match &wal {
            WalState::Fresh => Some(Replay::default()),
            WalState::Records(_) if bugs::has(Bug::LogNotReplayed) => Some(Replay::default()),
            WalState::Records(records) => Replay::read(records, height),
            WalState::Lost => None,
        };
        let voting = match &replay {
            None => Voting::LostWal,
            Some(Replay { abstain: None, .. }) => Voting::Yes,
            Some(Replay { abstain: Some(None), .. }) => Voting::LostWal,
            Some(Replay { abstain: Some(Some(until)), .. }) => Voting::Until(*until),
        };
        let mut log = Self {
            own,
            signing: Signing::new(*applied.cluster(), applied.members().epoch(), key),
            pool: OpPool::new(*applied.cluster(), own),
            applied,
            outbox: Outbox::default(),
            phase: Phase::Idle,
            timers: BTreeMap::new(),
            started: Vec::new(),
            own_proposal: None,
            early: BTreeMap::new(),
            catch_up: CatchUp::new(recent),
            recovery: Recovery::new(voting, may_recover),
            kept_blocks,
            offering: Offering::default(),
            fetching: Fetching::default(),
            by_chain: None,
            unverified: None,
        };
        if replay.is_none() || matches!(wal, WalState::Fresh) {
            let records = log.recovery.records();
            log.outbox.push(LogOutput::ResetWal { records });
        }
        let replay = replay.filter(|_| voting == Voting::Yes).unwrap_or_default();
        let result = if replay.inputs.is_empty() { Ok(()) } else { log.replay(replay) };
        if result.is_ok() {
            let message = LogMessage::Status { next: log.next_height(), asks: true };
            log.outbox.push(LogOutput::Broadcast(message));
        }
        let outputs = log.finish(result, clock);
        (log, outputs)
    }

    fn replay(&mut self, replay: Replay) -> Result<(), LogStop> {
        let (mut height, outputs) = Height::start(&self.applied, true, &replay.inputs, &mut self.signing)?;
        for block in replay.blocks {
            height.restore(block, &self.applied);
        }
        let own: Vec<&SignedProposal> = replay
            .inputs
            .iter()
            .filter_map(|input| match input {
                EngineInput::Proposal(proposal) if proposal.proposer == self.own => Some(proposal),
                _ => None,
            })
            .collect();
        // A round in which this node has proposed gets no other proposal of it.
        height.proposed.extend(own.iter().map(|proposal| proposal.proposal.round));
        let again = own.last().filter(|proposal| proposal.proposal.round == height.engine.round()).copied();
        self.phase = Phase::Deciding(Box::new(height));
        self.perform(outputs)?;
        // The library does not send it again, and no one else has its block.
        if let Some(proposal) = again {
            self.own_proposal = Some(*proposal);
            self.send_proposal(*proposal);
        }
        Ok(())
    }
}
