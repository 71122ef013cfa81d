use vouch_core::digest::ClusterId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{BlockDigest, EngineProposal, EngineSignature, EngineVote, EngineVoteType, Op};

use super::*;
use crate::log::applied::Applied;
use crate::log::members::LogMembers;
use crate::log::messages::{RoundReason, RoundVote};
use crate::log::notes::Notes;
use crate::log::verified_op::VerifiedOp;

const CLUSTER: ClusterId = ClusterId([3; 32]);

pub(in crate::log) fn op(nonce: u8) -> SignedOp {
    let op = Op::new(Notes::NOTE, [nonce; 16], 1_790_000_060, vec![nonce; usize::from(nonce)]).unwrap();
    SignedOp::sign(op, &CLUSTER, &NodeSecretKey::from_bytes(&[1; 32]))
}

pub(in crate::log) fn block() -> Block {
    let key = op(1).submitter;
    let applied = Applied::genesis(CLUSTER, LogMembers::new(0, [key]).unwrap(), Notes::default());
    let ops: Vec<_> = (1..4).map(|nonce| VerifiedOp::verify(op(nonce), &CLUSTER).unwrap()).collect();
    applied.build(&ops, key, 1_790_000_000).unwrap().unwrap().block
}

pub(in crate::log) fn vote(block: Option<BlockDigest>) -> SignedVote {
    let vote = EngineVote { vote_type: EngineVoteType::Precommit, height: 1, round: 4, block };
    SignedVote { vote, voter: NodeKey([8; 32]), signature: EngineSignature([9; 64]) }
}

pub(in crate::log) fn proposal(valid_round: Option<u32>) -> SignedProposal {
    let proposal = EngineProposal { height: 1, round: 4, valid_round, block: block().digest() };
    SignedProposal { proposal, proposer: NodeKey([8; 32]), signature: EngineSignature([9; 64]) }
}

pub(in crate::log) fn certificate(signers: u8) -> VoteCertificate {
    let signatures = (0..signers).map(|i| (NodeKey([i; 32]), EngineSignature([i; 64]))).collect();
    VoteCertificate { height: 1, round: 2, block: BlockDigest([5; 32]), signatures }
}

fn messages() -> Vec<LogMessage> {
    let round_vote = |block| RoundVote {
        vote_type: EngineVoteType::Prevote,
        block,
        voter: NodeKey([8; 32]),
        signature: EngineSignature([9; 64]),
    };
    let votes = vec![round_vote(None), round_vote(Some(BlockDigest([5; 32])))];
    vec![
        LogMessage::Op(op(1)),
        LogMessage::Vote { vote: vote(None), is_repeated: false },
        LogMessage::Vote { vote: vote(Some(BlockDigest([5; 32]))), is_repeated: true },
        LogMessage::Proposal { proposal: proposal(None), block: Box::new(block()) },
        LogMessage::Proposal { proposal: proposal(Some(3)), block: Box::new(block()) },
        LogMessage::Polka(certificate(3)),
        LogMessage::Round(RoundCertificate { height: 1, round: 2, reason: RoundReason::Skip, votes }),
        LogMessage::Status { next: 7, asks: true },
        LogMessage::Decided { block: Box::new(block()), certificate: certificate(4), next: 9 },
        LogMessage::StateOffer {
            header: Box::new(block().header().clone()),
            certificate: certificate(4),
            length: 70_000,
        },
        LogMessage::AskState { height: 1, offset: 65_536 },
        LogMessage::SubmitFor(op(1).op),
    ]
}

#[test]
fn each_message_has_one_encoding() {
    for message in messages() {
        let bytes = message.encode();
        assert_eq!(LogMessage::decode(&bytes), Ok(message.clone()));
        for length in 0..bytes.len() {
            assert!(LogMessage::decode(&bytes[..length]).is_err(), "{message:?} cut to {length}");
        }
        assert!(LogMessage::decode(&[&bytes[..], &[0]].concat()).is_err(), "{message:?}");
    }
}

/// A decoder that accepts other bytes than the encoder makes would let two nodes see different messages in one.
#[test]
fn altered_bytes_are_refused_or_another_message() {
    for message in messages() {
        let bytes = message.encode();
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[position] ^= 1 << bit;
                if let Ok(other) = LogMessage::decode(&altered) {
                    assert_ne!(other, message, "bit {bit} of byte {position}");
                    assert_eq!(other.encode(), altered, "bit {bit} of byte {position}");
                }
            }
        }
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    let refused = |bytes: &[u8], field: &str| {
        let error = LogMessage::decode(bytes).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    };
    refused(&[2], "version");
    refused(&[1, 12], "kind");
    let status = LogMessage::Status { next: 7, asks: true }.encode();
    refused(&[&status[..3], &[0; 8]].concat(), "height");
    refused(&[&status[..3], &[0xFF; 8]].concat(), "height");
    refused(&[&[1, 6, 2], &status[3..]].concat(), "asks");
    let mut polka = LogMessage::Polka(certificate(0)).encode();
    let count = polka.len() - 2;
    polka[count..].copy_from_slice(&1001u16.to_le_bytes());
    refused(&polka, "number of signers");
    polka[10..14].fill(0xFF);
    refused(&polka, "round");
    refused(&vec![1; MAX_LOG_MESSAGE + 1], "size");
    let part = |size| LogMessage::StatePart { height: 1, offset: 0, bytes: vec![7; size] }.encode();
    assert_eq!(LogMessage::decode(&part(STATE_PART)).map(|message| message.encode()), Ok(part(STATE_PART)));
    assert!(part(STATE_PART).len() < MAX_LOG_MESSAGE);
    refused(&part(STATE_PART + 1), "size of the part");
    refused(&part(0), "size of the part");
    assert!(LogMessage::Polka(certificate(200)).encode().len() < MAX_LOG_MESSAGE);
}
