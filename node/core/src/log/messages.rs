//! Votes, proposals and certificates with their signers, as they travel between members and are written to the write-ahead log.

use vouch_core::codec::{DecodeError, Reader};
use vouch_core::link::NodeKey;
use vouch_core::log::{BlockDigest, EngineProposal, EngineSignature, EngineVote, EngineVoteType};

use super::encoding::{read_certificate, write_certificate};

/// A vote with its voter and signature, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedVote {
    /// What was signed.
    pub vote: EngineVote,
    /// Who claims to have signed it.
    pub voter: NodeKey,
    /// The signature.
    pub signature: EngineSignature,
}

/// A proposal with its proposer and signature, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignedProposal {
    /// What was signed.
    pub proposal: EngineProposal,
    /// Who claims to have signed it.
    pub proposer: NodeKey,
    /// The signature.
    pub signature: EngineSignature,
}

/// The signatures of voters on one vote for one block. A *polka* consists of prevotes, a *commit certificate* of precommits; which of
/// the two it is follows from where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteCertificate {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The block that was voted for.
    pub block: BlockDigest,
    /// Who signed, and the signatures.
    pub signatures: Vec<(NodeKey, EngineSignature)>,
}

impl VoteCertificate {
    /// The encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_certificate(self, &mut out);
        out
    }

    /// Decodes exactly one certificate. Its signatures are not checked.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let certificate = read_certificate(&mut reader)?;
        reader.finish()?;
        Ok(certificate)
    }
}

/// Why a round may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RoundReason {
    /// f + 1 members voted in this round already.
    Skip = 1,
    /// A quorum precommitted, without agreeing, in the round before.
    Precommits = 2,
}

/// Votes of one round that let members enter it, or the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundCertificate {
    /// The height.
    pub height: u64,
    /// The round of the votes.
    pub round: u32,
    /// What the votes amount to.
    pub reason: RoundReason,
    /// The votes: type, block, voter and signature.
    pub votes: Vec<RoundVote>,
}

/// One vote of a [`RoundCertificate`]; height and round are the certificate's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundVote {
    /// The step.
    pub vote_type: EngineVoteType,
    /// The block, if any.
    pub block: Option<BlockDigest>,
    /// Who claims to have signed it.
    pub voter: NodeKey,
    /// The signature.
    pub signature: EngineSignature,
}

impl RoundCertificate {
    /// The votes as such.
    pub fn votes(&self) -> impl Iterator<Item = SignedVote> + '_ {
        self.votes.iter().map(|one| SignedVote {
            vote: EngineVote { vote_type: one.vote_type, height: self.height, round: self.round, block: one.block },
            voter: one.voter,
            signature: one.signature,
        })
    }
}
