//! What the library wants, as the engine's outputs.

use arc_malachitebft_core_consensus::{
    Effect, Input, LivenessMsg, ProposedValue, Resumable, Resume, SignedConsensusMsg, VoteExtensionError,
};
use arc_malachitebft_core_types::{self as core_types, CertificateError as LibraryError, SignedMessage};
use vouch_core::link::NodeKey;

use super::context::{Address, LibraryProposal, LibraryVote, LogContext, LogTimeouts};
use super::signing::{CertificateError, Signing};
use super::{EngineInput, EngineOutput, JudgedBlock, convert};

/// Whether the inputs come from the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// They are recorded already.
    Yes,
    /// They are new.
    No,
}

/// Answers the library's questions and collects its outputs.
pub(super) struct Collector<'a> {
    signing: &'a mut Signing,
    replay: Replay,
    /// Signatures made while replaying: their messages are not in the write-ahead log yet.
    fresh: Vec<[u8; 64]>,
    pub(super) outputs: Vec<EngineOutput>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(signing: &'a mut Signing, replay: Replay) -> Self {
        Self { signing, replay, fresh: Vec::new(), outputs: Vec::new() }
    }

    pub(super) fn handle(&mut self, effect: Effect<LogContext>, voters: &[NodeKey]) -> Resume<LogContext> {
        match effect {
            Effect::CancelAllTimeouts(resume) => self.output(EngineOutput::StopAllTimers, resume),
            Effect::CancelTimeout(timeout, resume) => {
                let stop = convert::timeout(timeout).map(EngineOutput::StopTimer);
                self.output(stop, resume)
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                let duration = core_types::Timeouts::duration_for(&LogTimeouts::default(), timeout);
                let start = convert::timeout(timeout).map(|timeout| EngineOutput::StartTimer(timeout, duration));
                self.output(start, resume)
            }
            Effect::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), resume) => {
                self.output(send_vote(&vote, false), resume)
            }
            Effect::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), resume) => {
                self.output(EngineOutput::SendProposal(convert::proposal(&proposal)), resume)
            }
            Effect::PublishLivenessMsg(LivenessMsg::Vote(vote), resume) | Effect::RepublishVote(vote, resume) => {
                self.output(send_vote(&vote, true), resume)
            }
            Effect::PublishLivenessMsg(LivenessMsg::PolkaCertificate(polka), resume) => {
                self.output(EngineOutput::SendPolka(convert::polka(&polka)), resume)
            }
            Effect::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(round), resume)
            | Effect::RepublishRoundCertificate(round, resume) => {
                self.output(EngineOutput::SendRound(convert::round(&round)), resume)
            }
            Effect::GetValue(_, round, _, resume) => {
                self.output(EngineOutput::WantBlock { round: convert::round_number(round) }, resume)
            }
            Effect::WalAppend(_, input, resume) => {
                let record = self.record(&input);
                self.output(record, resume)
            }
            Effect::Decide(certificate, _, resume) => {
                self.output(EngineOutput::Decided(convert::commit(&certificate)), resume)
            }
            Effect::Finalize(_, _, evidence, resume) => {
                for (_, pairs) in evidence.votes.iter() {
                    let double = |(a, b): &_| EngineOutput::DoubleVote(convert::vote(a), convert::vote(b));
                    self.outputs.extend(pairs.iter().map(double));
                }
                for (_, pairs) in evidence.proposals.iter() {
                    let double = |(a, b): &_| EngineOutput::DoubleProposal(convert::proposal(a), convert::proposal(b));
                    self.outputs.extend(pairs.iter().map(double));
                }
                self.output(None, resume)
            }
            Effect::SignVote(vote, resume) => {
                let signature = self.signing.sign_vote(&convert::unsigned_vote(&vote)).0;
                self.fresh.push(signature);
                resume.resume_with(SignedMessage::<LogContext, LibraryVote>::new(vote, signature))
            }
            Effect::SignProposal(proposal, resume) => {
                let signature = self.signing.sign_proposal(&convert::unsigned_proposal(&proposal)).0;
                self.fresh.push(signature);
                resume.resume_with(SignedMessage::<LogContext, LibraryProposal>::new(proposal, signature))
            }
            Effect::VerifySignature(message, _, resume) => {
                use arc_malachitebft_core_consensus::ConsensusMsg;
                let is_valid = match message.message {
                    ConsensusMsg::Vote(vote) => {
                        self.signing.is_vote(&convert::vote(&SignedMessage::new(vote, message.signature)))
                    }
                    ConsensusMsg::Proposal(proposal) => {
                        self.signing.is_proposal(&convert::proposal(&SignedMessage::new(proposal, message.signature)))
                    }
                };
                resume.resume_with(is_valid)
            }
            Effect::VerifyCommitCertificate(certificate, _, _, resume) => {
                let checked = self.signing.check_commit(&convert::commit(&certificate), voters);
                resume.resume_with(checked.map_err(library_error))
            }
            Effect::VerifyExtendedCommitCertificate(certificate, _, _, _, resume) => {
                let certificate = convert::commit(&certificate.trim_vote_extensions());
                let checked = self.signing.check_commit(&certificate, voters);
                resume.resume_with(checked.map_err(library_error))
            }
            Effect::VerifyPolkaCertificate(certificate, _, _, resume) => {
                let checked = self.signing.check_polka(&convert::polka(&certificate), voters);
                resume.resume_with(checked.map_err(library_error))
            }
            Effect::VerifyRoundCertificate(certificate, _, _, resume) => {
                let checked = self.signing.check_round(&convert::round(&certificate), voters);
                resume.resume_with(checked.map_err(library_error))
            }
            // Blocks travel with proposals, and the log catches up without the library.
            Effect::StartRound(.., resume)
            | Effect::RestreamProposal(.., resume)
            | Effect::CertVerifiedSyncValue(.., resume)
            | Effect::CertRejectedSyncValue(.., resume) => self.output(None, resume),
            // Votes have no extensions.
            Effect::ExtendVote(.., resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(.., resume) => {
                resume.resume_with(Err(VoteExtensionError::InvalidVoteExtension))
            }
        }
    }

    fn output(
        &mut self,
        output: impl Into<Option<EngineOutput>>,
        resume: impl Resumable<LogContext, Value = ()>,
    ) -> Resume<LogContext> {
        self.outputs.extend(output.into());
        resume.resume_with(())
    }

    /// While the write-ahead log is replayed, only what it does not have yet is recorded: messages that the crash kept out of it, and
    /// that are signed now.
    fn record(&self, input: &Input<LogContext>) -> Option<EngineOutput> {
        let is_fresh = |signature: &[u8; 64]| self.replay == Replay::No || self.fresh.contains(signature);
        let record = match input {
            Input::Vote(vote) if is_fresh(&vote.signature) => EngineInput::Vote(convert::vote(vote)),
            Input::Proposal(proposal) if is_fresh(&proposal.signature) => {
                EngineInput::Proposal(convert::proposal(proposal))
            }
            _ if self.replay == Replay::Yes => return None,
            Input::PolkaCertificate(polka) => EngineInput::Polka(convert::polka(polka)),
            Input::TimeoutElapsed(timeout) => EngineInput::Timeout(convert::timeout(*timeout)?),
            Input::ProposedValue(value, _) => EngineInput::Judged(judged(value)),
            _ => return None,
        };
        Some(EngineOutput::Record(record))
    }
}

fn send_vote(vote: &convert::LibrarySignedVote, is_repeated: bool) -> EngineOutput {
    EngineOutput::SendVote { vote: convert::vote(vote), is_repeated }
}

fn judged(value: &ProposedValue<LogContext>) -> JudgedBlock {
    JudgedBlock {
        round: convert::round_number(value.round),
        valid_round: value.valid_round.as_u32(),
        proposer: value.proposer.0,
        block: value.value.0,
        is_valid: value.validity.is_valid(),
    }
}

/// The library only logs it, so that the kinds need not match.
fn library_error(error: CertificateError) -> LibraryError<LogContext> {
    match error {
        CertificateError::Stranger { signer } => LibraryError::UnknownValidator(Address(signer)),
        CertificateError::Twice { signer } => LibraryError::DuplicateVote(Address(signer)),
        CertificateError::Step { signer } => LibraryError::InvalidVoteType(Address(signer)),
        CertificateError::TooFew { .. } | CertificateError::Signature { .. } | CertificateError::Forgotten => {
            LibraryError::VerificationError(None)
        }
    }
}
