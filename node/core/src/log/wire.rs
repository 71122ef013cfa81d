//! The messages that members send each other about the log. Links authenticate the sender; votes, proposals and ops carry signatures
//! of their own, so anyone may pass them on.
//!
//! Layout: version, kind, then the fields of the kind. Nothing may follow.

#[cfg(test)]
pub(in crate::log) mod tests;

use std::fmt;

use thiserror::Error;
use vouch_core::codec::{DecodeError, Reader, in_range};
use vouch_core::comparison::Comparison;
use vouch_core::limits::{MAX_BLOCK, MAX_MEMBERS, MAX_PEER_MESSAGE};
use vouch_core::log::{Block, BlockFormatError, BlockHeader, Op, OpFormatError, SignedOp};

use super::encoding::{
    read_certificate, read_height, read_proposal, read_round_certificate, read_vote, write_certificate, write_proposal,
    write_round_certificate, write_vote,
};
use super::messages::{RoundCertificate, SignedProposal, SignedVote, VoteCertificate};
use super::state_transfer::STATE_PART;

const VERSION: u8 = 1;

/// Maximum size of a message in bytes: a block with the signatures of all members, rounded up.
pub const MAX_LOG_MESSAGE: usize = MAX_BLOCK + MAX_MEMBERS as usize * 130 + 256;
// Otherwise the largest block could not be sent.
const _: () = assert!(MAX_LOG_MESSAGE <= MAX_PEER_MESSAGE);

/// A message about the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogMessage {
    /// An op to decide.
    Op(SignedOp),
    /// A vote.
    Vote {
        /// The vote.
        vote: SignedVote,
        /// Whether it was sent before. A receiver that has decided its height answers with the block.
        is_repeated: bool,
    },
    /// A proposal with its block.
    Proposal {
        /// The proposal.
        proposal: SignedProposal,
        /// The block.
        block: Box<Block>,
    },
    /// Prevotes of a quorum for one block.
    Polka(VoteCertificate),
    /// Votes that let members enter a round.
    Round(RoundCertificate),
    /// How far the sender is.
    Status {
        /// The height after the last block that the sender has.
        next: u64,
        /// Whether the sender wants the receiver's status.
        asks: bool,
    },
    /// A decided block.
    Decided {
        /// The block.
        block: Box<Block>,
        /// The precommits of a quorum.
        certificate: VoteCertificate,
        /// The height after the last block that the sender has.
        next: u64,
    },
    /// The state after a block, for a node that lacks blocks which are not kept any more.
    StateOffer {
        /// The header of the last block.
        header: Box<BlockHeader>,
        /// The precommits of a quorum for it.
        certificate: VoteCertificate,
        /// The size of the encoded state in bytes.
        length: u32,
    },
    /// Asks for a part of an offered state.
    AskState {
        /// The height of its last block.
        height: u64,
        /// The number of bytes before the part.
        offset: u32,
    },
    /// A part of an offered state.
    StatePart {
        /// The height of its last block.
        height: u64,
        /// The number of bytes before the part.
        offset: u32,
        /// The part, at most [`STATE_PART`] bytes.
        bytes: Vec<u8>,
    },
    /// A node that is no member wants an op in the log. A member submits it in its own name, as it does for clients.
    SubmitFor(Op),
}

/// Why bytes are not a message about the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogMessageError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// A block is not well formed.
    Block(#[from] BlockFormatError),
    /// An op is not well formed.
    Op(#[from] OpFormatError),
    /// The message is too large.
    TooLarge {
        /// Its size in bytes.
        got: usize,
    },
}

impl LogMessageError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison(),
            Self::Block(error) => error.comparison(),
            Self::Op(error) => error.comparison(),
            Self::TooLarge { got } => Comparison::new(&"size", &format_args!("at most {MAX_LOG_MESSAGE} bytes"), got),
        }
        .within("message of the log")
    }
}

impl fmt::Display for LogMessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.comparison().fmt(f)
    }
}

impl LogMessage {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Op(op) => {
                out.push(1);
                op.write(&mut out);
            }
            Self::Vote { vote, is_repeated } => {
                out.extend([2, u8::from(*is_repeated)]);
                write_vote(vote, &mut out);
            }
            Self::Proposal { proposal, block } => {
                out.push(3);
                write_proposal(proposal, &mut out);
                out.extend_from_slice(&block.encode());
            }
            Self::Polka(certificate) => {
                out.push(4);
                write_certificate(certificate, &mut out);
            }
            Self::Round(certificate) => {
                out.push(5);
                write_round_certificate(certificate, &mut out);
            }
            Self::Status { next, asks } => {
                out.extend([6, u8::from(*asks)]);
                out.extend_from_slice(&next.to_le_bytes());
            }
            Self::Decided { block, certificate, next } => {
                out.push(7);
                out.extend_from_slice(&next.to_le_bytes());
                write_certificate(certificate, &mut out);
                out.extend_from_slice(&block.encode());
            }
            Self::StateOffer { header, certificate, length } => {
                out.push(8);
                header.write(&mut out);
                write_certificate(certificate, &mut out);
                out.extend_from_slice(&length.to_le_bytes());
            }
            Self::AskState { height, offset } => {
                out.push(9);
                out.extend_from_slice(&height.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
            }
            Self::StatePart { height, offset, bytes } => {
                out.push(10);
                out.extend_from_slice(&height.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Self::SubmitFor(op) => {
                out.push(11);
                op.write(&mut out);
            }
        }
        out
    }

    /// Decodes exactly one message.
    ///
    /// # Errors
    /// See [`LogMessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, LogMessageError> {
        if bytes.len() > MAX_LOG_MESSAGE {
            return Err(LogMessageError::TooLarge { got: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        reader.tag("version", &[VERSION])?;
        let message = match reader.u8("kind")? {
            1 => Self::Op(SignedOp::read(&mut reader)?),
            2 => {
                let is_repeated = reader.flag("is repeated")?;
                Self::Vote { vote: read_vote(&mut reader)?, is_repeated }
            }
            3 => {
                let proposal = read_proposal(&mut reader)?;
                Self::Proposal { proposal, block: Box::new(Block::decode(reader.rest())?) }
            }
            4 => Self::Polka(read_certificate(&mut reader)?),
            5 => Self::Round(read_round_certificate(&mut reader)?),
            6 => {
                let asks = reader.flag("asks")?;
                Self::Status { next: read_height(&mut reader)?, asks }
            }
            7 => {
                let next = read_height(&mut reader)?;
                let certificate = read_certificate(&mut reader)?;
                Self::Decided { block: Box::new(Block::decode(reader.rest())?), certificate, next }
            }
            8 => {
                let header = Box::new(BlockHeader::read(&mut reader)?);
                let certificate = read_certificate(&mut reader)?;
                Self::StateOffer { header, certificate, length: reader.u32("size of the state")? }
            }
            9 => Self::AskState { height: read_height(&mut reader)?, offset: reader.u32("offset")? },
            10 => {
                let (height, offset) = (read_height(&mut reader)?, reader.u32("offset")?);
                in_range("size of the part", reader.remaining() as u64, 1, STATE_PART as u64)?;
                Self::StatePart { height, offset, bytes: reader.rest().to_vec() }
            }
            11 => Self::SubmitFor(Op::read(&mut reader)?),
            got => return Err(DecodeError::OutOfRange { field: "kind", min: 1, max: 11, got: got.into() }.into()),
        };
        reader.finish()?;
        Ok(message)
    }
}
