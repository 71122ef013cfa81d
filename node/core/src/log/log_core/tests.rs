//! A member whose clock is in doubt, and a node that is no member.

use vouch_core::log::{BlockDigest, EngineProposal, EngineVoteType, Op};

use super::*;
use crate::log::applied::BlockError;
use crate::log::members::LogMembers;
use crate::log::notes::Notes;
use crate::log::verified_op::VerifiedOp;

const CLUSTER: ClusterId = ClusterId([5; 32]);
const TIME: u64 = 1_790_000_000;

fn secret(i: u8) -> Arc<NodeSecretKey> {
    Arc::new(NodeSecretKey::from_bytes(&[i; 32]))
}

fn clock(seconds: u64, is_in_doubt: bool) -> LogClock {
    LogClock { now: Duration::from_secs(seconds), unix_seconds: TIME + seconds, is_in_doubt }
}

fn genesis(members: u8) -> Applied<Notes> {
    let founders = LogMembers::new(0, (1..=members).map(|i| secret(i).node_key())).unwrap();
    Applied::genesis(CLUSTER, founders, Notes::default())
}

fn open(applied: Applied<Notes>, key: Arc<NodeSecretKey>) -> LogCore<Notes> {
    let wal = WalState::Fresh;
    let config = LogConfig { key, applied, recent: Vec::new(), wal, may_recover: false, kept_blocks: 10 };
    LogCore::open(config, clock(0, false)).0
}

fn op(submitter: &NodeSecretKey) -> SignedOp {
    SignedOp::sign(Op::new(Notes::NOTE, [1; 16], TIME + 100, Vec::new()).unwrap(), &CLUSTER, submitter)
}

/// Gives an input, writes at once whatever is to be written, and returns all other outputs.
fn give(core: &mut LogCore<Notes>, input: LogInput, clock: LogClock) -> Vec<LogOutput> {
    let (mut inputs, mut seen) = (vec![input], Vec::new());
    while let Some(input) = inputs.pop() {
        for output in core.handle(input, clock) {
            match output {
                LogOutput::Append { write, .. } | LogOutput::Commit { write, .. } => {
                    inputs.push(LogInput::Written(write));
                }
                output => seen.push(output),
            }
        }
    }
    seen
}

fn is_decided(outputs: &[LogOutput]) -> bool {
    outputs.iter().any(|output| matches!(output, LogOutput::Decided(_)))
}

#[test]
fn a_member_makes_no_block_while_its_clock_is_in_doubt() {
    let own = secret(1);
    let mut core = open(genesis(1), own.clone());
    assert!(!is_decided(&give(&mut core, LogInput::Submit(op(&own)), clock(1, true))));
    for second in 2..20 {
        assert!(!is_decided(&give(&mut core, LogInput::Tick, clock(second, true))), "{second}");
    }
    assert!((20..40).any(|second| is_decided(&give(&mut core, LogInput::Tick, clock(second, false)))));
    assert_eq!(core.applied().time(), TIME + 20);
}

/// What a member of four does when the first proposer proposes a block of this time: the blocks that it prevotes for, and its other outputs
/// that name the proposer.
fn judge(time: u64, clock: LogClock) -> (Vec<Option<BlockDigest>>, Vec<LogOutput>) {
    let applied = genesis(4);
    let first = applied.members().keys()[applied.first_proposer()];
    let key_of = |node: NodeKey| (1..=4).map(secret).find(|secret| secret.node_key() == node).unwrap();
    let (proposer, own) = (key_of(first), key_of(*applied.members().keys().iter().find(|key| **key != first).unwrap()));
    let signed = VerifiedOp::verify(op(&proposer), &CLUSTER).unwrap();
    let block = applied.build([&signed], first, time).unwrap().unwrap().block;
    let proposal = EngineProposal { height: 1, round: 0, valid_round: None, block: block.digest() };
    let signature = proposal.sign(&CLUSTER, 0, &proposer);
    let proposal = SignedProposal { proposal, proposer: first, signature };
    let mut core = open(applied, own.clone());
    let message = LogMessage::Proposal { proposal, block: Box::new(block) };
    let (mut prevotes, mut named) = (Vec::new(), Vec::new());
    for output in give(&mut core, LogInput::Message { from: first, message }, clock) {
        match output {
            LogOutput::Broadcast(LogMessage::Vote { vote, .. })
                if vote.voter == own.node_key() && vote.vote.vote_type == EngineVoteType::Prevote =>
            {
                prevotes.push(vote.vote.block);
            }
            LogOutput::Misbehaved { .. } | LogOutput::ClockDiffers { .. } => named.push(output),
            _ => {}
        }
    }
    (prevotes, named)
}

#[test]
fn a_member_votes_for_no_new_block_while_its_clock_is_in_doubt() {
    let (prevotes, named) = judge(TIME, clock(1, false));
    assert!(matches!(prevotes[..], [Some(_)]) && named.is_empty());
    assert_eq!(judge(TIME, clock(1, true)), (vec![None], Vec::new()));
}

#[test]
fn a_block_of_another_time_is_no_misbehaviour_and_named_only_by_a_clock_that_is_not_in_doubt() {
    let (prevotes, named) = judge(TIME, clock(90, false));
    assert_eq!(prevotes, [None]);
    assert!(matches!(named[..], [LogOutput::ClockDiffers { error: BlockError::Clock { now, got }, .. }]
        if (now, got) == (TIME + 90, TIME)));
    assert_eq!(judge(TIME, clock(90, true)), (vec![None], Vec::new()));
}

#[test]
fn a_member_submits_what_a_node_that_is_no_member_wants_in_the_log() {
    let wanted = || Op::new(Notes::NOTE, [2; 16], TIME + 100, Vec::new()).unwrap();
    let mut stranger = open(genesis(1), secret(9));
    let asked = give(&mut stranger, LogInput::SubmitAny(wanted()), clock(1, false));
    let message = LogMessage::SubmitFor(wanted());
    assert_eq!(asked, [LogOutput::Broadcast(message.clone())]);
    let ask = || LogInput::Message { from: secret(9).node_key(), message: message.clone() };
    assert!(!is_decided(&give(&mut stranger, ask(), clock(1, false))), "it cannot do that for another one");
    let mut member = open(genesis(1), secret(1));
    assert!(is_decided(&give(&mut member, ask(), clock(1, false))));
    let mut member = open(genesis(1), secret(1));
    assert!(is_decided(&give(&mut member, LogInput::SubmitAny(wanted()), clock(1, false))));
}
