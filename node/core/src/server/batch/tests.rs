//! Batches under the test's clock: waits, refusals and lies.

use vouch_core::bls::VoteSecretKey;
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;
use vouch_core::statement::{Batch, Statement};

use super::*;
use crate::fixture::TestCommittee;
use crate::server::grace_period::LEAST_GRACE;

const UNIX: u64 = 1_700_000_000;
const VOTING: Duration = Duration::from_secs(20);

/// A batch that was proposed, as its members see it.
#[derive(Debug, Clone)]
struct Asked {
    batch: Stream,
    members: Vec<u16>,
    receipts: Vec<Receipt>,
}

struct BatchWorld {
    committee: Arc<Committee>,
    votes: Vec<VoteSecretKey>,
    batches: Batches,
    now: Duration,
    storing: usize,
    /// Whether trees stay unfinished until [`BatchWorld::build`].
    builds_late: bool,
    unbuilt: Vec<(Stream, u64, Vec<Receipt>)>,
    asked: Vec<Asked>,
    certified: BTreeMap<Stream, Certificate>,
    failed: BTreeMap<Stream, Failed>,
    /// The members whose votes were verified together, for each verification.
    verified: Vec<Vec<u16>>,
    /// Members whose votes were late before, as the server's record of health has them.
    late: BTreeSet<u16>,
    /// The member of each false vote.
    false_votes: Vec<u16>,
}

fn receipt(number: u32) -> Receipt {
    Receipt { salt: [3; 16], digest: Digest::of(&number.to_le_bytes()), length: 4, expires_at: NEVER }
}

impl BatchWorld {
    fn new(n: u8) -> Self {
        let TestCommittee { committee, votes } = TestCommittee::new(n);
        let batches = Batches::new(committee.clone(), BatchPolicy::default(), VOTING, StreamNumbers::from(1001));
        let (certified, failed) = (BTreeMap::new(), BTreeMap::new());
        let now = Duration::from_secs(100);
        let (asked, verified, false_votes) = (Vec::new(), Vec::new(), Vec::new());
        let (late, unbuilt) = (BTreeSet::new(), Vec::new());
        Self {
            committee,
            votes,
            batches,
            now,
            storing: 0,
            builds_late: false,
            unbuilt,
            asked,
            certified,
            failed,
            verified,
            late,
            false_votes,
        }
    }

    fn context(&self) -> BatchContext {
        let verified_apart = self.false_votes.iter().copied().collect();
        BatchContext {
            now: self.now,
            unix_now: UNIX,
            storing: self.storing,
            not_awaited: self.late.clone(),
            verified_apart,
        }
    }

    fn give(&mut self, input: BatchInput) {
        let outputs = self.batches.handle(input, &self.context());
        self.perform(outputs);
        let outputs = self.batches.verify(&self.context());
        self.perform(outputs);
    }

    /// What the shell does when there is nothing more to hear.
    fn go_on(&mut self) {
        self.give(BatchInput::Tick);
        let outputs = self.batches.propose(&self.context());
        self.perform(outputs);
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.go_on();
    }

    fn perform(&mut self, outputs: Vec<BatchOutput>) {
        for output in outputs {
            match output {
                BatchOutput::Request(BatchRequest::Build { batch, issued_at, receipts }) => {
                    self.unbuilt.push((batch, issued_at, receipts));
                    if !self.builds_late {
                        self.build();
                    }
                }
                BatchOutput::Request(BatchRequest::Propose { members, proposal }) => {
                    let Message::Propose { stream, receipts, issued_at: UNIX } = &*proposal else {
                        panic!("{proposal:?}")
                    };
                    self.asked.push(Asked { batch: *stream, members, receipts: receipts.clone() });
                }
                BatchOutput::Request(BatchRequest::Verify { batch, ballot, votes }) => {
                    self.verified.push(votes.iter().map(|(member, _)| *member).collect());
                    let verified = ballot.verify_all(&self.committee, &votes);
                    let votes = votes.iter().map(|(member, _)| *member).zip(verified).collect();
                    self.give(BatchInput::Verified { batch, votes });
                }
                BatchOutput::Request(BatchRequest::Certify { receipts, tally, puts, .. }) => {
                    let certificates = tally.certificates(receipts.claims()).unwrap();
                    assert_eq!(certificates.len(), puts.len());
                    self.certified.extend(puts.into_iter().zip(certificates));
                }
                BatchOutput::Observed { member, observed: Observed::VotedTooLate, .. } => {
                    self.late.insert(member);
                }
                BatchOutput::Observed { member, observed, .. } => {
                    assert_eq!(observed, Observed::VotedInTime);
                    self.late.remove(&member);
                }
                BatchOutput::VotedFalsely { member, .. } => self.false_votes.push(member),
                BatchOutput::Request(BatchRequest::Fail(put, failed)) => {
                    assert!(self.failed.insert(put, failed).is_none(), "told once");
                }
            }
        }
    }

    /// What the shell does with the requested trees.
    fn build(&mut self) {
        for (batch, issued_at, receipts) in std::mem::take(&mut self.unbuilt) {
            let receipts = Batch::new(issued_at, receipts).map(Box::new);
            self.give(BatchInput::Built { batch, receipts });
        }
    }

    /// Puts number `number` as stored by these members.
    fn submit(&mut self, number: u32, holders: impl IntoIterator<Item = u16>) {
        let holders: BTreeSet<u16> = holders.into_iter().collect();
        let candidates = (0..self.committee.record().n()).filter(|member| !holders.contains(member)).collect();
        self.give(BatchInput::Submit { put: Stream(number), receipt: receipt(number), holders, candidates });
    }

    fn signature(&self, asked: &Asked, signer: u16) -> VoteSignature {
        let batch = Batch::new(UNIX, asked.receipts.clone()).unwrap();
        Statement::new(self.committee.record(), batch.body()).sign(&self.votes[usize::from(signer)])
    }

    fn vote(&mut self, asked: &Asked, member: u16) {
        let signature = self.signature(asked, member);
        self.give(BatchInput::Vote { batch: asked.batch, member, signature });
    }

    fn refuse(&mut self, asked: &Asked, member: u16, code: Code, subjects: &[u16]) {
        let failed = Failed::new(asked.batch, code, "no").with_subjects(subjects.to_vec());
        self.give(BatchInput::Refused { batch: asked.batch, member, failed });
    }

    /// The batches proposed since the last call.
    fn proposed(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    fn one_proposed(&mut self) -> Asked {
        let mut asked = self.proposed();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    fn signers(&self, put: u32) -> Vec<u16> {
        self.certified[&Stream(put)].signers.iter().collect()
    }
}

fn numbers(asked: &Asked) -> Vec<u32> {
    let number = |receipt_of: &Receipt| (0..100).find(|number| receipt(*number) == *receipt_of).unwrap();
    asked.receipts.iter().map(number).collect()
}

#[test]
fn a_lone_receipt_is_proposed_at_once() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.go_on();
    let asked = world.one_proposed();
    assert_eq!((asked.members.as_slice(), numbers(&asked)), (&[0, 1, 2, 3][..], vec![1]));
    for member in 0..4 {
        assert!(world.certified.is_empty());
        world.vote(&asked, member);
    }
    assert_eq!(world.signers(1), [0, 1, 2, 3]);
    assert_eq!(world.batches.next_tick(&world.context()), None, "nothing is left to do");
}

#[test]
fn a_receipt_lingers_while_other_puts_are_stored() {
    let mut world = BatchWorld::new(4);
    world.storing = 1;
    world.submit(1, 0..4);
    world.go_on();
    assert!(world.proposed().is_empty());
    assert_eq!(world.batches.next_tick(&world.context()), Some(world.now + BatchPolicy::default().linger));
    world.now += Duration::from_millis(1);
    world.storing = 0;
    world.submit(2, 0..4);
    world.go_on();
    assert_eq!(numbers(&world.one_proposed()), [1, 2]);
    // and no longer
    let mut world = BatchWorld::new(4);
    world.storing = 1;
    world.submit(1, 0..4);
    world.wait(BatchPolicy::default().linger);
    assert_eq!(numbers(&world.one_proposed()), [1]);
}

#[test]
fn the_next_batch_gathers_while_one_is_signed() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.go_on();
    let first = world.one_proposed();
    for number in 2..=5 {
        world.submit(number, 0..4);
        world.go_on();
    }
    assert!(world.proposed().is_empty());
    (0..4).for_each(|member| world.vote(&first, member));
    world.go_on();
    let second = world.one_proposed();
    assert_eq!(numbers(&second), [2, 3, 4, 5]);
    // one that takes long does not block the others, and there are so many at once
    for round in 0..5 {
        world.submit(10 + round, 0..4);
        world.wait(BatchPolicy::default().wait - Duration::from_millis(1));
        assert!(world.proposed().is_empty());
        world.wait(Duration::from_millis(1));
        assert_eq!(world.proposed().len(), usize::from(round < 3), "{round}");
    }
    // the waiting ones go together when there is room
    (0..4).for_each(|member| world.vote(&second, member));
    world.go_on();
    assert_eq!(numbers(&world.one_proposed()), [13, 14]);
    assert_eq!(world.certified.len(), 5);
}

#[test]
fn the_size_of_a_batch_is_bounded() {
    let mut world = BatchWorld::new(1);
    world.storing = 1;
    for number in 0..5000 {
        world.submit(number, [0]);
    }
    world.go_on();
    assert_eq!(world.one_proposed().receipts.len(), 4096, "a full one waits for nothing");
}

/// Numbers of puts that make a batch too large to be built inline.
const LARGE: std::ops::RangeInclusive<u32> = 0..=64;

#[test]
fn only_the_tree_of_a_large_batch_is_a_request() {
    for (count, is_requested) in [(1, false), (BUILT_INLINE, false), (LARGE.count(), true)] {
        let mut world = BatchWorld::new(1);
        (world.builds_late, world.storing) = (true, 1);
        (0..).take(count).for_each(|number| world.submit(number, [0]));
        world.wait(BatchPolicy::default().linger);
        assert_eq!((world.asked.is_empty(), world.unbuilt.len()), (is_requested, usize::from(is_requested)), "{count}");
        world.build();
        assert_eq!(world.one_proposed().receipts.len(), count);
    }
}

#[test]
fn a_batch_that_is_being_built_counts_as_being_signed() {
    let mut world = BatchWorld::new(4);
    (world.builds_late, world.storing) = (true, 1);
    LARGE.for_each(|number| world.submit(number, 0..4));
    world.wait(BatchPolicy::default().linger);
    assert_eq!(world.batches.next_tick(&world.context()), None, "the completion is the next event");
    // the next receipts gather meanwhile, and overtake the batch if its tree takes longer than they may wait
    world.storing = 0;
    (90..93).for_each(|number| world.submit(number, 0..4));
    world.go_on();
    assert!(world.asked.is_empty());
    world.wait(BatchPolicy::default().wait);
    assert_eq!(numbers(&world.one_proposed()), [90, 91, 92]);
    world.build();
    let large = world.one_proposed();
    assert_eq!(numbers(&large), LARGE.collect::<Vec<_>>(), "in the order of their submission");
    // at the limit of batches, none begins
    let at_once = BatchPolicy::default().at_once;
    let mut world = BatchWorld::new(4);
    world.builds_late = true;
    for number in (0..).take(at_once + 1) {
        LARGE.for_each(|receipt| world.submit(100 * number + receipt, 0..4));
        world.wait(BatchPolicy::default().wait);
    }
    assert_eq!(world.unbuilt.len(), at_once);
}

#[test]
fn members_that_store_while_a_batch_is_built_are_asked_too() {
    let mut world = BatchWorld::new(4);
    (world.builds_late, world.storing) = (true, 1);
    for number in LARGE {
        world.submit(number, if number == 3 { 0..3 } else { 0..4 });
    }
    world.wait(BatchPolicy::default().linger);
    world.give(BatchInput::AlsoHeld { put: Stream(3), member: 3 });
    world.give(BatchInput::Lost(1));
    world.build();
    let asked = world.one_proposed();
    assert_eq!(asked.members, [0, 1, 2, 3], "the shell reports the lost one again when it cannot send");
    world.give(BatchInput::Lost(1));
    [0, 2, 3].into_iter().for_each(|member| world.vote(&asked, member));
    assert_eq!(world.certified.len(), LARGE.count());
    assert_eq!(world.signers(3), [0, 2, 3]);
}

#[test]
fn the_puts_of_a_batch_that_cannot_be_built_fail() {
    let mut world = BatchWorld::new(1);
    (world.builds_late, world.storing) = (true, 1);
    LARGE.for_each(|number| world.submit(number, [0]));
    world.wait(BatchPolicy::default().linger);
    let (batch, ..) = world.unbuilt.remove(0);
    world.give(BatchInput::Built { batch, receipts: None });
    assert_eq!(world.failed.len(), LARGE.count());
    assert_eq!(world.failed[&Stream(0)].code, Code::Storage);
    world.give(BatchInput::Built { batch, receipts: None });
    assert!(world.asked.is_empty() && world.batches.next_tick(&world.context()).is_none());
}

#[test]
fn a_batch_is_proposed_only_to_members_that_hold_all_of_it() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.submit(2, [0, 1, 2]);
    world.submit(3, [1, 2, 3]);
    world.submit(4, [0, 1, 2, 3]);
    world.go_on();
    assert_eq!((world.asked[0].members.as_slice(), numbers(&world.asked[0])), (&[0, 1, 2][..], vec![1, 2, 4]));
    let first = world.one_proposed();
    world.wait(BatchPolicy::default().wait);
    let second = world.one_proposed();
    assert_eq!((second.members.as_slice(), numbers(&second)), (&[1, 2, 3][..], vec![3]));
    // a member that stores the rest is asked as well
    world.give(BatchInput::AlsoHeld { put: Stream(2), member: 3 });
    let late = world.one_proposed();
    assert_eq!((late.batch, late.members.as_slice()), (first.batch, &[3][..]));
    for member in [0, 1, 3] {
        world.vote(&first, member);
    }
    world.wait(LEAST_GRACE);
    assert_eq!(world.signers(2), [0, 1, 3]);
}

#[test]
fn a_lying_member_is_left_out_and_fails_no_put() {
    let mut world = BatchWorld::new(4);
    for number in 0..3 {
        world.submit(number, 0..4);
    }
    world.go_on();
    let asked = world.one_proposed();
    // by another key; over another batch; by a member that was not asked
    let signature = world.signature(&asked, 2);
    world.give(BatchInput::Vote { batch: asked.batch, member: 1, signature });
    world.vote(&asked, 1);
    for member in [0, 2] {
        world.vote(&asked, member);
        world.vote(&asked, member);
    }
    assert!(world.certified.is_empty(), "a vote counts once");
    world.vote(&asked, 3);
    assert_eq!(world.signers(0), [0, 2, 3]);
    assert_eq!(world.certified.len(), 3);
    assert_eq!(world.false_votes, [1]);
}

#[test]
fn a_member_that_refuses_a_receipt_is_left_out() {
    for (code, subjects) in
        [(Code::NotHeld, &[1][..]), (Code::NotHeld, &[]), (Code::NotHeld, &[999]), (Code::Clock, &[])]
    {
        let mut world = BatchWorld::new(4);
        (0..3).for_each(|number| world.submit(number, 0..4));
        world.go_on();
        let asked = world.one_proposed();
        world.refuse(&asked, 2, code, subjects);
        for member in [0, 1, 3] {
            world.vote(&asked, member);
        }
        assert_eq!(world.certified.len(), 3, "{code}: at once");
        assert_eq!(world.signers(1), [0, 1, 3]);
    }
}

#[test]
fn a_bad_receipt_fails_alone() {
    let mut world = BatchWorld::new(4);
    (0..4).for_each(|number| world.submit(number, 0..4));
    world.go_on();
    let asked = world.one_proposed();
    // every honest member refuses it; one also refuses a good receipt, which is a lie
    world.refuse(&asked, 3, Code::Expired, &[2, 0]);
    world.refuse(&asked, 1, Code::Expired, &[2]);
    world.go_on();
    let failed = &world.failed[&Stream(2)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::Expired, &[1, 3][..]));
    let again = world.one_proposed();
    assert_eq!((again.members.as_slice(), numbers(&again)), (&[0, 1, 2][..], vec![0, 1, 3]));
    for member in 0..3 {
        world.vote(&again, member);
    }
    assert_eq!(world.certified.keys().copied().collect::<Vec<_>>(), [Stream(0), Stream(1), Stream(3)]);
}

#[test]
fn refusals_of_different_receipts_split_a_batch() {
    let mut world = BatchWorld::new(4);
    (0..3).for_each(|number| world.submit(number, 0..4));
    world.go_on();
    let asked = world.one_proposed();
    world.refuse(&asked, 0, Code::NotHeld, &[0]);
    world.refuse(&asked, 1, Code::NotHeld, &[2]);
    world.go_on();
    world.wait(BatchPolicy::default().wait);
    let split = world.proposed();
    let got: Vec<_> = split.iter().map(|asked| (asked.members.clone(), numbers(asked))).collect();
    assert_eq!(got, [(vec![1, 2, 3], vec![0, 1]), (vec![0, 2, 3], vec![2])]);
    for asked in &split {
        asked.members.clone().into_iter().for_each(|member| world.vote(asked, member));
    }
    assert_eq!(world.certified.len(), 3);
    assert!(world.failed.is_empty());
}

#[test]
fn votes_are_verified_together_and_those_of_liars_apart() {
    let mut world = BatchWorld::new(4);
    let propose = |world: &mut BatchWorld, number| {
        world.submit(number, 0..4);
        world.go_on();
        world.one_proposed()
    };
    let first = propose(&mut world, 1);
    (0..4).for_each(|member| world.vote(&first, member));
    assert_eq!(std::mem::take(&mut world.verified), [vec![0, 1, 2], vec![3]], "from a quorum on");

    let second = propose(&mut world, 2);
    world.vote(&second, 0);
    let signature = world.signature(&second, 2);
    world.give(BatchInput::Vote { batch: second.batch, member: 1, signature });
    assert!(world.verified.is_empty());
    [3, 2].into_iter().for_each(|member| world.vote(&second, member));
    assert_eq!(std::mem::take(&mut world.verified), [vec![0, 1, 3], vec![2]]);
    assert_eq!(world.signers(2), [0, 2, 3]);

    let third = propose(&mut world, 3);
    world.refuse(&third, 0, Code::Clock, &[]);
    [1, 2].into_iter().for_each(|member| world.vote(&third, member));
    assert!(world.verified.is_empty());
    world.vote(&third, 3);
    assert_eq!(world.verified, [vec![1], vec![2, 3]], "a liar's vote fails alone");
    assert_eq!(world.signers(3), [1, 2, 3]);
}

#[test]
fn a_liar_and_a_slow_member_fail_no_put() {
    let below_quorum = || {
        let mut world = BatchWorld::new(4);
        world.submit(1, [0, 1, 2]);
        world.go_on();
        let asked = world.one_proposed();
        world.vote(&asked, 1);
        world.refuse(&asked, 0, Code::NotHeld, &[]);
        world.go_on();
        assert!(world.failed.is_empty() && world.proposed().is_empty(), "the last one may store it yet");
        world
    };
    let mut world = below_quorum();
    world.give(BatchInput::AlsoHeld { put: Stream(1), member: 3 });
    world.go_on();
    let again = world.one_proposed();
    assert_eq!(again.members, [1, 2, 3]);
    again.members.iter().for_each(|member| world.vote(&again, *member));
    assert_eq!(world.signers(1), [1, 2, 3]);

    let ends: [fn(&mut BatchWorld); 3] = [
        |world| world.give(BatchInput::NeverHeld { put: Stream(1), member: 3 }),
        |world| world.give(BatchInput::Lost(3)),
        |world| world.wait(VOTING + Duration::from_millis(1)),
    ];
    for end in ends {
        let mut world = below_quorum();
        end(&mut world);
        assert_eq!(world.failed[&Stream(1)].code, Code::NotEnoughReplicas);
        assert_eq!(world.batches.next_tick(&world.context()), None);
    }
}

#[test]
fn without_a_quorum_every_put_names_the_missing_members() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.submit(2, 0..4);
    world.go_on();
    let asked = world.one_proposed();
    world.give(BatchInput::Lost(0));
    assert!(world.failed.is_empty());
    world.give(BatchInput::Lost(3));
    world.go_on();
    assert_eq!(world.failed.len(), 2);
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[0, 3][..]));
    // votes that come now are for nobody
    world.vote(&asked, 1);
    assert!(world.certified.is_empty());
}

#[test]
fn a_silent_member_delays_only_one_batch() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.go_on();
    let first = world.one_proposed();
    (0..3).for_each(|member| world.vote(&first, member));
    world.wait(LEAST_GRACE - Duration::from_millis(1));
    assert!(world.certified.is_empty());
    world.wait(Duration::from_millis(1));
    assert_eq!(world.signers(1), [0, 1, 2]);
    // the next batch does not wait for it
    world.submit(2, 0..4);
    world.go_on();
    let second = world.one_proposed();
    (0..3).for_each(|member| world.vote(&second, member));
    assert_eq!(world.signers(2), [0, 1, 2]);
    // an answer to the first is long late, one to the second is in time
    world.vote(&first, 3);
    assert!(world.late.contains(&3));
    world.vote(&second, 3);
    assert!(!world.late.contains(&3));
    world.submit(3, 0..4);
    world.go_on();
    let third = world.one_proposed();
    (0..3).for_each(|member| world.vote(&third, member));
    assert!(!world.certified.contains_key(&Stream(3)), "it is waited for again");
    world.vote(&third, 3);
    assert_eq!(world.signers(3), [0, 1, 2, 3]);
}

#[test]
fn too_few_votes_fail_at_the_deadline_and_name_silent_members() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.go_on();
    let asked = world.one_proposed();
    world.vote(&asked, 1);
    world.vote(&asked, 2);
    world.wait(VOTING);
    assert!(world.failed.is_empty());
    world.wait(Duration::from_millis(1));
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::TimedOut, &[0, 3][..]));
}

#[test]
fn a_withdrawn_put_does_not_affect_others() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.submit(2, 0..4);
    world.give(BatchInput::Withdraw(Stream(1)));
    world.go_on();
    let asked = world.one_proposed();
    assert_eq!(numbers(&asked), [2]);
    world.give(BatchInput::Withdraw(Stream(2)));
    (0..4).for_each(|member| world.vote(&asked, member));
    assert_eq!(world.certified.len(), 1, "a batch that is being signed is certified anyway");
}

#[test]
fn a_verified_vote_counts_after_its_member_disconnects() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.go_on();
    let asked = world.one_proposed();
    world.vote(&asked, 0);
    world.give(BatchInput::Lost(0));
    world.give(BatchInput::Lost(3));
    world.vote(&asked, 1);
    world.vote(&asked, 2);
    assert_eq!(world.signers(1), [0, 1, 2]);
}

#[test]
fn every_false_voter_is_reported() {
    let mut world = BatchWorld::new(4);
    world.submit(1, 0..4);
    world.go_on();
    let asked = world.proposed().remove(0);
    let other = Asked { receipts: vec![receipt(2)], ..asked.clone() };
    // a signature of another statement, and no signature at all
    world.vote(&asked, 2);
    let lies = [(0, world.signature(&other, 0)), (1, VoteSignature([0x5A; 96]))];
    for (member, signature) in lies {
        world.give(BatchInput::Vote { batch: asked.batch, member, signature });
    }
    world.vote(&asked, 3);
    let failed = &world.failed[&Stream(1)];
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotAuthenticated, [0, 1].as_slice()));
    for name in ["replica-0", "replica-1"] {
        assert!(failed.detail.contains(&format!("{name}: the vote is not the member's signature")), "{failed}");
    }
}
