//! The server's decisions about one put, under a clock of the test's.

mod beginning;
mod ending;
mod opening;
mod storing;

use std::collections::{BTreeMap, BTreeSet};

use vouch_core::bls::VoteSecretKey;
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::message::Stage;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::Batch;
use vouch_core::tally::Tally;

use super::*;
use crate::fixture::{TestCommittee, node_key};
use crate::server::grace_period::LEAST_GRACE;
use crate::server::health::{LinkId, Observed};

const UNIX: u64 = 1_700_000_000;
const STREAM: Stream = Stream(7);
const POLICY: PutPolicy = PutPolicy {
    quorum_wait: Duration::from_secs(3),
    client_silence: Duration::from_secs(30),
    deadlines: Deadlines { storing: SERVER_STORES, voting: SERVER_VOTES },
    needs_tokens: false,
};
const MS: Duration = Duration::from_millis(1);

struct PutWorld {
    committee: Arc<Committee>,
    votes: Vec<VoteSecretKey>,
    put: ServerPut,
    context: PutContext,
    connected: BTreeMap<u16, LinkId>,
    /// The answer of the roster.
    admission: Admission,
    /// The answer of the archive, and what it was asked for.
    earlier: Option<Box<Certificate>>,
    looked_up: Vec<Receipt>,
    /// What follows from the last input, without requests that are completed at once and without notes.
    out: Vec<PutOutput>,
    /// Those notes.
    noted: Vec<PutAction>,
}

fn receipt(length: u64) -> Receipt {
    Receipt { salt: [3; 16], digest: Digest::of(b"blob"), length, expires_at: NEVER }
}

fn link(member: u16, number: u64) -> LinkId {
    LinkId { node_key: node_key(u8::try_from(member).unwrap() + 1), number }
}

fn links(members: impl IntoIterator<Item = u16>) -> BTreeMap<u16, LinkId> {
    members.into_iter().map(|member| (member, link(member, 1))).collect()
}

fn request(offer: Option<Receipt>) -> PutRequest {
    PutRequest { offer, renew: false, authorisation: None, whole: None }
}

impl PutWorld {
    /// A put that has not received [`PutInput::Begin`] yet.
    fn asked(n: u8, there: impl IntoIterator<Item = u16>, request: PutRequest) -> Self {
        let TestCommittee { committee, votes } = TestCommittee::new(n);
        let context = PutContext { now: Duration::from_secs(100), unix_seconds: UNIX, ..PutContext::default() };
        let connected = links(there);
        let admission = Admission::Begin { members: connected.clone(), left_out: BTreeSet::new() };
        let put = ServerPut::new(STREAM, request, POLICY);
        let (out, noted, looked_up) = (Vec::new(), Vec::new(), Vec::new());
        Self { committee, votes, put, context, connected, admission, earlier: None, looked_up, out, noted }
    }

    /// One whose members were told of the put.
    fn new(n: u8, there: impl IntoIterator<Item = u16>, offer: Option<Receipt>) -> Self {
        let mut world = Self::asked(n, there, request(offer));
        world.give(PutInput::Begin);
        world
    }

    /// One whose members all begin at the beginning.
    fn begun(n: u8, there: impl IntoIterator<Item = u16>, offer: Option<Receipt>) -> Self {
        let mut world = Self::new(n, there, offer);
        let members: Vec<u16> = world.members();
        world.say(members, 0);
        world
    }

    fn members(&self) -> Vec<u16> {
        match &self.put.state {
            PutState::Running(running) => running.members().collect(),
            _ => Vec::new(),
        }
    }

    /// These members need the bytes from this offset on.
    fn say(&mut self, members: impl IntoIterator<Item = u16>, offset: u64) -> &[PutOutput] {
        for member in members {
            self.give(PutInput::Ready(member, offset));
        }
        &self.out
    }

    /// Gives an input, and completes what follows as a shell would.
    fn give(&mut self, input: PutInput) -> &[PutOutput] {
        self.out.clear();
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            for output in self.put.handle(inputs.remove(0), &self.context) {
                inputs.extend(self.complete(&output));
                match output {
                    PutOutput::Action(
                        action @ (PutAction::Open { .. }
                        | PutAction::Drop(_)
                        | PutAction::StoringBegan
                        | PutAction::StoringEnded
                        | PutAction::NoteProgress
                        | PutAction::EndedBefore { .. }),
                    ) => self.noted.push(action),
                    PutOutput::Action(
                        PutAction::ClaimPlace
                        | PutAction::FindCommittee
                        | PutAction::AskAdmission { .. }
                        | PutAction::FindEarlier(_)
                        | PutAction::ForwardPut { .. },
                    ) => {}
                    output => self.out.push(output),
                }
            }
        }
        &self.out
    }

    fn complete(&mut self, output: &PutOutput) -> Option<PutInput> {
        let PutOutput::Action(action) = output else { return None };
        match action {
            PutAction::ClaimPlace => Some(PutInput::Claimed(true)),
            PutAction::FindCommittee => Some(PutInput::Committee(Ok(self.committee.clone()))),
            PutAction::AskAdmission { .. } => Some(PutInput::Admission(self.admission.clone())),
            PutAction::FindEarlier(receipt) => {
                self.looked_up.push(*receipt);
                Some(PutInput::Earlier(self.earlier.clone()))
            }
            PutAction::ForwardPut { .. } | PutAction::ForwardBytes(_) | PutAction::ForwardEnd(..) => {
                Some(PutInput::Forwarded(Forwarded::default()))
            }
            _ => None,
        }
    }

    /// The link of a member ends.
    fn lose(&mut self, member: u16) -> &[PutOutput] {
        self.connected.remove(&member);
        self.give(PutInput::Connected(self.connected.clone()))
    }

    fn wait(&mut self, duration: Duration) -> &[PutOutput] {
        self.context.now += duration;
        self.give(PutInput::Tick)
    }

    fn end(&mut self) {
        self.give(PutInput::Chunk { offset: 0, length: 4 });
        self.give(PutInput::End(receipt(4), None));
    }

    fn store(&mut self, members: impl IntoIterator<Item = u16>) {
        for member in members {
            self.give(PutInput::Stored(member));
        }
    }

    /// A certificate by these members.
    fn certificate(&self, signers: &[u16], receipt: Receipt) -> Box<Certificate> {
        let batch = Batch::new(UNIX, vec![receipt]).unwrap();
        let mut tally = Tally::new(self.committee.record(), batch.body());
        for signer in signers {
            let vote = tally.statement().sign(&self.votes[usize::from(*signer)]);
            tally.add(&self.committee, *signer, vote).unwrap();
        }
        Box::new(tally.certificates(batch.claims()).unwrap().remove(0))
    }

    /// The batcher certified it.
    fn certify(&mut self, signers: &[u16]) -> &[PutOutput] {
        let certificate = self.certificate(signers, receipt(4));
        self.give(PutInput::Certified(certificate))
    }

    /// The time until which late members are in time, if the put ended early.
    fn ended_before(&self) -> Option<Duration> {
        self.noted.iter().find_map(|action| match action {
            PutAction::EndedBefore { until } => Some(*until),
            _ => None,
        })
    }
}

fn actions(out: &[PutOutput]) -> impl Iterator<Item = &PutAction> {
    out.iter().filter_map(|output| match output {
        PutOutput::Action(action) => Some(action),
        PutOutput::Answer(_) => None,
    })
}

fn answers(out: &[PutOutput]) -> impl Iterator<Item = &PutAnswer> {
    out.iter().filter_map(|output| match output {
        PutOutput::Answer(answer) => Some(answer),
        PutOutput::Action(_) => None,
    })
}

fn certified(out: &[PutOutput]) -> Option<&Certificate> {
    answers(out).find_map(|answer| match answer {
        PutAnswer::Certified(certificate) => Some(&**certificate),
        _ => None,
    })
}

/// Whether the members are told that the put is cancelled and to keep its bytes.
fn is_cancelled(out: &[PutOutput]) -> bool {
    actions(out).any(|action| matches!(action, PutAction::Cancel { keep: true }))
}

fn submitted(out: &[PutOutput]) -> Option<Vec<u16>> {
    actions(out).find_map(|action| match action {
        PutAction::Submit { holders, .. } => Some(holders.iter().copied().collect()),
        _ => None,
    })
}

/// The stages sent to the client.
fn told(out: &[PutOutput]) -> Vec<(u16, Stage)> {
    let progress = |answer: &PutAnswer| match answer {
        PutAnswer::Progress(member, stage) => Some((*member, *stage)),
        _ => None,
    };
    answers(out).filter_map(progress).collect()
}

fn observed(out: &[PutOutput], what: Observed) -> Vec<u16> {
    let of = |action: &PutAction| match action {
        PutAction::Observe { member, link: of, observed } if *observed == what => {
            assert_eq!(*of, link(*member, 1), "by the link on which it takes part");
            Some(*member)
        }
        _ => None,
    };
    actions(out).filter_map(of).collect()
}

fn is_late(out: &[PutOutput], member: u16) -> bool {
    observed(out, Observed::StoredTooLate).contains(&member)
}

fn is_in_time(out: &[PutOutput], member: u16) -> bool {
    observed(out, Observed::StoredInTime).contains(&member)
}

fn failure(out: &[PutOutput]) -> Option<&Failed> {
    answers(out).find_map(|answer| match answer {
        PutAnswer::Failed(failed) => Some(failed),
        _ => None,
    })
}

#[test]
fn the_declared_length_and_receipt_must_match() {
    let code = |offer, inputs: Vec<PutInput>| {
        let mut world = PutWorld::begun(1, 0..1, offer);
        let mut codes = inputs.into_iter().filter_map(|input| failure(world.give(input)).map(|failed| failed.code));
        codes.next()
    };
    let chunk = |offset, length| PutInput::Chunk { offset, length };
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 5)]), Some(Code::LengthDiffers));
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 3), PutInput::End(receipt(4), None)]), Some(Code::LengthDiffers));
    assert_eq!(code(None, vec![chunk(0, 3), PutInput::End(receipt(4), None)]), Some(Code::LengthDiffers));
    assert_eq!(code(None, vec![chunk(1, 3)]), Some(Code::Unexpected));
    assert_eq!(code(Some(receipt(4)), vec![chunk(0, 3), PutInput::End(receipt(3), None)]), Some(Code::Unexpected));
    assert_eq!(
        code(None, vec![PutInput::End(receipt(0), None), PutInput::End(receipt(0), None)]),
        Some(Code::Unexpected)
    );
    assert_eq!(code(None, vec![chunk(0, 4), PutInput::End(receipt(4), None)]), None);
}

#[test]
fn a_put_fails_if_the_batcher_cannot_certify_it() {
    let mut world = PutWorld::begun(1, 0..1, Some(receipt(4)));
    world.end();
    assert!(submitted(world.give(PutInput::Stored(0))).is_some());
    let failed = Failed::new(Stream(99), Code::Storage, "disk");
    let failed = failure(world.give(PutInput::Uncertified(failed))).unwrap().clone();
    assert_eq!((failed.code, failed.stream), (Code::Storage, STREAM));
    assert!(world.certify(&[0]).is_empty());
}
