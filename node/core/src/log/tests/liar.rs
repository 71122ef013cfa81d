//! What a lying member does with the messages of an otherwise honest core.

use vouch_core::digest::ClusterId;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::{Block, BlockDigest, EngineProposal, EngineVote, EngineVoteType};

use super::random::Random;
use crate::log::messages::{RoundCertificate, RoundReason, RoundVote, SignedProposal, SignedVote};
use crate::log::wire::LogMessage;

/// Messages that a replaying liar keeps.
const KEPT: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// Two processes with one key.
    Twin,
    /// Sends nothing.
    Silent,
    /// Ignores the ops of others.
    Censor,
    /// Sends old messages of anybody again.
    Replay,
    /// Sends its blocks to some members only.
    Withhold,
    /// Sends forged certificates, votes of far rounds, second votes, and bytes that are no message.
    Forge,
    /// Proposes blocks with another parent.
    WrongParent,
    /// Floods the others with ops: its own, and a stranger's.
    Flood,
    /// Forges the state that it offers, or stops in the middle.
    State,
}

impl Lie {
    pub(super) const ALL: [Self; 9] = [
        Self::Twin,
        Self::Silent,
        Self::Censor,
        Self::Replay,
        Self::Withhold,
        Self::Forge,
        Self::WrongParent,
        Self::Flood,
        Self::State,
    ];
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    messages: Vec<Vec<u8>>,
}

impl Memory {
    pub(super) fn keep(&mut self, message: &[u8], random: &mut Random) {
        if self.messages.len() < KEPT {
            self.messages.push(message.to_vec());
        } else {
            let index = random.index(KEPT);
            self.messages[index] = message.to_vec();
        }
    }

    pub(super) fn any(&self, random: &mut Random) -> Option<Vec<u8>> {
        (!self.messages.is_empty()).then(|| self.messages[random.index(self.messages.len())].clone())
    }
}

/// The proposal with a block that differs only in its parent.
pub(super) fn with_wrong_parent(message: &LogMessage, key: &NodeSecretKey, cluster: &ClusterId) -> LogMessage {
    let LogMessage::Proposal { proposal: signed, block } = message else { return message.clone() };
    let mut header = block.header().clone();
    header.parent = BlockDigest([9; 32]);
    let Ok(block) = Block::new(header, block.ops().to_vec()) else { return message.clone() };
    let proposal = EngineProposal { block: block.digest(), ..signed.proposal };
    let proposal = SignedProposal { proposal, proposer: key.node_key(), signature: proposal.sign(cluster, 0, key) };
    LogMessage::Proposal { proposal, block: Box::new(block) }
}

/// An offer or part of a state with something wrong. `None`: nothing is sent.
pub(super) fn with_forged_state(message: &LogMessage, random: &mut Random) -> Option<LogMessage> {
    let mut forged = message.clone();
    match (&mut forged, random.below(5)) {
        (LogMessage::StateOffer { header, .. }, 0) => header.height += 1,
        (LogMessage::StateOffer { header, .. }, 1) => header.epoch += 1,
        (LogMessage::StateOffer { certificate, .. }, 2) => certificate.signatures.truncate(1),
        (LogMessage::StateOffer { length, .. }, 3) => *length = u32::try_from(random.below(1 << 32)).unwrap(),
        (LogMessage::StatePart { bytes, .. }, 0) => {
            let index = random.index(bytes.len());
            bytes[index] ^= 1;
        }
        (LogMessage::StatePart { bytes, .. }, 1) => drop(bytes.pop()),
        (LogMessage::StatePart { bytes, .. }, 2) => bytes.push(0),
        (LogMessage::StatePart { height, .. }, 3) => *height += 1,
        (LogMessage::StatePart { .. }, 4) => return None,
        _ => {}
    }
    Some(forged)
}

/// Something forged that goes with a message: encoded, and possibly damaged.
pub(super) fn forge(message: &LogMessage, key: &NodeSecretKey, cluster: &ClusterId, random: &mut Random) -> Vec<u8> {
    let sign = |vote_type, height, round, block| {
        let vote = EngineVote { vote_type, height, round, block };
        SignedVote { vote, voter: key.node_key(), signature: vote.sign(cluster, 0, key) }
    };
    let forged = match message {
        LogMessage::Vote { vote, .. } => {
            let of = vote.vote;
            let other = Some(BlockDigest([u8::try_from(random.below(3)).unwrap(); 32]));
            match random.below(5) {
                0 => LogMessage::Vote { vote: sign(of.vote_type, of.height, of.round, other), is_repeated: true },
                1 => {
                    let round = of.round + u32::try_from(random.below(20)).unwrap();
                    LogMessage::Vote { vote: sign(of.vote_type, of.height, round, None), is_repeated: false }
                }
                2 => {
                    // One voter several times, in place of several voters.
                    let one = sign(EngineVoteType::Precommit, of.height, of.round + 3, None);
                    let vote = RoundVote {
                        vote_type: one.vote.vote_type,
                        block: None,
                        voter: one.voter,
                        signature: one.signature,
                    };
                    let reason = if random.is(500) { RoundReason::Skip } else { RoundReason::Precommits };
                    let votes = vec![vote; 3];
                    LogMessage::Round(RoundCertificate { height: of.height, round: of.round + 3, reason, votes })
                }
                3 => LogMessage::Status { next: of.height + random.below(1 << 40), asks: true },
                _ => message.clone(),
            }
        }
        LogMessage::Decided { block, certificate, next } => {
            let mut certificate = certificate.clone();
            certificate.signatures.truncate(1 + random.index(certificate.signatures.len()));
            LogMessage::Decided { block: block.clone(), certificate, next: next + random.below(5) }
        }
        LogMessage::Round(certificate) => {
            let mut certificate = certificate.clone();
            certificate.round += 1;
            LogMessage::Round(certificate)
        }
        other => other.clone(),
    };
    let mut bytes = forged.encode();
    if random.is(200) {
        let index = random.index(bytes.len());
        bytes[index] ^= 1 << random.below(8);
    }
    if random.is(50) {
        bytes.truncate(random.index(bytes.len()));
    }
    bytes
}
