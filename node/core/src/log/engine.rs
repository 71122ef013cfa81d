//! The consensus library behind one boundary: one [`Engine`] decides one height. No other module names the library.
//!
//! The library calls handlers while it works. A handler's error would only be logged, so no handler here can fail, and nothing is done
//! until the library has returned: it still emits effects of a height after it has decided it.

mod context;
mod convert;
mod effects;
mod signing;

use std::time::Duration;

use arc_malachitebft_core_consensus::{Error, Input, Params, State, process};
use arc_malachitebft_core_types::{
    Round, ThresholdParam, ThresholdParams, Validity, ValueOrigin, ValuePayload, VoteExtensionPolicy,
};
use thiserror::Error as ThisError;
use vouch_core::bugs::{self, Bug};
use vouch_core::link::NodeKey;
use vouch_core::log::BlockDigest;

use super::messages::{RoundCertificate, SignedProposal, SignedVote, VoteCertificate};
use context::{Address, BlockValue, Height, LogContext, VoterSet};
use effects::{Collector, Replay};
pub use signing::CertificateError;
pub(super) use signing::Signing;

/// The library queues inputs of later heights before it verifies them. The log never gives it any, so the bounds are minimal.
const QUEUE: (usize, usize) = (2, 256);

/// The step that a timeout ends, or the repetition of votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TimeoutStep {
    /// Waiting for a proposal.
    Propose = 1,
    /// Waiting for agreement of prevotes.
    Prevote = 2,
    /// Waiting for agreement of precommits.
    Precommit = 3,
    /// Repeating this node's votes of the round.
    Rebroadcast = 4,
}

/// A timeout of one height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineTimeout {
    /// What it ends.
    pub step: TimeoutStep,
    /// Its round.
    pub round: u32,
}

/// A block that was proposed and executed: whether members may vote for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedBlock {
    /// The round of the proposal.
    pub round: u32,
    /// The proposal's valid round.
    pub valid_round: Option<u32>,
    /// Who proposed it.
    pub proposer: NodeKey,
    /// The block.
    pub block: BlockDigest,
    /// Whether it follows the log's rules.
    pub is_valid: bool,
}

/// What the engine is given. All but `Propose`, and all rounds of votes for certificates, are recorded in the write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineInput {
    /// A vote.
    Vote(SignedVote),
    /// A proposal. The block comes as [`Judged`](Self::Judged) once it is durable.
    Proposal(SignedProposal),
    /// Prevotes of a quorum for one block.
    Polka(VoteCertificate),
    /// Votes that let this node enter a round. Its votes are recorded, not the certificate.
    Round(RoundCertificate),
    /// A timeout.
    Timeout(EngineTimeout),
    /// A block's validity.
    Judged(JudgedBlock),
    /// The block that this node proposes in a round.
    Propose {
        /// The round.
        round: u32,
        /// The block, which is durable.
        block: BlockDigest,
    },
}

/// What the engine wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineOutput {
    /// Append to the write-ahead log.
    Record(EngineInput),
    /// Send to all once everything recorded so far is durable.
    SendVote {
        vote: SignedVote,
        is_repeated: bool,
    },
    SendProposal(SignedProposal),
    SendPolka(VoteCertificate),
    SendRound(RoundCertificate),
    /// Start a timer, or restart it.
    StartTimer(EngineTimeout, Duration),
    StopTimer(EngineTimeout),
    StopAllTimers,
    /// This node may propose in this round, once.
    WantBlock {
        round: u32,
    },
    /// The height is decided.
    Decided(VoteCertificate),
    /// Two votes of one voter.
    DoubleVote(SignedVote, SignedVote),
    /// Two proposals of one proposer.
    DoubleProposal(SignedProposal, SignedProposal),
}

/// The library refused to go on. The log must stop: going on could sign against what was signed before.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[error("consensus of height {height} stopped: {reason}")]
pub struct EngineError {
    /// The height.
    pub height: u64,
    /// The library's reason.
    pub reason: String,
}

/// Who decides a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Voters {
    /// Ascending node keys.
    pub(super) keys: Vec<NodeKey>,
    /// The index of the proposer of round 0.
    pub(super) first: usize,
}

/// Decides one height.
pub(super) struct Engine {
    state: State<LogContext>,
    voters: Voters,
}

impl Engine {
    /// Starts a height. `is_voting`: whether this node signs, if it is a voter. `replay`: what an earlier run of this node recorded of
    /// this height, in order.
    ///
    /// # Errors
    /// [`EngineError`]: the records contradict each other.
    pub(super) fn start(
        height: u64,
        voters: Voters,
        is_voting: bool,
        replay: &[EngineInput],
        signing: &mut Signing,
    ) -> Result<(Self, Vec<EngineOutput>), EngineError> {
        let set = VoterSet::new(&voters.keys, voters.first);
        let quorum = match bugs::has(Bug::LogAcceptsFewer) {
            true => ThresholdParam::F_PLUS_ONE,
            false => ThresholdParam::TWO_F_PLUS_ONE,
        };
        let params = Params {
            address: Address(signing.node_key()),
            threshold_params: ThresholdParams { quorum, ..ThresholdParams::default() },
            value_payload: ValuePayload::ProposalAndParts,
            enabled: is_voting,
        };
        let state = State::new(LogContext, Height(height), set.clone(), params, QUEUE.0, QUEUE.1);
        let mut engine = Self { state, voters };
        for input in replay {
            if let EngineInput::Vote(vote) = input {
                signing.has_signed(vote);
            }
        }
        let replay: Vec<_> = replay.iter().map(|input| library_input(height, input)).collect();
        if !replay.is_empty() {
            engine.state.index_wal_entries(&replay);
        }
        let mut collector = Collector::new(signing, if replay.is_empty() { Replay::No } else { Replay::Yes });
        let start = Input::StartHeight(Height(height), set, false, None, VoteExtensionPolicy::Disabled);
        engine.process(start, &mut collector)?;
        for input in replay {
            engine.process(input, &mut collector)?;
        }
        let outputs = collector.outputs;
        engine.state.reset_entries_index();
        Ok((engine, outputs))
    }

    pub(super) fn height(&self) -> u64 {
        self.state.height().0
    }

    pub(super) fn round(&self) -> u32 {
        convert::round_number(self.state.round())
    }

    /// The proposer of a round.
    pub(super) fn proposer(&self, round: u32) -> NodeKey {
        self.state.get_proposer(self.state.height(), Round::new(round)).0
    }

    /// Decides on an input of this height.
    ///
    /// # Errors
    /// [`EngineError`].
    pub(super) fn handle(
        &mut self,
        input: &EngineInput,
        signing: &mut Signing,
    ) -> Result<Vec<EngineOutput>, EngineError> {
        let mut collector = Collector::new(signing, Replay::No);
        let input = library_input(self.height(), input);
        self.process(input, &mut collector)?;
        Ok(collector.outputs)
    }

    fn process(&mut self, input: Input<LogContext>, collector: &mut Collector<'_>) -> Result<(), EngineError> {
        let height = self.height();
        let voters = &self.voters.keys;
        let result: Result<(), Error<LogContext>> = process!(
            input: input,
            state: &mut self.state,
            metrics: &(),
            with: effect => Ok::<_, std::convert::Infallible>(collector.handle(effect, voters))
        );
        result.map_err(|error| EngineError { height, reason: error.to_string() })
    }
}

fn library_input(height: u64, input: &EngineInput) -> Input<LogContext> {
    match input {
        EngineInput::Vote(vote) => Input::Vote(convert::library_vote(vote)),
        EngineInput::Proposal(proposal) => Input::Proposal(convert::library_proposal(proposal)),
        EngineInput::Polka(certificate) => Input::PolkaCertificate(convert::library_polka(certificate)),
        EngineInput::Round(certificate) => Input::RoundCertificate(convert::library_round(certificate)),
        EngineInput::Timeout(timeout) => Input::TimeoutElapsed(convert::library_timeout(*timeout)),
        EngineInput::Judged(judged) => {
            let value = arc_malachitebft_core_consensus::ProposedValue {
                height: Height(height),
                round: Round::new(judged.round),
                valid_round: Round::from(judged.valid_round),
                proposer: Address(judged.proposer),
                value: BlockValue(judged.block),
                validity: Validity::from_bool(judged.is_valid),
            };
            Input::ProposedValue(value, ValueOrigin::Consensus)
        }
        EngineInput::Propose { round, block } => {
            Input::Propose(arc_malachitebft_core_consensus::LocallyProposedValue::new(
                Height(height),
                Round::new(*round),
                BlockValue(*block),
            ))
        }
    }
}
