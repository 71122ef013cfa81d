//! The records of the write-ahead log. What a node signed, and what made it sign, is durable before the signature leaves. After a
//! restart the records are replayed, so that the node signs the same again and nothing else.
//!
//! Layout: version, kind, height, then the fields of the kind. The file that keeps them frames and checks them.

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;
use vouch_core::codec::{DecodeError, Reader};
use vouch_core::comparison::Comparison;
use vouch_core::link::NodeKey;
use vouch_core::log::{Block, BlockDigest, BlockFormatError};

use super::encoding::{
    read_certificate, read_height, read_proposal, read_round, read_valid_round, read_vote, write_certificate,
    write_proposal, write_valid_round, write_vote,
};
use super::engine::{EngineInput, EngineTimeout, JudgedBlock, TimeoutStep};

const VERSION: u8 = 1;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalRecord {
    /// What the engine was given, for a height.
    Input(u64, EngineInput),
    /// A block that was proposed for its height. It comes before its verdict and before any vote for it.
    Block(Box<Block>),
    /// This node lost an earlier write-ahead log and signs nothing until this height is decided; `None`: it is not known yet.
    Abstain(Option<u64>),
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WalRecordError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// A block is not well formed.
    Block(#[from] BlockFormatError),
}

impl WalRecordError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison(),
            Self::Block(error) => error.comparison(),
        }
        .within("write-ahead log")
    }
}

impl fmt::Display for WalRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.comparison().fmt(f)
    }
}

impl WalRecord {
    /// The encoding. `None` for inputs that are never recorded: a proposal to make, which is recorded as what it becomes, and a round
    /// certificate, whose votes are recorded.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = vec![VERSION];
        let begin = |out: &mut Vec<u8>, kind: u8, height: u64| {
            out.push(kind);
            out.extend_from_slice(&height.to_le_bytes());
        };
        match self {
            Self::Input(height, EngineInput::Vote(vote)) => {
                begin(&mut out, 1, *height);
                write_vote(vote, &mut out);
            }
            Self::Input(height, EngineInput::Proposal(proposal)) => {
                begin(&mut out, 2, *height);
                write_proposal(proposal, &mut out);
            }
            Self::Input(height, EngineInput::Polka(certificate)) => {
                begin(&mut out, 3, *height);
                write_certificate(certificate, &mut out);
            }
            Self::Input(height, EngineInput::Timeout(timeout)) => {
                begin(&mut out, 4, *height);
                out.push(timeout.step as u8);
                out.extend_from_slice(&timeout.round.to_le_bytes());
            }
            Self::Input(height, EngineInput::Judged(judged)) => {
                begin(&mut out, 5, *height);
                out.extend_from_slice(&judged.round.to_le_bytes());
                write_valid_round(judged.valid_round, &mut out);
                out.extend_from_slice(&judged.proposer.0);
                out.extend_from_slice(&judged.block.0);
                out.push(judged.is_valid.into());
            }
            Self::Input(_, EngineInput::Round(_) | EngineInput::Propose { .. }) => return None,
            Self::Block(block) => {
                begin(&mut out, 6, block.header().height);
                out.extend_from_slice(&block.encode());
            }
            Self::Abstain(until) => begin(&mut out, 7, until.unwrap_or(0)),
        }
        Some(out)
    }

    /// Decodes exactly one record.
    ///
    /// # Errors
    /// See [`WalRecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, WalRecordError> {
        let mut reader = Reader::new(bytes);
        reader.tag("version", &[VERSION])?;
        let kind = reader.u8("kind")?;
        if kind == 7 {
            let until = reader.safe_u64("height")?;
            reader.finish()?;
            return Ok(Self::Abstain(Some(until).filter(|until| *until > 0)));
        }
        let height = read_height(&mut reader)?;
        let of_height = |got: u64| match got == height {
            true => Ok(()),
            false => Err(DecodeError::OutOfRange { field: "height of the record", min: height, max: height, got }),
        };
        let input = match kind {
            1 => {
                let vote = read_vote(&mut reader)?;
                of_height(vote.vote.height)?;
                EngineInput::Vote(vote)
            }
            2 => {
                let proposal = read_proposal(&mut reader)?;
                of_height(proposal.proposal.height)?;
                EngineInput::Proposal(proposal)
            }
            3 => {
                let certificate = read_certificate(&mut reader)?;
                of_height(certificate.height)?;
                EngineInput::Polka(certificate)
            }
            4 => EngineInput::Timeout(EngineTimeout { step: read_step(&mut reader)?, round: read_round(&mut reader)? }),
            5 => EngineInput::Judged(JudgedBlock {
                round: read_round(&mut reader)?,
                valid_round: read_valid_round(&mut reader)?,
                proposer: NodeKey(reader.array("proposer")?),
                block: BlockDigest(reader.array("block")?),
                is_valid: reader.flag("is valid")?,
            }),
            6 => {
                let block = Block::decode(reader.rest())?;
                of_height(block.header().height)?;
                return Ok(Self::Block(Box::new(block)));
            }
            got => return Err(DecodeError::OutOfRange { field: "kind", min: 1, max: 7, got: got.into() }.into()),
        };
        reader.finish()?;
        Ok(Self::Input(height, input))
    }
}

/// The timeouts that decide something; repetitions are not recorded.
fn read_step(reader: &mut Reader<'_>) -> Result<TimeoutStep, DecodeError> {
    match reader.u8("step")? {
        1 => Ok(TimeoutStep::Propose),
        2 => Ok(TimeoutStep::Prevote),
        3 => Ok(TimeoutStep::Precommit),
        got => Err(DecodeError::OutOfRange { field: "step", min: 1, max: 3, got: got.into() }),
    }
}
