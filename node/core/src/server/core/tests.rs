//! The decisions of a whole server: admission of puts, proposals, and the effects of lost and slow members.

use vouch_core::bls::{VoteSecretKey, VoteSignature};
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::{self, Batch, Statement};

use super::*;
use crate::fixture::{TestCommittee, TestEpochs, node_key};
use crate::server::batch::BatchRequest;

const UNIX: u64 = 1_700_000_000;
const VOTING: Duration = Duration::from_secs(20);
const QUORUM_OF_4: [u16; 3] = [0, 1, 2];

fn receipt(number: u32) -> Receipt {
    Receipt { salt: [3; 16], digest: Digest::of(&number.to_le_bytes()), length: 4, expires_at: NEVER }
}

/// A proposal that members were sent.
#[derive(Debug, Clone)]
struct SentProposal {
    batch: Stream,
    members: Vec<u16>,
    receipts: Vec<Receipt>,
}

struct ServerWorld {
    committee: TestCommittee,
    core: ServerCore<u16>,
    now: Duration,
    next_link: u64,
    proposals: Vec<SentProposal>,
    /// The members whose votes were verified together, for each verification.
    verified: Vec<Vec<u16>>,
    certified: Vec<Stream>,
    failed: Vec<(Stream, Failed)>,
    left_out: Vec<(u16, Code)>,
    told: Vec<String>,
    delivered: Vec<Reply>,
    /// Whether [`ServerOutput::Settle`] was returned.
    is_unsettled: bool,
}

impl ServerWorld {
    /// A server with a committee of four, all of them connected.
    fn new() -> Self {
        let mut world = Self::without_members();
        for member in 0..4 {
            world.join(member);
        }
        world
    }

    fn without_members() -> Self {
        let committee = TestCommittee::new(4);
        let chain = CommitteeChain::new(committee.committee.clone());
        let core = ServerCore::new(Some(chain), BatchPolicy::default(), VOTING, StreamNumbers::from(1000));
        Self {
            committee,
            core,
            now: Duration::from_secs(100),
            next_link: 1,
            proposals: Vec::new(),
            verified: Vec::new(),
            certified: Vec::new(),
            failed: Vec::new(),
            left_out: Vec::new(),
            told: Vec::new(),
            delivered: Vec::new(),
            is_unsettled: false,
        }
    }

    fn join(&mut self, member: u16) -> LinkId {
        let node_key = self.committee.committee.record().members()[usize::from(member)].node_key;
        let link = LinkId { node_key, number: self.next_link };
        self.next_link += 1;
        self.handle(ServerInput::Joined { link, handle: member });
        link
    }

    fn link(&self, member: u16) -> LinkId {
        self.core.roster().link(member).unwrap()
    }

    fn leave(&mut self, member: u16) {
        self.handle(ServerInput::Left(self.link(member)));
    }

    fn clock(&self) -> ServerClock {
        ServerClock { now: self.now, unix_seconds: UNIX }
    }

    fn handle(&mut self, input: ServerInput<u16>) {
        for output in self.core.handle(input, self.clock()) {
            match output {
                ServerOutput::Deliver(_, reply) => self.delivered.push(reply),
                ServerOutput::Batch(BatchRequest::Build { batch, issued_at, receipts }) => {
                    let receipts = statement::Batch::new(issued_at, receipts).map(Box::new);
                    self.handle(ServerInput::Batch(BatchInput::Built { batch, receipts }));
                }
                ServerOutput::Batch(BatchRequest::Propose { members, proposal }) => {
                    let Message::Propose { stream, receipts, .. } = &*proposal else { panic!("{proposal:?}") };
                    self.proposals.push(SentProposal { batch: *stream, members, receipts: receipts.clone() });
                }
                ServerOutput::Batch(BatchRequest::Verify { batch, ballot, votes }) => {
                    self.verified.push(votes.iter().map(|(member, _)| *member).collect());
                    let verified = ballot.verify_all(&self.committee.committee, &votes);
                    let votes = votes.iter().map(|(member, _)| *member).zip(verified).collect();
                    self.handle(ServerInput::Batch(BatchInput::Verified { batch, votes }));
                }
                ServerOutput::Batch(BatchRequest::Certify { puts, .. }) => self.certified.extend(puts),
                ServerOutput::Batch(BatchRequest::Fail(put, failed)) => self.failed.push((put, failed)),
                ServerOutput::LeftOut { member, code, .. } => self.left_out.push((member, code)),
                ServerOutput::MemberReport { member, line } => self.told.push(format!("{member} {line}")),
                ServerOutput::Settle => self.is_unsettled = true,
            }
        }
    }

    /// Settles as often as requested, as a shell does when no further input is pending.
    fn settle(&mut self) {
        while std::mem::take(&mut self.is_unsettled) {
            self.handle(ServerInput::Settled);
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.handle(ServerInput::Settled);
        self.settle();
    }

    /// Submits a put that these members have stored. The others may still store it.
    fn submit(&mut self, number: u32, holders: &[u16]) {
        let holders: BTreeSet<u16> = holders.iter().copied().collect();
        let candidates = (0..4).filter(|member| !holders.contains(member)).collect();
        let (put, receipt) = (Stream(number), receipt(number));
        self.handle(ServerInput::Batch(BatchInput::Submit { put, receipt, holders, candidates }));
    }

    fn proposal(&mut self) -> SentProposal {
        assert_eq!(self.proposals.len(), 1, "{:?}", self.proposals);
        self.proposals.remove(0)
    }

    fn signature(&self, proposal: &SentProposal, signer: &VoteSecretKey) -> VoteSignature {
        let batch = Batch::new(UNIX, proposal.receipts.clone()).unwrap();
        Statement::new(self.committee.committee.record(), batch.body()).sign(signer)
    }

    fn reply(&mut self, member: u16, stream: Stream, message: Message) {
        self.handle(ServerInput::Reply(self.link(member), Reply { member, stream, message }));
    }

    fn vote(&mut self, proposal: &SentProposal, member: u16) {
        let signature = self.signature(proposal, &self.committee.votes[usize::from(member)]);
        self.reply(member, proposal.batch, Message::Vote { stream: proposal.batch, signature });
    }

    fn admit(&mut self, idle: impl IntoIterator<Item = u16>, has_waited: bool) -> Admission {
        self.core.admit(&idle.into_iter().collect(), has_waited, self.now)
    }

    fn begin(&self, members: impl IntoIterator<Item = u16>, left_out: impl IntoIterator<Item = u16>) -> Admission {
        let members = members.into_iter().map(|member| (member, self.link(member))).collect();
        Admission::Begin { members, left_out: left_out.into_iter().collect() }
    }

    fn observe(&mut self, member: u16, observed: Observed) {
        let link = self.link(member);
        self.handle(ServerInput::Observed { stream: Stream(1), member, link, observed });
    }
}

#[test]
fn a_slow_member_is_left_out_of_new_puts_until_its_queue_is_empty() {
    let mut world = ServerWorld::new();
    assert_eq!(world.admit(0..4, false), world.begin(0..4, []));
    world.observe(3, Observed::TookBytesTooSlowly);
    assert_eq!(world.left_out, [(3, Code::TimedOut)], "reported to the operator and the member");
    assert_eq!(world.admit(0..3, false), world.begin(0..3, [3]));
    assert_eq!(world.admit(0..4, false), world.begin(0..4, []), "its queue is empty");
}

#[test]
fn a_put_waits_for_a_fast_quorum_then_accepts_a_slow_one() {
    let mut world = ServerWorld::new();
    world.leave(0);
    world.observe(3, Observed::TookBytesTooSlowly);
    assert_eq!(world.admit([], false), Admission::Wait);
    assert_eq!(world.admit([], true), world.begin(1..4, []), "a slow put is better than none");
    world.leave(1);
    assert_eq!(world.admit([], false), Admission::Wait);
    assert_eq!(world.admit([], true), Admission::TooFew { connected: [2, 3].into() });
    world.join(0);
    assert_eq!(world.admit([0, 2, 3], false), world.begin([0, 2, 3], []));
}

#[test]
fn without_a_committee_no_put_begins() {
    let mut core = ServerCore::new(None, BatchPolicy::default(), VOTING, StreamNumbers::default());
    let clock = ServerClock { now: Duration::from_secs(1), unix_seconds: UNIX };
    let link = LinkId { node_key: node_key(1), number: 1 };
    assert!(core.handle(ServerInput::Joined { link, handle: 1 }, clock).is_empty());
    assert_eq!(core.roster().membership(&node_key(1)), Membership::Candidate);
    assert_eq!(core.admit(&BTreeSet::new(), true, clock.now), Admission::Wait);
    let (holders, candidates) = ([0].into(), BTreeSet::new());
    let submit = BatchInput::Submit { put: Stream(1), receipt: receipt(1), holders, candidates };
    assert!(core.handle(ServerInput::Batch(submit), clock).is_empty());
    assert!(core.handle(ServerInput::Settled, clock).is_empty() && core.next_tick(clock).is_none());
    core.handle(ServerInput::Adopted(TestCommittee::of([1]).committee.into()), clock);
    assert_eq!(core.roster().membership(&node_key(1)), Membership::Member(0));
    assert_eq!(
        core.admit(&BTreeSet::new(), false, clock.now),
        Admission::Begin { members: [(0, link)].into(), left_out: BTreeSet::new() }
    );
}

#[test]
fn a_batch_is_proposed_once_no_input_is_pending() {
    let mut world = ServerWorld::new();
    world.submit(1, &[0, 1, 2, 3]);
    world.submit(2, &[0, 1, 2, 3]);
    assert!(world.proposals.is_empty(), "further inputs may be pending");
    world.settle();
    let proposal = world.proposal();
    assert_eq!((proposal.members.as_slice(), proposal.receipts.len()), (&[0, 1, 2, 3][..], 2));
    for member in 0..4 {
        assert!(world.certified.is_empty());
        world.vote(&proposal, member);
        world.settle();
    }
    assert_eq!(world.certified, [Stream(1), Stream(2)]);
    assert_eq!(world.core.next_tick(world.clock()), None, "nothing is left to do");
}

#[test]
fn a_batch_that_loses_its_quorum_needs_another_holder() {
    let mut world = ServerWorld::new();
    world.submit(1, &QUORUM_OF_4);
    world.settle();
    let first = world.proposal();
    assert_eq!(first.members, QUORUM_OF_4);
    world.vote(&first, 0);
    world.leave(1);
    world.settle();
    assert!(world.failed.is_empty() && world.proposals.is_empty(), "member 3 may still store it");
    world.handle(ServerInput::Batch(BatchInput::AlsoHeld { put: Stream(1), member: 3 }));
    world.settle();
    let second = world.proposal();
    assert_eq!(second.members, [0, 2, 3]);
    assert!(second.batch != first.batch);
    // no holder is left
    world.leave(2);
    world.settle();
    let [(put, failed)] = &world.failed[..] else { panic!("{:?}", world.failed) };
    assert_eq!((*put, failed.code), (Stream(1), Code::NotEnoughReplicas));
    assert!(world.certified.is_empty());
    assert_eq!(world.core.next_tick(world.clock()), None, "no wait is left");
}

#[test]
fn a_returning_replica_is_asked_on_its_new_link() {
    let mut world = ServerWorld::new();
    world.observe(3, Observed::StoredTooLate);
    let old = world.link(3);
    world.submit(1, &[0, 1, 2, 3]);
    world.settle();
    let first = world.proposal();
    let new = world.join(3);
    // it does not know the proposal of its earlier link, so its vote is not waited for
    QUORUM_OF_4.into_iter().for_each(|member| world.vote(&first, member));
    world.settle();
    assert_eq!(world.certified, [Stream(1)]);
    assert!(world.core.health().trouble(&new.node_key, world.now).is_none(), "a new link resets slowness");
    world.submit(2, &[0, 1, 2, 3]);
    world.settle();
    let second = world.proposal();
    assert_eq!(second.members, [0, 1, 2, 3]);
    world.handle(ServerInput::Left(old));
    assert_eq!(world.link(3), new);
    (0..4).for_each(|member| world.vote(&second, member));
    world.settle();
    assert_eq!(world.certified, [Stream(1), Stream(2)]);
    assert_eq!(world.verified.last().unwrap(), &[0, 1, 2, 3], "its vote on the new link counts");
}

#[test]
fn a_late_voter_is_not_awaited_until_in_time_again() {
    let mut world = ServerWorld::new();
    let round = |world: &mut ServerWorld, number, voters: &[u16]| {
        world.submit(number, &[0, 1, 2, 3]);
        world.settle();
        let proposal = world.proposal();
        voters.iter().for_each(|member| world.vote(&proposal, *member));
        world.settle();
        proposal
    };
    round(&mut world, 1, &QUORUM_OF_4);
    assert!(world.certified.is_empty(), "the last member is in its grace period");
    world.wait(Duration::from_secs(2));
    assert_eq!((world.certified.len(), world.left_out.as_slice()), (1, &[(3, Code::TimedOut)][..]));
    let second = round(&mut world, 2, &QUORUM_OF_4);
    assert_eq!(world.certified.len(), 2, "at once");
    // the vote comes after its batch has ended, but in time
    world.vote(&second, 3);
    assert!(world.core.health().not_awaited_to_vote(world.committee.committee.record(), world.now).is_empty());
    round(&mut world, 3, &QUORUM_OF_4);
    assert_eq!(world.certified.len(), 2, "the batch waits for it again");
}

#[test]
fn a_false_vote_is_reported_once_and_verified_apart_later() {
    let mut world = ServerWorld::new();
    for (number, groups) in [(1, vec![vec![0, 1, 2, 3]]), (2, vec![vec![0], vec![1, 2, 3]])] {
        world.submit(number, &[0, 1, 2, 3]);
        world.settle();
        let proposal = world.proposal();
        let other = SentProposal { receipts: vec![receipt(99)], ..proposal.clone() };
        let signature = world.signature(&other, &world.committee.votes[0]);
        world.reply(0, proposal.batch, Message::Vote { stream: proposal.batch, signature });
        (1..4).for_each(|member| world.vote(&proposal, member));
        world.settle();
        assert_eq!(std::mem::take(&mut world.verified), groups);
        assert_eq!(world.certified.len(), number as usize);
    }
    assert_eq!(world.left_out, [(0, Code::NotAuthenticated)]);
}

#[test]
fn replies_are_delivered_and_unclaimed_ones_update_health() {
    let mut world = ServerWorld::new();
    world.reply(1, Stream(7), Message::Stored { stream: Stream(7) });
    let Some(Reply { member: 1, stream: Stream(7), .. }) = world.delivered.pop() else { panic!("not delivered") };
    // a report about the replica as a whole belongs to no put
    world.reply(1, Stream::REPLICA, Message::failed(Stream::REPLICA, Code::Storage, "no such device"));
    assert!(world.delivered.is_empty());
    assert_eq!(world.told, ["1 says that its storage failed: no such device"]);
    // a put ended without it, but it stored in time
    for (until, is_late) in [(world.now, true), (world.now + Duration::from_millis(1), false)] {
        world.observe(2, Observed::StoredTooLate);
        world.handle(ServerInput::PutEnded { put: Stream(8), until });
        let reply = Reply { member: 2, stream: Stream(8), message: Message::Stored { stream: Stream(8) } };
        world.handle(ServerInput::Unclaimed(world.link(2), reply));
        let record = world.committee.committee.record();
        assert_eq!(world.core.health().not_awaited_to_store(record, world.now).contains(&2), is_late);
    }
    // a refusal that no put waits for belongs to a batch
    world.submit(1, &[0, 1, 2, 3]);
    world.settle();
    let batch = world.proposal().batch;
    for member in [0, 1] {
        let message = Message::failed(batch, Code::NotHeld, "the blob is not here");
        world.handle(ServerInput::Unclaimed(world.link(member), Reply { member, stream: batch, message }));
    }
    world.settle();
    let [(put, failed)] = &world.failed[..] else { panic!("{:?}", world.failed) };
    assert_eq!((*put, failed.code, failed.subjects.as_slice()), (Stream(1), Code::NotHeld, &[0, 1][..]));
}

#[test]
fn a_batch_lingers_while_puts_are_stored() {
    let mut world = ServerWorld::new();
    world.handle(ServerInput::StoringBegan);
    world.submit(1, &[0, 1, 2, 3]);
    world.settle();
    assert!(world.proposals.is_empty());
    assert_eq!(world.core.next_tick(world.clock()), Some(world.now + BatchPolicy::default().linger));
    world.handle(ServerInput::StoringEnded);
    world.submit(2, &[0, 1, 2, 3]);
    world.settle();
    assert_eq!(world.proposal().receipts.len(), 2);
}

#[test]
fn a_new_epoch_ends_puts_and_links_and_forgets_what_was_known_by_index() {
    let mut world = ServerWorld::new();
    world.submit(1, &QUORUM_OF_4);
    world.settle();
    let proposal = world.proposal();
    world.submit(2, &QUORUM_OF_4);
    world.observe(3, Observed::TookBytesTooSlowly);
    let mut epochs = TestEpochs::founded(TestCommittee::new(4));
    let key = |i: u8| (node_key(i), VoteSecretKey::generate(&[i + 100; 32]).unwrap());
    epochs.change(UNIX, (2..=6).map(key));
    let old = world.link(0);
    world.handle(ServerInput::Adopted(epochs.chain.clone()));
    let failed: Vec<_> = world.failed.iter().map(|(put, failed)| (*put, failed.code)).collect();
    assert_eq!(failed, [(Stream(2), Code::NewEpoch), (Stream(1), Code::NewEpoch)]);
    assert_eq!((world.core.roster().count(), world.core.roster().membership(&node_key(1))), (0, Membership::Standby));
    assert_eq!(world.admit([], true), Admission::TooFew { connected: BTreeSet::new() });
    // What the old links still say concerns nobody.
    world.handle(ServerInput::Left(old));
    world.proposals.clear();
    world.handle(ServerInput::Reply(
        old,
        Reply {
            member: 0,
            stream: proposal.batch,
            message: Message::Vote { stream: proposal.batch, signature: VoteSignature([1; 96]) },
        },
    ));
    // The members of the new committee join, and nothing is known of them.
    world.committee = epochs.committees.remove(1);
    for member in 0..5 {
        world.join(member);
    }
    assert_eq!(world.admit([], false), world.begin(0..5, []));
    world.submit(3, &[0, 1, 2, 3]);
    world.settle();
    let proposal = world.proposal();
    assert_eq!(proposal.members, [0, 1, 2, 3]);
    for member in 0..4 {
        world.vote(&proposal, member);
    }
    world.settle();
    assert_eq!(world.certified, [Stream(3)]);
}
