//! Layouts that the write-ahead log and the links share. Each value has one encoding.

use vouch_core::codec::{DecodeError, Reader, in_range};
use vouch_core::limits::MAX_MEMBERS;
use vouch_core::link::NodeKey;
use vouch_core::log::{BlockDigest, EngineProposal, EngineSignature, EngineVote, EngineVoteType};

use super::messages::{RoundCertificate, RoundReason, RoundVote, SignedProposal, SignedVote, VoteCertificate};

/// A round below this number, so that a valid round can say "none" with the next one.
const NO_ROUND: u32 = u32::MAX;

pub(super) fn read_height(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let height = reader.safe_u64("height")?;
    in_range("height", height, 1, vouch_core::MAX_SAFE_INTEGER)?;
    Ok(height)
}

pub(super) fn read_round(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let round = reader.u32("round")?;
    in_range("round", round.into(), 0, u64::from(NO_ROUND) - 1)?;
    Ok(round)
}

pub(super) fn write_valid_round(round: Option<u32>, out: &mut Vec<u8>) {
    out.extend_from_slice(&round.unwrap_or(NO_ROUND).to_le_bytes());
}

pub(super) fn read_valid_round(reader: &mut Reader<'_>) -> Result<Option<u32>, DecodeError> {
    Ok(Some(reader.u32("valid round")?).filter(|round| *round != NO_ROUND))
}

fn read_vote_type(reader: &mut Reader<'_>) -> Result<EngineVoteType, DecodeError> {
    match reader.u8("vote type")? {
        1 => Ok(EngineVoteType::Prevote),
        2 => Ok(EngineVoteType::Precommit),
        got => Err(DecodeError::OutOfRange { field: "vote type", min: 1, max: 2, got: got.into() }),
    }
}

fn write_block(block: Option<BlockDigest>, out: &mut Vec<u8>) {
    out.push(block.is_some().into());
    out.extend(block.map(|block| block.0).into_iter().flatten());
}

fn read_block(reader: &mut Reader<'_>) -> Result<Option<BlockDigest>, DecodeError> {
    match reader.flag("has a block")? {
        true => Ok(Some(BlockDigest(reader.array("block")?))),
        false => Ok(None),
    }
}

fn read_signer(reader: &mut Reader<'_>) -> Result<(NodeKey, EngineSignature), DecodeError> {
    Ok((NodeKey(reader.array("signer")?), EngineSignature(reader.array("signature")?)))
}

fn write_signer(signer: &NodeKey, signature: &EngineSignature, out: &mut Vec<u8>) {
    out.extend_from_slice(&signer.0);
    out.extend_from_slice(&signature.0);
}

pub(super) fn write_vote(signed: &SignedVote, out: &mut Vec<u8>) {
    let SignedVote { vote, voter, signature } = signed;
    out.push(vote.vote_type as u8);
    out.extend_from_slice(&vote.height.to_le_bytes());
    out.extend_from_slice(&vote.round.to_le_bytes());
    write_block(vote.block, out);
    write_signer(voter, signature, out);
}

pub(super) fn read_vote(reader: &mut Reader<'_>) -> Result<SignedVote, DecodeError> {
    let vote_type = read_vote_type(reader)?;
    let (height, round) = (read_height(reader)?, read_round(reader)?);
    let vote = EngineVote { vote_type, height, round, block: read_block(reader)? };
    let (voter, signature) = read_signer(reader)?;
    Ok(SignedVote { vote, voter, signature })
}

pub(super) fn write_proposal(signed: &SignedProposal, out: &mut Vec<u8>) {
    let SignedProposal { proposal, proposer, signature } = signed;
    out.extend_from_slice(&proposal.height.to_le_bytes());
    out.extend_from_slice(&proposal.round.to_le_bytes());
    write_valid_round(proposal.valid_round, out);
    out.extend_from_slice(&proposal.block.0);
    write_signer(proposer, signature, out);
}

pub(super) fn read_proposal(reader: &mut Reader<'_>) -> Result<SignedProposal, DecodeError> {
    let (height, round) = (read_height(reader)?, read_round(reader)?);
    let valid_round = read_valid_round(reader)?;
    let proposal = EngineProposal { height, round, valid_round, block: BlockDigest(reader.array("block")?) };
    let (proposer, signature) = read_signer(reader)?;
    Ok(SignedProposal { proposal, proposer, signature })
}

fn write_count(count: usize, out: &mut Vec<u8>) {
    // Cannot saturate: no certificate has more signers than a committee has members.
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
}

/// From no signer on: what counts is checked against the voters.
fn read_count(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let count = reader.u16("number of signers")?;
    in_range("number of signers", count.into(), 0, MAX_MEMBERS.into())?;
    Ok(count)
}

pub(super) fn write_certificate(certificate: &VoteCertificate, out: &mut Vec<u8>) {
    out.extend_from_slice(&certificate.height.to_le_bytes());
    out.extend_from_slice(&certificate.round.to_le_bytes());
    out.extend_from_slice(&certificate.block.0);
    write_count(certificate.signatures.len(), out);
    for (signer, signature) in &certificate.signatures {
        write_signer(signer, signature, out);
    }
}

pub(super) fn read_certificate(reader: &mut Reader<'_>) -> Result<VoteCertificate, DecodeError> {
    let (height, round) = (read_height(reader)?, read_round(reader)?);
    let block = BlockDigest(reader.array("block")?);
    let count = read_count(reader)?;
    let signatures = (0..count).map(|_| read_signer(reader)).collect::<Result<_, _>>()?;
    Ok(VoteCertificate { height, round, block, signatures })
}

pub(super) fn write_round_certificate(certificate: &RoundCertificate, out: &mut Vec<u8>) {
    out.extend_from_slice(&certificate.height.to_le_bytes());
    out.extend_from_slice(&certificate.round.to_le_bytes());
    out.push(certificate.reason as u8);
    write_count(certificate.votes.len(), out);
    for vote in &certificate.votes {
        out.push(vote.vote_type as u8);
        write_block(vote.block, out);
        write_signer(&vote.voter, &vote.signature, out);
    }
}

pub(super) fn read_round_certificate(reader: &mut Reader<'_>) -> Result<RoundCertificate, DecodeError> {
    let (height, round) = (read_height(reader)?, read_round(reader)?);
    let reason = match reader.u8("reason")? {
        1 => RoundReason::Skip,
        2 => RoundReason::Precommits,
        got => return Err(DecodeError::OutOfRange { field: "reason", min: 1, max: 2, got: got.into() }),
    };
    let count = read_count(reader)?;
    let votes = (0..count)
        .map(|_| {
            let (vote_type, block) = (read_vote_type(reader)?, read_block(reader)?);
            let (voter, signature) = read_signer(reader)?;
            Ok(RoundVote { vote_type, block, voter, signature })
        })
        .collect::<Result<_, DecodeError>>()?;
    Ok(RoundCertificate { height, round, reason, votes })
}
