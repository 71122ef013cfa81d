mod snapshots;

use vouch_core::codec::{DecodeError, Reader};
use vouch_core::link::NodeSecretKey;
use vouch_core::log::{Effect, OpSignatureError};

use super::*;
use crate::log::state_machine::{BlockContext, RestoreError};

const CLUSTER: ClusterId = ClusterId([7; 32]);
const TIME: u64 = 1_790_000_000;

/// Remembers every body in order, so that any difference in what was applied shows in state and effects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Recorder(Vec<u8>);

const ADD: u16 = 1;
/// Its body is the greatest number of members from the next height on.
const SHRINK: u16 = 2;
/// Makes the snapshot as large as its body says.
const GROW: u16 = 3;

impl StateMachine for Recorder {
    fn knows(&self, kind: u16) -> bool {
        (ADD..=GROW).contains(&kind)
    }

    fn apply(&mut self, block: &BlockContext, op: &Op) -> Effect {
        match op.kind() {
            GROW => self.0.resize(u32::from_le_bytes(op.body().try_into().unwrap()) as usize, 0),
            kind => {
                self.0.push(kind.try_into().unwrap());
                self.0.push(op.body()[0]);
            }
        }
        Effect::new([&block.height.to_le_bytes()[..], op.body()].concat()).unwrap()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        // Refuses a part of the state, and forgets another.
        match bytes.last() {
            Some(250) => Err(RestoreError::Rule { field: "recorder", expected: "another end", got: "250".into() }),
            Some(251) => Ok(Self(bytes[1..].to_vec())),
            _ => Ok(Self(bytes.to_vec())),
        }
    }

    fn members(&self) -> Option<LogMembers> {
        let shrunk = self.0.chunks(2).rev().find(|entry| entry[0] == 2)?;
        LogMembers::new(1, (1..=shrunk[1]).map(member))
    }
}

fn secret(i: u8) -> NodeSecretKey {
    NodeSecretKey::from_bytes(&[i; 32])
}

fn member(i: u8) -> NodeKey {
    secret(i).node_key()
}

fn founders() -> LogMembers {
    LogMembers::new(0, (1..=4).map(member)).unwrap()
}

fn genesis() -> Applied<Recorder> {
    Applied::genesis(CLUSTER, founders(), Recorder::default())
}

fn op(kind: u16, nonce: u8, expires_at: u64) -> Op {
    Op::new(kind, [nonce; 16], expires_at, vec![nonce]).unwrap()
}

fn by(submitter: u8, op: Op) -> VerifiedOp {
    VerifiedOp::verify(SignedOp::sign(op, &CLUSTER, &secret(submitter)), &CLUSTER).unwrap()
}

fn add(nonce: u8) -> VerifiedOp {
    by(1, op(ADD, nonce, TIME + 60))
}

fn build(state: &Applied<Recorder>, ops: &[VerifiedOp], time: u64) -> Executed<Recorder> {
    state.build(ops, member(1), time).unwrap().unwrap()
}

fn never(_: OpId, _: &SignedOp) -> bool {
    false
}

/// A block as a liar makes it: any ops, any header.
fn forge(state: &Applied<Recorder>, ops: Vec<SignedOp>, alter: impl FnOnce(&mut BlockHeader)) -> Block {
    let without_quotas = Applied { recent: RecentOps::default(), ..state.clone() };
    let honest = state.build(&[add(200)], member(1), TIME).unwrap();
    let honest = honest.unwrap_or_else(|| build(&without_quotas, &[add(200)], TIME));
    let mut header = honest.block.header().clone();
    header.count = ops.len().try_into().unwrap();
    header.ops = OpsDigest::of(&ops);
    alter(&mut header);
    Block::new(header, ops).unwrap()
}

fn refused(state: &Applied<Recorder>, block: &Block) -> BlockError {
    state.validate(block, never).expect_err("the block is refused")
}

fn refused_op(state: &Applied<Recorder>, ops: Vec<VerifiedOp>) -> OpError {
    let last = ops.len() - 1;
    let block = forge(state, ops.iter().map(|op| op.signed().clone()).collect(), |_| ());
    // What a member refuses in a block, it does not put into one.
    let built = state.build(&ops, member(1), TIME).unwrap();
    assert_eq!(built.map_or(0, |built| built.block.ops().len()), last);
    match refused(state, &block) {
        BlockError::Op { index, error } if index == last => error,
        other => panic!("{other}"),
    }
}

fn assert_same(left: &Applied<Recorder>, right: &Applied<Recorder>) {
    assert_eq!(left.encode(), right.encode());
    assert_eq!((left.tree(), left.block(), left.height()), (right.tree(), right.block(), right.height()));
}

#[test]
fn all_members_get_the_state_and_the_results_of_the_proposer() {
    let (mut proposer, mut follower) = (genesis(), genesis());
    for height in 1..=40u8 {
        let ops: Vec<_> = (0..height % 3 + 1).map(|i| by(i + 1, op(ADD, height * 4 + i, TIME + 60))).collect();
        let built = build(&proposer, &ops, TIME + u64::from(height));
        let checked = follower.validate(&Block::decode(&built.block.encode()).unwrap(), never).unwrap();
        assert_eq!((&built.block, &built.results), (&checked.block, &checked.results));
        assert_eq!(built.results[0].effect.bytes()[..8], u64::from(height).to_le_bytes());
        assert_eq!(built.results[0].submitter, member(1));
        assert_same(&built.next, &checked.next);
        assert_eq!(built.next.head().unwrap().log_root, built.next.tree().root());
        (proposer, follower) = (built.next, checked.next);
        assert_eq!((follower.height(), follower.time()), (height.into(), TIME + u64::from(height)));
    }
}

#[test]
fn a_header_that_does_not_continue_the_log_is_refused() {
    let state = build(&genesis(), &[add(1)], TIME).next;
    let refused = |alter: fn(&mut BlockHeader)| refused(&state, &forge(&state, vec![add(200).signed().clone()], alter));
    assert!(matches!(refused(|header| header.cluster.0[0] ^= 1), BlockError::Cluster { .. }));
    assert_eq!(refused(|header| header.height = 3), BlockError::Height { expected: 2, got: 3 });
    assert_eq!(refused(|header| header.height = 1), BlockError::Height { expected: 2, got: 1 });
    assert_eq!(
        refused(|header| header.parent = BlockDigest::GENESIS),
        BlockError::Parent { expected: state.block(), got: BlockDigest::GENESIS }
    );
    assert_eq!(refused(|header| header.epoch = 1), BlockError::Epoch { expected: 0, got: 1 });
    assert_eq!(refused(|header| header.author = member(5)), BlockError::Author { got: member(5) });
    assert_eq!(refused(|header| header.time = TIME - 1), BlockError::Time { earliest: TIME, got: TIME - 1 });
    assert!(matches!(refused(|header| header.log_root.0[0] ^= 1), BlockError::LogRoot { .. }));
    assert!(matches!(refused(|header| header.results.0[0] ^= 1), BlockError::Results { .. }));
    assert!(matches!(refused(|header| header.state.0[0] ^= 1), BlockError::State { .. }));
    let honest = forge(&state, vec![add(200).signed().clone()], |_| ());
    assert!(state.validate(&honest, never).is_ok(), "without a change the block is valid");
    let error = BlockError::Height { expected: 2, got: 3 };
    assert_eq!(error.to_string(), "height of the block: expected 2, got 3");
}

#[test]
fn an_op_that_breaks_a_rule_is_refused_in_a_block_and_passed_over_in_ones_own() {
    let state = build(&genesis(), &[add(1)], TIME).next;
    let id = |op: &VerifiedOp| op.id();
    let stranger = by(5, op(ADD, 2, TIME + 60));
    assert_eq!(refused_op(&state, vec![stranger]), OpError::Stranger { submitter: member(5) });
    let expired = by(1, op(ADD, 2, TIME - 1));
    assert_eq!(refused_op(&state, vec![expired]), OpError::Expired { time: TIME, expires_at: TIME - 1 });
    let late = by(1, op(ADD, 2, TIME + 121));
    let expected = OpError::ExpiresTooLate { latest: TIME + 120, expires_at: TIME + 121 };
    assert_eq!(refused_op(&state, vec![add(3), late]), expected);
    let unknown = by(1, op(9, 2, TIME + 60));
    assert_eq!(refused_op(&state, vec![unknown]), OpError::UnknownKind { kind: 9 });
    assert_eq!(refused_op(&state, vec![add(1)]), OpError::AppliedBefore { op: id(&add(1)) });
    let again = by(2, op(ADD, 1, TIME + 60));
    assert_eq!(refused_op(&state, vec![again]), OpError::AppliedBefore { op: id(&add(1)) }, "by another member");
    let twice = vec![add(3), by(2, op(ADD, 3, TIME + 60))];
    assert_eq!(refused_op(&state, twice), OpError::AppliedBefore { op: id(&add(3)) }, "in one block");
    for expires_at in [TIME, TIME + 120] {
        let block = build(&state, &[by(1, op(ADD, 2, expires_at))], TIME).block;
        assert!(state.validate(&block, never).is_ok(), "{expires_at}");
    }
    let error = BlockError::Op { index: 4, error: OpError::UnknownKind { kind: 9 } };
    let sentence = "op 4 of the block: kind of the op: expected one that the state machine knows, got 9";
    assert_eq!(error.to_string(), sentence);
}

#[test]
fn a_signature_is_checked_unless_this_submission_was_verified_before() {
    let state = genesis();
    let forged = SignedOp { submitter: member(2), ..add(1).signed().clone() };
    let block = forge(&state, vec![forged], |_| ());
    let error = OpSignatureError { submitter: member(2) }.into();
    assert_eq!(refused(&state, &block), BlockError::Op { index: 0, error });
    let of_another_cluster = SignedOp::sign(op(ADD, 1, TIME + 60), &ClusterId([8; 32]), &secret(1));
    let block = forge(&state, vec![of_another_cluster], |_| ());
    assert!(matches!(refused(&state, &block), BlockError::Op { error: OpError::Signature(_), .. }));

    let block = build(&state, &[add(1)], TIME).block;
    let mut asked = Vec::new();
    let mut record = |id, signed: &SignedOp| {
        asked.push((id, signed.clone()));
        true
    };
    assert!(state.validate(&block, &mut record).is_ok());
    assert_eq!(asked, [(add(1).id(), add(1).signed().clone())]);
}

#[test]
fn an_op_is_applied_once_until_it_has_expired_and_never_after() {
    let first = by(1, op(ADD, 1, TIME + 1));
    let state = build(&genesis(), std::slice::from_ref(&first), TIME).next;
    let later = |time| state.build([&first], member(1), time).unwrap().is_some();
    assert!(!later(TIME) && !later(TIME + 1) && !later(TIME + 2));
    assert!(state.recent.contains(TIME + 1, first.id()));
    let state = build(&state, &[add(2)], TIME + 2).next;
    assert!(!state.recent.contains(TIME + 1, first.id()), "an expired op leaves the state");
}

#[test]
fn quotas_bound_the_unexpired_ops() {
    assert_eq!((live_ops_quota(1), live_ops_quota(16), live_ops_quota(1000)), (8192, 8192, 131));
    let fill = |state: &mut Applied<Recorder>, submitter: NodeKey, count: usize, expires_at: u64| {
        for i in 0..count {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(i as u64).to_be_bytes());
            id[8..].copy_from_slice(&submitter.0[8..]);
            state.recent.insert(expires_at, OpId(id), submitter);
        }
    };
    let mut full = genesis();
    fill(&mut full, member(1), LIVE_OPS_PER_MEMBER - 1, TIME);
    let expected = OpError::SubmitterQuota { submitter: member(1), limit: LIVE_OPS_PER_MEMBER };
    assert_eq!(refused_op(&full, vec![add(1), add(2)]), expected);
    let check = |state: &Applied<Recorder>, op: &VerifiedOp, time| {
        state.check_op(&op.signed().op, op.id(), &op.signed().submitter, time)
    };
    fill(&mut full, member(1), LIVE_OPS_PER_MEMBER, TIME);
    assert_eq!(check(&full, &add(1), TIME), Err(expected));
    assert_eq!(check(&full, &by(2, op(ADD, 1, TIME + 60)), TIME), Ok(()), "another member has its own quota");
    assert_eq!(check(&full, &add(1), TIME + 1), Ok(()), "expired ops do not count");

    let mut of_strangers = genesis();
    for former in 5..21 {
        fill(&mut of_strangers, member(former), LIVE_OPS_PER_MEMBER, TIME);
    }
    assert_eq!(refused_op(&of_strangers, vec![add(1)]), OpError::TotalQuota);
    assert_eq!(check(&of_strangers, &add(1), TIME + 1), Ok(()));
}

#[test]
fn a_block_takes_the_ops_in_order_until_it_is_full() {
    let large = |nonce| {
        let op = Op::new(ADD, [nonce; 16], TIME + 60, vec![nonce; 900]).unwrap();
        by(1, op)
    };
    let ops: Vec<_> = (0..80).map(large).collect();
    let built = build(&genesis(), &ops, TIME);
    // 65,276 bytes for ops, 1,025 bytes each.
    assert_eq!(built.block.ops().len(), 63);
    assert!(built.block.ops().iter().zip(&ops).all(|(taken, offered)| taken == offered.signed()));
    let rest = build(&built.next, &ops, TIME);
    assert_eq!(rest.block.ops().len(), 17, "those of the first block are passed over");
    let small = |i: u32| {
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&i.to_le_bytes());
        by(1, Op::new(ADD, nonce, TIME + 60, vec![1]).unwrap())
    };
    let small: Vec<_> = (0..600).map(small).collect();
    assert_eq!(build(&genesis(), &small, TIME).block.ops().len(), 512);
    assert!(genesis().build([], member(1), TIME).unwrap().is_none());
}

#[test]
fn a_block_is_never_older_than_the_one_before() {
    let state = build(&genesis(), &[add(1)], TIME).next;
    let built = build(&state, &[add(2)], TIME - 30);
    assert_eq!(built.block.header().time, TIME);
    assert!(state.validate(&built.block, never).is_ok());
}

#[test]
fn clock_and_proposer_are_checked_for_new_blocks_alone() {
    let block = build(&genesis(), &[add(1)], TIME).block;
    let header = block.header();
    for now in [TIME - 60, TIME, TIME + 60] {
        assert_eq!(check_new_block(header, &member(1), now), Ok(()));
    }
    for now in [TIME - 61, TIME + 61] {
        assert_eq!(check_new_block(header, &member(1), now), Err(BlockError::Clock { now, got: TIME }));
    }
    let expected = BlockError::Proposer { expected: member(2), got: member(1) };
    assert_eq!(check_new_block(header, &member(2), TIME), Err(expected));
}

#[test]
fn a_machine_may_name_the_members_of_the_next_height() {
    let state = genesis();
    assert_eq!(state.members(), founders());
    let shrink = by(1, Op::new(SHRINK, [9; 16], TIME + 60, vec![2]).unwrap());
    let built = build(&state, &[shrink], TIME);
    assert_eq!(built.block.header().epoch, 0, "the block itself is the old members'");
    let state = built.next;
    assert_eq!((state.members().epoch(), state.members().count()), (1, 2));
    let of_former = by(3, op(ADD, 1, TIME + 60));
    assert_eq!(refused_op(&state, vec![of_former]), OpError::Stranger { submitter: member(3) });
    let next = build(&state, &[add(1)], TIME).block;
    assert_eq!(next.header().epoch, 1);
    assert!(state.validate(&next, never).is_ok());
    let restored = Applied::<Recorder>::decode(&state.encode().unwrap(), CLUSTER, founders()).unwrap();
    assert_eq!(restored.members(), state.members());
}

#[test]
fn the_author_of_the_last_block_proposes_first() {
    let state = genesis();
    assert_eq!(state.first_proposer(), 0);
    let built = state.build(&[add(1)], member(3), TIME).unwrap().unwrap();
    assert_eq!(built.next.first_proposer(), founders().index_of(&member(3)).unwrap());
}

#[test]
fn a_machine_that_does_not_bound_itself_gets_no_block() {
    let grow = |size: usize| {
        let size = u32::try_from(size).unwrap().to_le_bytes();
        by(1, Op::new(GROW, [1; 16], TIME + 60, size.to_vec()).unwrap())
    };
    let largest = build(&genesis(), &[grow(MAX_MACHINE_SNAPSHOT)], TIME);
    assert!(Applied::<Recorder>::decode(&largest.next.encode().unwrap(), CLUSTER, founders()).is_ok());
    let larger = grow(MAX_MACHINE_SNAPSHOT + 1);
    let expected = BlockError::MachineSize { got: MAX_MACHINE_SNAPSHOT + 1 };
    assert_eq!(genesis().build([&larger], member(1), TIME).err(), Some(expected.clone()));
    let block = forge(&genesis(), vec![larger.signed().clone()], |header| {
        let mut execution = Execution::new(&genesis(), TIME);
        execution.apply(larger.signed(), larger.id());
        header.results = execution.results_root().unwrap();
    });
    assert_eq!(refused(&genesis(), &block), expected);
}
