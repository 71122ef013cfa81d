//! Batches under the test's clock: waits, refusals and lies.

mod building;
mod gathering;
mod refusals;
mod succession;
mod votes;

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
    /// While a change of members is approved.
    staying: StayingMembers,
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
            staying: StayingMembers::default(),
        }
    }

    fn context(&self) -> BatchContext {
        let verified_apart = self.false_votes.iter().copied().collect();
        BatchContext {
            staying: self.staying.clone(),
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
    fn advance(&mut self) {
        self.give(BatchInput::Tick);
        let outputs = self.batches.propose(&self.context());
        self.perform(outputs);
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.advance();
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
