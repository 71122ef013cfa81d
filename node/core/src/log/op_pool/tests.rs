use vouch_core::link::NodeSecretKey;
use vouch_core::log::Op;

use super::*;
use crate::log::members::LogMembers;
use crate::log::notes::Notes;

const CLUSTER: ClusterId = ClusterId([7; 32]);
const TIME: u64 = 1_790_000_000;
const START: Duration = Duration::from_secs(100);

fn secret(i: u16) -> NodeSecretKey {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&i.to_le_bytes());
    NodeSecretKey::from_bytes(&bytes)
}

fn member(i: u16) -> NodeKey {
    secret(i).node_key()
}

fn among(members: u16) -> Applied<Notes> {
    Applied::genesis(CLUSTER, LogMembers::new(0, (1..=members).map(member)).unwrap(), Notes::default())
}

fn sized(submitter: u16, number: u32, body: usize) -> SignedOp {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    SignedOp::sign(Op::new(Notes::NOTE, nonce, TIME + 60, vec![0; body]).unwrap(), &CLUSTER, &secret(submitter))
}

fn op(submitter: u16, number: u32) -> SignedOp {
    sized(submitter, number, 0)
}

/// The pool of member 1 of 4.
struct World {
    pool: OpPool,
    state: Applied<Notes>,
}

impl World {
    fn new() -> Self {
        Self { pool: OpPool::new(CLUSTER, member(1)), state: among(4) }
    }

    fn add(&mut self, op: &SignedOp) -> Result<Pooled, OpPoolError> {
        self.pool.add(op.clone(), &self.state, START, TIME)
    }

    fn added(&mut self, op: &SignedOp) {
        assert_eq!(self.add(op), Ok(Pooled::New));
    }

    fn candidates(&self) -> Vec<SignedOp> {
        self.pool.candidates().map(|op| op.signed().clone()).collect()
    }

    fn decide(&mut self) -> usize {
        let built = self.state.build(self.pool.candidates(), member(1), TIME).unwrap().unwrap();
        self.pool.decided(&built.results);
        self.state = built.next;
        built.results.len()
    }

    fn assert_empty(&self) {
        let OpPool { queues, places, by_expiry, .. } = &self.pool;
        assert!(queues.is_empty() && places.is_empty() && by_expiry.is_empty());
        assert_eq!((self.pool.count(), self.pool.bytes(), self.pool.next_due()), (0, 0, None));
    }
}

#[test]
fn what_waits_longest_is_first_and_each_submitter_has_its_turn() {
    let mut world = World::new();
    for number in 0..100 {
        world.added(&op(2, number));
    }
    world.added(&op(3, 100));
    world.added(&op(4, 101));
    world.added(&op(3, 102));
    let order = world.candidates();
    let expected = [op(2, 0), op(3, 100), op(4, 101), op(2, 1), op(3, 102), op(2, 2)];
    assert_eq!(order[..6], expected);
    assert_eq!(order.len(), 103);
    assert_eq!(order[6..], (3..100).map(|number| op(2, number)).collect::<Vec<_>>());
}

#[test]
fn an_op_waits_until_it_is_decided_and_is_not_accepted_again() {
    let mut world = World::new();
    world.added(&op(2, 1));
    assert_eq!(world.add(&op(2, 1)), Ok(Pooled::Known));
    world.added(&op(3, 1));
    assert_eq!(world.pool.count(), 2, "the same op, submitted by two members");
    assert!(world.pool.is_ready(&world.state, TIME));
    assert_eq!(world.decide(), 1, "a block has it once");
    world.assert_empty();
    assert!(!world.pool.is_ready(&world.state, TIME));
    let id = op(2, 1).op.id(&CLUSTER);
    assert_eq!(world.add(&op(3, 1)), Err(OpError::AppliedBefore { op: id }.into()));
}

#[test]
fn a_copy_by_another_member_does_not_delay_an_op() {
    let mut world = World::new();
    for number in 0..100 {
        world.added(&op(2, number));
    }
    // Member 2 re-signs an op of member 3, and its copy arrives first, at the end of its own long queue.
    world.added(&op(2, 200));
    world.added(&op(3, 200));
    assert_eq!(world.candidates()[1], op(3, 200));
    assert_eq!(world.decide(), 101);
    world.assert_empty();
}

#[test]
fn ops_that_no_block_may_contain_do_not_wait() {
    let mut world = World::new();
    let stranger = op(9, 1);
    assert_eq!(world.add(&stranger), Err(OpError::Stranger { submitter: member(9) }.into()));
    let forged = SignedOp { submitter: member(3), ..op(2, 1) };
    assert_eq!(world.add(&forged), Err(OpSignatureError { submitter: member(3) }.into()));
    let unknown = SignedOp::sign(Op::new(1, [0; 16], TIME + 60, Vec::new()).unwrap(), &CLUSTER, &secret(2));
    assert_eq!(world.add(&unknown), Err(OpError::UnknownKind { kind: 1 }.into()));
    let expired = world.pool.add(op(2, 1), &world.state, START, TIME + 61);
    assert_eq!(expired, Err(OpError::Expired { time: TIME + 61, expires_at: TIME + 60 }.into()));
    let early = world.pool.add(op(2, 1), &world.state, START, TIME - 61);
    assert_eq!(early, Err(OpError::ExpiresTooLate { latest: TIME + 59, expires_at: TIME + 60 }.into()));
    world.assert_empty();
}

#[test]
fn a_flood_by_one_member_keeps_nobody_out() {
    let mut world = World::new();
    let (ops, bytes) = pool_share(4);
    assert_eq!((ops, bytes), (4096, 2 << 20));
    // 4,221 bytes each.
    let large = (0..).take_while(|number| world.add(&sized(2, *number, 4096)).is_ok()).count();
    assert_eq!(large, bytes / 4221);
    let got = (large + 1) * 4221;
    let refused = OpPoolError::SubmitterBytes { submitter: member(2), limit: bytes, got };
    assert_eq!(world.add(&sized(2, 10_000, 4096)), Err(refused.clone()));
    assert_eq!(refused.to_string(), format!("waiting ops of {}: expected at most 2097152 bytes, got {got}", member(2)));
    for number in 0..4096 {
        world.added(&op(3, 20_000 + number));
    }
    let refused = OpPoolError::SubmitterOps { submitter: member(3), limit: 4096 };
    assert_eq!(world.add(&op(3, 30_000)), Err(refused));
    world.added(&op(4, 40_000));
    assert!(world.candidates()[..3].contains(&op(4, 40_000)), "the next block has it");
    // The cheap checks come first: a flood costs no signature checks.
    let forged = SignedOp { submitter: member(3), ..op(2, 50_000) };
    assert!(matches!(world.add(&forged), Err(OpPoolError::SubmitterOps { .. })));
    let largest = SignedOp::FIXED_SIZE + 4096;
    let (ops, bytes) = pool_share(1000);
    assert!(ops >= 1 && bytes >= largest, "the share of one among the most members");
}

#[test]
fn the_pool_is_bounded_in_total_when_shares_shrink() {
    let mut world = World::new();
    world.state = among(1);
    for number in 0..1987 {
        world.added(&sized(1, number, 4096));
    }
    assert_eq!(world.pool.bytes(), 1987 * 4221);
    world.state = among(4);
    let refused = OpPoolError::Bytes { got: 1988 * 4221 };
    assert_eq!(world.add(&sized(2, 1, 4096)), Err(refused));
    world.added(&op(2, 1));

    let mut world = World::new();
    world.state = among(1);
    // Not through `add`: the log's quota for one member is smaller.
    for number in 0..u64::try_from(POOL_OPS).unwrap() {
        let op = VerifiedOp::verify(op(1, 0), &CLUSTER).unwrap();
        world.pool.queues.entry(member(1)).or_default().ops.insert(number, op);
        world.pool.ops += 1;
    }
    world.state = among(4);
    assert_eq!(world.add(&op(2, 1)), Err(OpPoolError::Ops));
}

#[test]
fn expired_ops_leave() {
    let mut world = World::new();
    world.added(&op(1, 1));
    world.added(&op(2, 1));
    world.added(&op(2, 2));
    world.pool.expire(TIME + 60);
    assert_eq!(world.pool.count(), 3, "a block of this time may contain them");
    world.pool.expire(TIME + 61);
    world.assert_empty();
}

#[test]
fn after_a_jump_of_the_state_only_possible_ops_wait() {
    let mut world = World::new();
    for (submitter, number) in [(1, 1), (2, 2), (3, 3), (4, 4)] {
        world.added(&op(submitter, number));
    }
    // Elsewhere ops 1 and 2 were decided, and member 4 left.
    let of = |submitter, number| VerifiedOp::verify(op(submitter, number), &CLUSTER).unwrap();
    world.state = among(3).build(&[of(1, 1), of(3, 2)], member(3), TIME).unwrap().unwrap().next;
    world.pool.settle(&world.state);
    assert_eq!(world.candidates(), [op(3, 3)]);
    assert_eq!(world.decide(), 1);
    world.assert_empty();
}

#[test]
fn only_a_submission_that_waits_counts_as_verified() {
    let mut world = World::new();
    world.added(&op(2, 1));
    let id = |op: &SignedOp| op.op.id(&CLUSTER);
    let known = op(2, 1);
    assert!(world.pool.has_verified(id(&known), &known));
    let other_submitter = op(3, 1);
    assert!(!world.pool.has_verified(id(&other_submitter), &other_submitter));
    let mut other_signature = known.clone();
    other_signature.signature.0[0] ^= 1;
    assert!(!world.pool.has_verified(id(&known), &other_signature));
    let unknown = op(2, 2);
    assert!(!world.pool.has_verified(id(&unknown), &unknown));
}

#[test]
fn own_ops_are_sent_at_once_and_each_second_until_they_are_decided() {
    let mut world = World::new();
    world.added(&op(2, 1));
    assert_eq!((world.pool.next_due(), world.pool.due(START)), (None, vec![]), "another member sends its own");
    world.added(&op(1, 2));
    assert_eq!(world.pool.next_due(), Some(START));
    assert_eq!(world.pool.due(START), [op(1, 2)]);
    assert_eq!(world.pool.due(START), []);
    let mut now = START;
    for _ in 0..3 {
        now += GOSSIP_EVERY;
        assert_eq!(world.pool.next_due(), Some(now));
        assert_eq!(world.pool.due(now - Duration::from_millis(1)), []);
        assert_eq!(world.pool.due(now), [op(1, 2)]);
    }
    world.decide();
    assert_eq!(world.pool.due(now + GOSSIP_EVERY), []);
    world.assert_empty();
    assert!(world.pool.to_send.is_empty());
}

#[test]
fn a_long_queue_is_sent_in_parts() {
    let mut world = World::new();
    for number in 0..40 {
        world.added(&sized(1, number, 4096));
    }
    let mut now = START;
    // 15 ops of 4,221 bytes are less than 64 KiB.
    for expected in [15, 15, 10] {
        assert_eq!(world.pool.next_due(), Some(now));
        assert_eq!(world.pool.due(now).len(), expected);
        assert_eq!(world.pool.due(now).len(), 0);
        now += GOSSIP_PAUSE;
    }
    assert_eq!(world.pool.next_due(), Some(START + GOSSIP_EVERY));
}

#[test]
fn honest_gossip_stays_below_what_others_take_of_one_member() {
    let mut world = World::new();
    for number in 0..1000 {
        world.added(&op(1, number));
    }
    let (mut now, mut sent) = (START, 0);
    while now < START + GOSSIP_EVERY {
        let part = world.pool.due(now).len();
        assert!(part <= GOSSIP_OPS);
        sent += part;
        now += GOSSIP_PAUSE;
    }
    assert_eq!(sent, 1000);
    let parts = GOSSIP_EVERY.as_millis() / GOSSIP_PAUSE.as_millis();
    let most = parts * GOSSIP_OPS as u128;
    assert!(most < u128::from(crate::peers::FRAMES_PER_SECOND) * 2 / 3, "there is room for votes: {most}");
}
