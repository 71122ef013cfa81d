//! Conversions between the library's types and ours.

use arc_malachitebft_core_types as core_types;
use core_types::{
    NilOrVal, PolkaSignature, Round, RoundCertificateType, RoundSignature, SignedMessage, TimeoutKind, VoteType,
};
use vouch_core::log::{BlockDigest, EngineProposal, EngineSignature, EngineVote, EngineVoteType};

use super::context::{Address, BlockValue, Height, LibraryProposal, LibraryVote, LogContext};
use super::{EngineTimeout, TimeoutStep};
use crate::log::messages::{RoundCertificate, RoundReason, RoundVote, SignedProposal, SignedVote, VoteCertificate};

pub(super) type LibrarySignedVote = core_types::SignedVote<LogContext>;
pub(super) type LibrarySignedProposal = core_types::SignedProposal<LogContext>;

/// The library's "no round" is a valid round only; votes and proposals always have a round.
pub(super) fn round_number(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

fn vote_type(kind: VoteType) -> EngineVoteType {
    match kind {
        VoteType::Prevote => EngineVoteType::Prevote,
        VoteType::Precommit => EngineVoteType::Precommit,
    }
}

fn library_vote_type(kind: EngineVoteType) -> VoteType {
    match kind {
        EngineVoteType::Prevote => VoteType::Prevote,
        EngineVoteType::Precommit => VoteType::Precommit,
    }
}

fn block(value: NilOrVal<BlockValue>) -> Option<BlockDigest> {
    match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(value) => Some(value.0),
    }
}

fn library_value(block: Option<BlockDigest>) -> NilOrVal<BlockValue> {
    block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(BlockValue(block)))
}

pub(super) fn unsigned_vote(vote: &LibraryVote) -> EngineVote {
    let LibraryVote { kind, height, round, value, voter: _ } = *vote;
    EngineVote { vote_type: vote_type(kind), height: height.0, round: round_number(round), block: block(value) }
}

pub(super) fn unsigned_proposal(proposal: &LibraryProposal) -> EngineProposal {
    let LibraryProposal { height, round, value, pol_round, proposer: _ } = *proposal;
    EngineProposal { height: height.0, round: round_number(round), valid_round: pol_round.as_u32(), block: value.0 }
}

pub(super) fn vote(signed: &LibrarySignedVote) -> SignedVote {
    let signature = EngineSignature(signed.signature);
    SignedVote { vote: unsigned_vote(&signed.message), voter: signed.message.voter.0, signature }
}

pub(super) fn library_vote(signed: &SignedVote) -> LibrarySignedVote {
    let EngineVote { vote_type, height, round, block } = signed.vote;
    let vote = LibraryVote {
        kind: library_vote_type(vote_type),
        height: Height(height),
        round: Round::new(round),
        value: library_value(block),
        voter: Address(signed.voter),
    };
    SignedMessage::new(vote, signed.signature.0)
}

pub(super) fn proposal(signed: &LibrarySignedProposal) -> SignedProposal {
    SignedProposal {
        proposal: unsigned_proposal(&signed.message),
        proposer: signed.message.proposer.0,
        signature: EngineSignature(signed.signature),
    }
}

pub(super) fn library_proposal(signed: &SignedProposal) -> LibrarySignedProposal {
    let EngineProposal { height, round, valid_round, block } = signed.proposal;
    let proposal = LibraryProposal {
        height: Height(height),
        round: Round::new(round),
        value: BlockValue(block),
        pol_round: Round::from(valid_round),
        proposer: Address(signed.proposer),
    };
    SignedMessage::new(proposal, signed.signature.0)
}

pub(super) fn polka(certificate: &core_types::PolkaCertificate<LogContext>) -> VoteCertificate {
    let signatures = certificate.polka_signatures.iter().map(|one| (one.address, one.signature));
    vote_certificate(certificate.height, certificate.round, certificate.value_id, signatures)
}

pub(super) fn library_polka(certificate: &VoteCertificate) -> core_types::PolkaCertificate<LogContext> {
    let signatures =
        certificate.signatures.iter().map(|(voter, signature)| PolkaSignature::new(Address(*voter), signature.0));
    core_types::PolkaCertificate {
        height: Height(certificate.height),
        round: Round::new(certificate.round),
        value_id: BlockValue(certificate.block),
        polka_signatures: signatures.collect(),
    }
}

pub(super) fn commit(certificate: &core_types::CommitCertificate<LogContext>) -> VoteCertificate {
    let signatures = certificate.commit_signatures.iter().map(|one| (one.address, one.signature));
    vote_certificate(certificate.height, certificate.round, certificate.value_id, signatures)
}

/// The library has a type for each of the two steps; both have these fields.
fn vote_certificate(
    height: Height,
    round: Round,
    block: BlockValue,
    signatures: impl Iterator<Item = (Address, [u8; 64])>,
) -> VoteCertificate {
    VoteCertificate {
        height: height.0,
        round: round_number(round),
        block: block.0,
        signatures: signatures.map(|(voter, signature)| (voter.0, EngineSignature(signature))).collect(),
    }
}

pub(super) fn round(certificate: &core_types::RoundCertificate<LogContext>) -> RoundCertificate {
    let votes = certificate.round_signatures.iter().map(|one| RoundVote {
        vote_type: vote_type(one.vote_type),
        block: block(one.value_id),
        voter: one.address.0,
        signature: EngineSignature(one.signature),
    });
    RoundCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        reason: match certificate.cert_type {
            RoundCertificateType::Skip => RoundReason::Skip,
            RoundCertificateType::Precommit => RoundReason::Precommits,
        },
        votes: votes.collect(),
    }
}

pub(super) fn library_round(certificate: &RoundCertificate) -> core_types::RoundCertificate<LogContext> {
    let votes = certificate.votes.iter().map(|one| {
        let kind = library_vote_type(one.vote_type);
        RoundSignature::new(kind, library_value(one.block), Address(one.voter), one.signature.0)
    });
    core_types::RoundCertificate {
        height: Height(certificate.height),
        round: Round::new(certificate.round),
        cert_type: match certificate.reason {
            RoundReason::Skip => RoundCertificateType::Skip,
            RoundReason::Precommits => RoundCertificateType::Precommit,
        },
        round_signatures: votes.collect(),
    }
}

/// `None` for the library's timeout of a pause between heights, which the log does not use.
pub(super) fn timeout(timeout: core_types::Timeout) -> Option<EngineTimeout> {
    let step = match timeout.kind {
        TimeoutKind::Propose => TimeoutStep::Propose,
        TimeoutKind::Prevote => TimeoutStep::Prevote,
        TimeoutKind::Precommit => TimeoutStep::Precommit,
        TimeoutKind::Rebroadcast => TimeoutStep::Rebroadcast,
        TimeoutKind::FinalizeHeight(_) => return None,
    };
    Some(EngineTimeout { step, round: timeout.round.as_u32()? })
}

pub(super) fn library_timeout(timeout: EngineTimeout) -> core_types::Timeout {
    let kind = match timeout.step {
        TimeoutStep::Propose => TimeoutKind::Propose,
        TimeoutStep::Prevote => TimeoutKind::Prevote,
        TimeoutStep::Precommit => TimeoutKind::Precommit,
        TimeoutStep::Rebroadcast => TimeoutKind::Rebroadcast,
    };
    core_types::Timeout::new(Round::new(timeout.round), kind)
}
