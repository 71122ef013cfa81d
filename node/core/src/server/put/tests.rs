//! The server's decisions about one put, under a clock of the test's.

mod opening;

use vouch_core::bls::VoteSecretKey;
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;
use vouch_core::statement::Batch;
use vouch_core::tally::Tally;

use super::*;
use crate::fixture::TestCommittee;
use crate::server::grace_period::LEAST_GRACE;

const UNIX: u64 = 1_700_000_000;
const STREAM: Stream = Stream(7);

struct World {
    committee: Arc<Committee>,
    votes: Vec<VoteSecretKey>,
    put: ServerPut,
    now: Duration,
    /// Members that were late before.
    late: BTreeSet<u16>,
    out: Vec<PutOutput>,
}

fn receipt(length: u64) -> Receipt {
    Receipt { salt: [3; 16], digest: Digest::of(b"blob"), length, expires_at: NEVER }
}

impl World {
    fn new(n: u8, there: impl IntoIterator<Item = u16>, offer: Option<Receipt>) -> Self {
        let TestCommittee { committee, votes } = TestCommittee::new(n);
        let put = ServerPut::new(committee.clone(), STREAM, there, [], offer, Deadlines::default());
        Self { committee, votes, put, now: Duration::from_secs(100), late: BTreeSet::new(), out: Vec::new() }
    }

    /// One whose members all begin at the beginning.
    fn begun(n: u8, there: impl IntoIterator<Item = u16>, offer: Option<Receipt>) -> Self {
        let mut world = Self::new(n, there, offer);
        world.give(PutInput::Begun);
        let members: Vec<u16> = world.put.members().collect();
        world.say(members, 0);
        world
    }

    /// These members need the bytes from this offset on.
    fn say(&mut self, members: impl IntoIterator<Item = u16>, offset: u64) -> &[PutOutput] {
        for member in members {
            self.give(PutInput::Ready(member, offset));
        }
        &self.out
    }

    fn give(&mut self, input: PutInput) -> &[PutOutput] {
        self.out = self.put.handle(input, self.now, &self.late);
        &self.out
    }

    fn wait(&mut self, duration: Duration) -> &[PutOutput] {
        self.now += duration;
        self.give(PutInput::Tick)
    }

    fn end(&mut self) {
        self.give(PutInput::Chunk { offset: 0, length: 4 });
        self.give(PutInput::End(receipt(4)));
    }

    /// A certificate by these members, as the batcher would give it.
    fn certify(&mut self, signers: &[u16]) -> &[PutOutput] {
        let batch = Batch::new(UNIX, vec![receipt(4)]).unwrap();
        let mut tally = Tally::new(self.committee.record(), batch.body());
        for signer in signers {
            let vote = tally.statement().sign(&self.votes[usize::from(*signer)]);
            tally.add(&self.committee, *signer, vote).unwrap();
        }
        let certificate = tally.certificates(batch.claims()).unwrap().remove(0);
        self.give(PutInput::Certified(Box::new(certificate)))
    }
}

fn submitted(out: &[PutOutput]) -> Option<Vec<u16>> {
    out.iter().find_map(|output| match output {
        PutOutput::Submit { holders, .. } => Some(holders.iter().copied().collect()),
        _ => None,
    })
}

/// How far the members are by what the client is told.
fn told(out: &[PutOutput]) -> Vec<(u16, Stage)> {
    let progress = |output: &PutOutput| match output {
        PutOutput::Progress(member, stage) => Some((*member, *stage)),
        _ => None,
    };
    out.iter().filter_map(progress).collect()
}

fn is_late(out: &[PutOutput], member: u16) -> bool {
    out.iter().any(|output| matches!(output, PutOutput::Late(late) if *late == member))
}

fn is_in_time(out: &[PutOutput], member: u16) -> bool {
    out.iter().any(|output| matches!(output, PutOutput::InTime(late) if *late == member))
}

fn failure(out: &[PutOutput]) -> Option<&Failed> {
    out.iter().find_map(|output| match output {
        PutOutput::Fail(failed) => Some(failed),
        _ => None,
    })
}

#[test]
fn everybody_stores_and_nobody_is_waited_for() {
    let mut world = World::begun(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..3 {
        assert_eq!(submitted(world.give(PutInput::Stored(member))), None);
    }
    assert_eq!(submitted(world.give(PutInput::Stored(3))), Some(vec![0, 1, 2, 3]));
    let out = world.certify(&[0, 1, 2]);
    assert_eq!(told(out), [(0, Stage::Voted), (1, Stage::Voted), (2, Stage::Voted), (3, Stage::Dropped)]);
    assert!(matches!(out.last(), Some(PutOutput::Certified(certificate)) if certificate.signers.count() == 3));
    assert!(world.put.is_over());
}

#[test]
fn a_straggler_gets_its_grace_and_no_more() {
    let mut world = World::begun(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..3 {
        world.give(PutInput::Stored(member));
    }
    assert_eq!(submitted(world.wait(LEAST_GRACE - Duration::from_millis(1))), None);
    let out = world.wait(Duration::from_millis(1));
    assert_eq!(submitted(out), Some(vec![0, 1, 2]));
    assert!(is_late(out, 3));
    assert!(matches!(out.last(), Some(PutOutput::Submit { candidates, .. }) if candidates.contains(&3)), "{out:?}");
    // it may still sign, for the batcher hears of it; but it was late
    let out = world.give(PutInput::Stored(3));
    assert!(out.iter().any(|output| matches!(output, PutOutput::AlsoHeld(3))) && !is_in_time(out, 3), "{out:?}");
}

#[test]
fn who_was_late_is_not_waited_for_until_it_is_in_time_again() {
    let late = |member| {
        let mut world = World::begun(4, 0..4, Some(receipt(4)));
        world.late.insert(member);
        world.end();
        world
    };
    let mut world = late(3);
    world.give(PutInput::Stored(0));
    world.give(PutInput::Stored(1));
    let out = world.give(PutInput::Stored(2));
    assert_eq!(submitted(out), Some(vec![0, 1, 2]), "at once");
    assert!(!is_late(out, 3), "that is known");
    assert_eq!(world.put.overtaken_until(), Some(world.now + LEAST_GRACE));
    world.now += LEAST_GRACE - Duration::from_millis(1);
    assert!(is_in_time(world.give(PutInput::Stored(3)), 3));
    assert_eq!(world.put.overtaken_until(), None);

    // before a quorum is as good
    let mut world = late(3);
    assert!(is_in_time(world.give(PutInput::Stored(3)), 3));
    // before the bytes' end it cannot have stored
    let mut world = World::begun(4, 0..4, None);
    world.late.insert(3);
    assert!(!is_in_time(world.give(PutInput::Stored(3)), 3));
    // where it is needed for a quorum it is waited for, late or not
    let mut world = late(3);
    world.give(PutInput::Lost(0));
    world.give(PutInput::Stored(1));
    assert_eq!(submitted(world.give(PutInput::Stored(2))), None);
    assert_eq!(submitted(world.give(PutInput::Stored(3))), Some(vec![1, 2, 3]));
}

#[test]
fn a_whole_blob_is_answered_once() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    assert!(matches!(world.give(PutInput::Whole(receipt(4), 4)), [PutOutput::Forward]));
    world.give(PutInput::Failed(1, Failed::new(STREAM, Code::NoSpace, "full")));
    for member in [0, 2] {
        assert!(world.give(PutInput::Stored(member)).is_empty());
    }
    assert!(matches!(world.give(PutInput::Stored(3)), [PutOutput::Submit { .. }]));
    assert!(matches!(world.certify(&[0, 2, 3]), [PutOutput::Certified(_)]));
    // its length is looked at, the digest is the replicas' matter
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    assert_eq!(failure(world.give(PutInput::Whole(receipt(4), 5))).unwrap().code, Code::LengthDiffers);
}

#[test]
fn below_a_quorum_nothing_is_proposed_and_the_late_are_named() {
    let mut world = World::begun(4, 0..4, Some(receipt(4)));
    world.end();
    world.give(PutInput::Stored(0));
    world.give(PutInput::Stored(1));
    assert_eq!(submitted(world.wait(Deadlines::default().storing)), None);
    let failed = failure(world.wait(Duration::from_millis(1))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::TimedOut, &[2, 3][..]));
}

#[test]
fn f_may_go_and_one_more_is_named() {
    let mut world = World::begun(4, 0..4, Some(receipt(4)));
    assert!(failure(world.give(PutInput::Lost(2))).is_none());
    world.end();
    world.give(PutInput::Stored(0));
    let failed = failure(world.give(PutInput::Lost(1))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[1, 2][..]));
    assert!(failed.detail.contains("missing: replica-1, replica-2"), "{}", failed.detail);
}

#[test]
fn more_than_f_equal_refusals_are_the_reason() {
    let refusal = || Failed::new(STREAM, Code::DigestDiffers, "expected a, got b");
    let mut world = World::begun(4, 0..4, Some(receipt(4)));
    world.end();
    assert!(failure(world.give(PutInput::Failed(0, refusal()))).is_none(), "one may lie");
    let failed = failure(world.give(PutInput::Failed(1, refusal()))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::DigestDiffers, &[0, 1][..]));
}

#[test]
fn the_client_is_held_to_what_it_said() {
    let code = |offer, inputs: Vec<PutInput>| {
        let mut world = World::begun(1, 0..1, offer);
        let mut codes = inputs.into_iter().filter_map(|input| failure(world.give(input)).map(|failed| failed.code));
        codes.next()
    };
    let chunk = |offset, length| PutInput::Chunk { offset, length };
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 5)]), Some(Code::LengthDiffers));
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 3), PutInput::End(receipt(4))]), Some(Code::LengthDiffers));
    assert_eq!(code(None, vec![chunk(0, 3), PutInput::End(receipt(4))]), Some(Code::LengthDiffers));
    assert_eq!(code(None, vec![chunk(1, 3)]), Some(Code::Unexpected));
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 3), PutInput::End(receipt(3))]), Some(Code::Unexpected));
    assert_eq!(code(None, vec![PutInput::End(receipt(0)), PutInput::End(receipt(0))]), Some(Code::Unexpected));
    assert_eq!(code(None, vec![chunk(0, 4), PutInput::End(receipt(4))]), None);
}

#[test]
fn what_cannot_be_certified_fails() {
    let mut world = World::begun(1, 0..1, Some(receipt(4)));
    world.end();
    assert!(submitted(world.give(PutInput::Stored(0))).is_some());
    let failed = Failed::new(Stream(99), Code::Storage, "disk");
    let failed = failure(world.give(PutInput::Uncertified(failed))).unwrap().clone();
    assert_eq!((failed.code, failed.stream), (Code::Storage, STREAM));
    assert!(world.certify(&[0]).is_empty());
}
