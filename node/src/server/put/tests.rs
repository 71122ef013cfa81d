//! The server's decisions about one put, under a clock of the test's.

use vouch_core::bls::VoteSecretKey;
use vouch_core::committee::{CommitteeRecord, Member, MemberName};
use vouch_core::digest::Digest;
use vouch_core::link::NodeSecretKey;
use vouch_core::receipt::NEVER;

use super::*;

const UNIX: u64 = 1_700_000_000;
const STREAM: Stream = Stream(7);

struct World {
    committee: Arc<Committee>,
    votes: Vec<VoteSecretKey>,
    put: Put,
    now: Duration,
    out: Vec<Output>,
}

fn receipt(length: u64) -> Receipt {
    Receipt { salt: [3; 16], digest: Digest::of(b"blob"), length, expires_at: NEVER }
}

impl World {
    fn new(n: u8, there: impl IntoIterator<Item = u16>, offer: Option<Receipt>) -> Self {
        let mut nodes: Vec<_> = (1..=n)
            .map(|i| (NodeSecretKey::from_bytes(&[i; 32]).node_key(), VoteSecretKey::generate(&[i; 32]).unwrap()))
            .collect();
        nodes.sort_by_key(|(node_key, _)| *node_key);
        let name = |i: usize| MemberName::new(&format!("replica-{i}")).unwrap();
        let members = nodes
            .iter()
            .enumerate()
            .map(|(i, (node_key, vote))| Member { node_key: *node_key, vote_key: vote.vote_key(), name: name(i) })
            .collect();
        let record = CommitteeRecord::genesis([0; 16], members).unwrap();
        let votes: Vec<_> = nodes.into_iter().map(|(_, vote)| vote).collect();
        let possessions = votes.iter().map(VoteSecretKey::prove_possession).collect();
        let committee = Arc::new(Committee::genesis(record, possessions).unwrap());
        let put = Put::new(committee.clone(), STREAM, there, offer, Deadlines::default());
        Self { committee, votes, put, now: Duration::from_secs(100), out: Vec::new() }
    }

    fn give(&mut self, input: Input) -> &[Output] {
        self.out = self.put.handle(input, self.now, UNIX);
        &self.out
    }

    fn wait(&mut self, duration: Duration) -> &[Output] {
        self.now += duration;
        self.give(Input::Tick)
    }

    fn end(&mut self) {
        self.give(Input::Chunk { offset: 0, length: 4 });
        self.give(Input::End(receipt(4)));
    }

    fn vote(&mut self, member: u16, signer: u16) -> &[Output] {
        let tally = Tally::new(&self.committee, UNIX, vec![receipt(4)]).unwrap();
        let vote = tally.statement().sign(&self.votes[usize::from(signer)]);
        self.give(Input::Vote(member, vote))
    }
}

fn proposed(out: &[Output]) -> Option<&[u16]> {
    out.iter().find_map(|output| match output {
        Output::Propose(members, _) => Some(members.as_slice()),
        _ => None,
    })
}

fn saved(out: &[Output]) -> Option<&Certificate> {
    out.iter().find_map(|output| match output {
        Output::Save(certificate) => Some(certificate),
        _ => None,
    })
}

fn failure(out: &[Output]) -> Option<&Failed> {
    out.iter().find_map(|output| match output {
        Output::Fail(failed) => Some(failed),
        _ => None,
    })
}

#[test]
fn everybody_stores_and_votes_and_nobody_is_waited_for() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..3 {
        assert!(proposed(world.give(Input::Stored(member))).is_none());
    }
    assert_eq!(proposed(world.give(Input::Stored(3))), Some(&[0, 1, 2, 3][..]));
    for member in 0..3 {
        assert!(saved(world.vote(member, member)).is_none());
    }
    let certificate = saved(world.vote(3, 3)).unwrap().clone();
    assert_eq!(certificate.signers.count(), 4);
    // nothing is handed out before it is durable
    assert!(!world.put.is_over());
    assert!(matches!(world.give(Input::Saved), [Output::Certified(handed_out)] if *handed_out == certificate));
    assert!(world.put.is_over());
}

#[test]
fn a_straggler_gets_its_grace_and_no_more() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..3 {
        world.give(Input::Stored(member));
    }
    assert!(proposed(world.wait(LEAST_GRACE - Duration::from_millis(1))).is_none());
    assert_eq!(proposed(world.wait(Duration::from_millis(1))), Some(&[0, 1, 2][..]));
    for member in 0..2 {
        world.vote(member, member);
    }
    assert_eq!(saved(world.vote(2, 2)).unwrap().signers.iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn below_a_quorum_nothing_is_proposed_and_the_late_are_named() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    world.end();
    world.give(Input::Stored(0));
    world.give(Input::Stored(1));
    assert!(proposed(world.wait(Deadlines::default().storing)).is_none());
    let failed = failure(world.wait(Duration::from_millis(1))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::TimedOut, &[2, 3][..]));
}

#[test]
fn f_may_go_and_one_more_is_named() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    assert!(failure(world.give(Input::Lost(2))).is_none());
    world.end();
    world.give(Input::Stored(0));
    let failed = failure(world.give(Input::Lost(1))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::NotEnoughReplicas, &[1, 2][..]));
    assert!(failed.detail.contains("missing: replica-1, replica-2"), "{}", failed.detail);
}

#[test]
fn more_than_f_equal_refusals_are_the_reason() {
    let refusal = || Failed::new(STREAM, Code::DigestDiffers, "expected a, got b");
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    world.end();
    assert!(failure(world.give(Input::Failed(0, refusal()))).is_none(), "one may lie");
    let failed = failure(world.give(Input::Failed(1, refusal()))).unwrap();
    assert_eq!((failed.code, failed.subjects.as_slice()), (Code::DigestDiffers, &[0, 1][..]));
}

#[test]
fn only_valid_votes_of_those_asked_count() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..4 {
        world.give(Input::Stored(member));
    }
    world.vote(0, 0);
    // a vote by another's key drops the member, and a member that voted votes once
    world.vote(1, 2);
    world.vote(0, 0);
    world.vote(2, 2);
    assert!(saved(&world.out).is_none());
    let certificate = saved(world.vote(3, 3)).unwrap();
    assert_eq!(certificate.signers.iter().collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn a_verified_vote_outlives_its_member() {
    let mut world = World::new(4, 0..4, Some(receipt(4)));
    world.end();
    for member in 0..4 {
        world.give(Input::Stored(member));
    }
    world.vote(0, 0);
    world.give(Input::Lost(0));
    world.vote(1, 1);
    world.give(Input::Lost(3));
    assert_eq!(saved(world.vote(2, 2)).unwrap().signers.iter().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn the_client_is_held_to_what_it_said() {
    let code = |offer, inputs: Vec<Input>| {
        let mut world = World::new(1, 0..1, offer);
        let mut codes = inputs.into_iter().filter_map(|input| failure(world.give(input)).map(|failed| failed.code));
        codes.next()
    };
    let chunk = |offset, length| Input::Chunk { offset, length };
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 5)]), Some(Code::LengthDiffers));
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 3), Input::End(receipt(4))]), Some(Code::LengthDiffers));
    assert_eq!(code(None, vec![chunk(0, 3), Input::End(receipt(4))]), Some(Code::LengthDiffers));
    assert_eq!(code(None, vec![chunk(1, 3)]), Some(Code::Unexpected));
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 3), Input::End(receipt(3))]), Some(Code::Unexpected));
    assert_eq!(code(None, vec![Input::End(receipt(0)), Input::End(receipt(0))]), Some(Code::Unexpected));
    assert_eq!(code(None, vec![chunk(0, 4), Input::End(receipt(4))]), None);
}

#[test]
fn what_cannot_be_saved_is_not_handed_out() {
    let mut world = World::new(1, 0..1, Some(receipt(4)));
    world.end();
    world.give(Input::Stored(0));
    assert!(saved(world.vote(0, 0)).is_some());
    assert_eq!(failure(world.give(Input::NotSaved("disk".into()))).unwrap().code, Code::Storage);
    assert!(world.give(Input::Saved).is_empty());
}
