//! Groups stored blobs into batches, requests votes for them, and retries what members refuse.
//!
//! A state machine without IO, one for the whole server. A lone blob is proposed at once; under load, blobs gather while the previous
//! batch is signed. A batch is proposed only to members that hold all its blobs. So a bad receipt, or a member that lies about one,
//! costs the other receipts one more round at most.

mod events;
mod pending_receipt;
mod policy;
mod proposed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement;
use vouch_core::tally::{Tally, VoteError};

use super::ended_waits::EndedWaits;
use super::health::Observed;
use super::put::{too_few_stay, too_late, why_too_few};
use super::stream_numbers::StreamNumbers;
use super::succession::StayingMembers;
pub use events::{BatchContext, BatchInput, BatchOutput, BatchRequest};
use pending_receipt::{PendingReceipt, common_holders};
pub use policy::BatchPolicy;
use proposed::ProposedBatch;

/// Number of receipts up to which a batch's tree is made in [`Batches::propose`]. They take about 20 µs, as long as waking another thread.
/// The tree of a larger batch is a request: one of 4096 receipts takes over a millisecond, in which the server would do nothing else.
pub const BUILT_INLINE: usize = 64;
/// Maximum number of closed batches remembered, to tell whether a later vote on one was in time.
const ENDED_BATCHES: usize = 64;

/// All batches of a server.
pub struct Batches {
    committee: Arc<Committee>,
    policy: BatchPolicy,
    /// Maximum time from the proposal to a quorum of votes.
    voting: Duration,
    numbers: StreamNumbers,
    waiting: VecDeque<PendingReceipt>,
    /// Receipts that members refused, so that fewer than a quorum of holders are left. Other members may still store the blobs.
    below_quorum: Vec<PendingReceipt>,
    /// Batches whose trees are being made. No member has been asked to vote on them yet.
    building: BTreeMap<Stream, Vec<PendingReceipt>>,
    signing: BTreeMap<Stream, ProposedBatch>,
    closed: EndedWaits,
}

impl Batches {
    /// `voting`: maximum time for a quorum to vote. `numbers`: shared with puts, so that no batch has the number of a put.
    pub fn new(committee: Arc<Committee>, policy: BatchPolicy, voting: Duration, numbers: StreamNumbers) -> Self {
        Self {
            committee,
            policy,
            voting,
            numbers,
            waiting: VecDeque::new(),
            below_quorum: Vec::new(),
            building: BTreeMap::new(),
            signing: BTreeMap::new(),
            closed: EndedWaits::new(ENDED_BATCHES),
        }
    }

    /// When [`BatchInput::Tick`] is due if there is no other input; `None` if it is not needed.
    pub fn next_tick(&self, context: &BatchContext) -> Option<Duration> {
        let gathered = self.waiting.front().map(|first| first.since + self.gathering_time(context));
        let signed = self.signing.values().map(|signing| signing.next_tick(self.voting));
        // At the limit of batches, the end of one of them is the next event.
        let gathered = gathered.filter(|_| self.in_progress() < self.policy.at_once);
        let below_quorum = self.below_quorum.iter().map(|item| item.since + self.voting + Duration::from_millis(1));
        gathered.into_iter().chain(signed).chain(below_quorum).min()
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    /// Number of batches that are being built or signed.
    fn in_progress(&self) -> usize {
        self.building.len() + self.signing.len()
    }

    /// Handles one input. It proposes nothing: call [`propose`](Self::propose) once no further input is pending.
    pub fn handle(&mut self, input: BatchInput, context: &BatchContext) -> Vec<BatchOutput> {
        let mut out = Vec::new();
        match input {
            BatchInput::Submit { put, receipt, holders, candidates } => {
                let refusals = Vec::new();
                let item = PendingReceipt { put, receipt, holders, candidates, refusals, since: context.now };
                self.waiting.push_back(item);
            }
            BatchInput::AlsoHeld { put, member } => self.also_held(put, member, &mut out),
            BatchInput::NeverHeld { put, member } => {
                for item in self.items().filter(|item| item.put == put) {
                    item.candidates.remove(&member);
                }
            }
            BatchInput::Withdraw(put) => {
                self.waiting.retain(|item| item.put != put);
                self.below_quorum.retain(|item| item.put != put);
            }
            BatchInput::Built { batch, receipts } => self.built(batch, receipts, context.now, &mut out),
            BatchInput::Vote { batch, member, signature } => self.vote(batch, member, signature, context, &mut out),
            BatchInput::Verified { batch, votes } => {
                for (member, vote) in votes {
                    if matches!(vote, Err(VoteError::Invalid { .. })) {
                        out.push(BatchOutput::VotedFalsely { batch, member });
                    }
                    if let Some(signing) = self.signing.get_mut(&batch) {
                        signing.verified(member, vote);
                    }
                }
            }
            BatchInput::Refused { batch, member, failed } => {
                if let Some(signing) = self.signing.get_mut(&batch) {
                    signing.refused(member, failed);
                }
            }
            BatchInput::Lost(member) => {
                self.signing.values_mut().for_each(|signing| signing.lost(member));
                for item in self.items() {
                    item.candidates.remove(&member);
                }
            }
            BatchInput::Tick => {}
        }
        self.close(context, &mut out);
        self.retry_below_quorum(context, &mut out);
        out
    }

    fn also_held(&mut self, put: Stream, member: u16, out: &mut Vec<BatchOutput>) {
        let building = self.building.values_mut().flatten();
        let mut unasked = self.waiting.iter_mut().chain(&mut self.below_quorum).chain(building);
        if let Some(item) = unasked.find(|item| item.put == put) {
            item.hold(member);
            return;
        }
        for signing in self.signing.values_mut() {
            if signing.also_held(put, member) {
                let proposal = signing.proposal().clone();
                out.push(BatchOutput::Request(BatchRequest::Propose { members: vec![member], proposal }));
            }
        }
    }

    fn vote(
        &mut self,
        batch: Stream,
        member: u16,
        signature: VoteSignature,
        context: &BatchContext,
        out: &mut Vec<BatchOutput>,
    ) {
        let now = context.now;
        let is_in_time = match self.signing.get_mut(&batch) {
            Some(signing) => {
                let is_first = signing.receive_vote(member, signature);
                is_first && signing.is_in_time(now)
            }
            None => self.closed.is_in_time(batch, now),
        };
        if is_in_time && context.not_awaited.contains(&member) {
            out.push(BatchOutput::Observed { batch, member, observed: Observed::VotedInTime });
        }
    }

    /// Closes batches that are certified, cannot reach a quorum, or have timed out.
    fn close(&mut self, context: &BatchContext, out: &mut Vec<BatchOutput>) {
        let (quorum, now, staying) = (self.quorum(), context.now, &context.staying);
        let due = self.signing.iter_mut().filter_map(|(batch, signing)| {
            let is_due = signing.is_certified(quorum, context)
                || signing.is_hopeless(quorum, staying)
                || now > signing.since() + self.voting;
            is_due.then_some(*batch)
        });
        for batch in due.collect::<Vec<_>>() {
            let Some(signing) = self.signing.remove(&batch) else { continue };
            if let Some(until) = signing.until() {
                self.closed.add(batch, until);
            }
            if signing.has_votes(quorum, staying) {
                note_late(batch, signing.silent(), out);
                out.push(signing.certify(batch));
            } else if signing.is_hopeless(quorum, staying) {
                self.requeue(signing, staying);
            } else {
                let silent: Vec<u16> = signing.silent().collect();
                note_late(batch, silent.iter().copied(), out);
                for item in signing.into_items() {
                    let failed = too_late(&self.committee, item.put, "vote", silent.clone());
                    out.push(BatchOutput::Request(BatchRequest::Fail(item.put, failed)));
                }
            }
        }
    }

    /// Puts the receipts of a failed batch at the front of the queue, or aside if too few holders are left.
    fn requeue(&mut self, signing: ProposedBatch, staying: &StayingMembers) {
        let quorum = self.quorum();
        for item in signing.into_items().into_iter().rev() {
            if staying.suffice(&item.holders, quorum) {
                self.waiting.push_front(item);
            } else {
                self.below_quorum.push(item);
            }
        }
    }

    /// Requeues receipts that have enough holders again. Fails those that cannot get them any more.
    fn retry_below_quorum(&mut self, context: &BatchContext, out: &mut Vec<BatchOutput>) {
        let (quorum, staying) = (self.quorum(), &context.staying);
        for item in std::mem::take(&mut self.below_quorum) {
            let may_wait = || staying.suffice(item.holders.union(&item.candidates), quorum);
            if staying.suffice(&item.holders, quorum) {
                self.waiting.push_front(item);
            } else if context.now <= item.since + self.voting && may_wait() {
                self.below_quorum.push(item);
            } else if item.holders.len() >= quorum {
                let failed = too_few_stay(&self.committee, item.put, staying.without(&item.holders));
                out.push(BatchOutput::Request(BatchRequest::Fail(item.put, failed)));
            } else {
                let refusals = item.refusals.iter().map(|(member, failed)| (*member, failed));
                let failed = why_too_few(&self.committee, item.put, refusals, |member| item.holders.contains(&member));
                out.push(BatchOutput::Request(BatchRequest::Fail(item.put, failed)));
            }
        }
    }

    /// The puts whose receipts are not certified yet.
    pub fn into_puts(mut self) -> impl Iterator<Item = Stream> {
        self.items().map(|item| item.put).collect::<Vec<_>>().into_iter()
    }

    fn items(&mut self) -> impl Iterator<Item = &mut PendingReceipt> {
        let signing = self.signing.values_mut().flat_map(ProposedBatch::items);
        let building = self.building.values_mut().flatten();
        self.waiting.iter_mut().chain(&mut self.below_quorum).chain(building).chain(signing)
    }

    /// How long the first receipt waits for others.
    fn gathering_time(&self, context: &BatchContext) -> Duration {
        match (self.in_progress(), context.storing) {
            (0, 0) => Duration::ZERO,
            (0, _) => self.policy.linger,
            _ => self.policy.wait,
        }
    }

    /// Requests the verification of received votes once they may reach a quorum: together they cost little more than one vote. Votes of
    /// members that lied before are verified apart: otherwise each lie would force the verification of all votes one by one.
    pub fn verify(&mut self, context: &BatchContext) -> Vec<BatchOutput> {
        let quorum = self.quorum();
        let mut out = Vec::new();
        for (batch, signing) in &mut self.signing {
            let (apart, together): (Vec<_>, Vec<_>) = signing
                .begin_verifying(quorum)
                .into_iter()
                .partition(|(member, _)| context.verified_apart.contains(member));
            let groups = apart.into_iter().map(|vote| vec![vote]).chain([together]);
            let ballot = signing.ballot();
            out.extend(groups.filter(|votes| !votes.is_empty()).map(|votes| {
                BatchOutput::Request(BatchRequest::Verify { batch: *batch, ballot: ballot.clone(), votes })
            }));
        }
        out
    }

    /// Proposes the gathered receipts, if a batch is full or due. The tree of a large batch is requested first.
    pub fn propose(&mut self, context: &BatchContext) -> Vec<BatchOutput> {
        let mut out = Vec::new();
        while self.in_progress() < self.policy.at_once {
            let is_full = self.waiting.len() >= self.policy.most;
            let is_due =
                self.waiting.front().is_some_and(|first| context.now >= first.since + self.gathering_time(context));
            if !(is_full || is_due) {
                break;
            }
            let items = self.gather(&context.staying);
            if items.is_empty() {
                continue;
            }
            let (batch, issued_at) = (self.numbers.next(), context.unix_now);
            let receipts: Vec<Receipt> = items.iter().map(|item| item.receipt).collect();
            let is_small = receipts.len() <= BUILT_INLINE;
            self.building.insert(batch, items);
            if is_small {
                let receipts = statement::Batch::new(issued_at, receipts).map(Box::new);
                self.built(batch, receipts, context.now, &mut out);
            } else {
                out.push(BatchOutput::Request(BatchRequest::Build { batch, issued_at, receipts }));
            }
        }
        // Those that were put aside and have no candidates left fail now.
        self.retry_below_quorum(context, &mut out);
        out
    }

    /// Proposes a batch to every member that holds all its blobs by now. Fails its puts if it could not be built.
    fn built(
        &mut self,
        batch: Stream,
        receipts: Option<Box<statement::Batch>>,
        now: Duration,
        out: &mut Vec<BatchOutput>,
    ) {
        let Some(items) = self.building.remove(&batch) else { return };
        let Some(receipts) = receipts else {
            let failed = |put| Failed::new(put, Code::Storage, "the server could not make the batch");
            out.extend(items.iter().map(|item| BatchOutput::Request(BatchRequest::Fail(item.put, failed(item.put)))));
            return;
        };
        let body = receipts.body();
        let tally = Tally::new(self.committee.record(), body);
        let proposal = Message::Propose {
            stream: batch,
            issued_at: body.issued_at,
            receipts: items.iter().map(|item| item.receipt).collect(),
        };
        let proposal = Arc::new(proposal);
        let common = common_holders(&items);
        let members = common.iter().copied().collect();
        out.push(BatchOutput::Request(BatchRequest::Propose { members, proposal: proposal.clone() }));
        self.signing.insert(batch, ProposedBatch::new(items, (receipts, tally), proposal, &common, now));
    }

    /// Takes the first receipt in the queue, and each later one as long as all taken share enough holders. A receipt that has too few is put
    /// aside.
    fn gather(&mut self, staying: &StayingMembers) -> Vec<PendingReceipt> {
        let quorum = self.quorum();
        let mut taken: Vec<PendingReceipt> = Vec::new();
        let mut common = BTreeSet::new();
        let mut left = VecDeque::new();
        while let Some(item) = self.waiting.pop_front() {
            if taken.is_empty() {
                if !staying.suffice(&item.holders, quorum) {
                    self.below_quorum.push(item);
                    continue;
                }
                common.clone_from(&item.holders);
            } else if item.holders != common {
                let shared: BTreeSet<u16> = common.intersection(&item.holders).copied().collect();
                if !staying.suffice(&shared, quorum) {
                    left.push_back(item);
                    continue;
                }
                common = shared;
            }
            taken.push(item);
            if taken.len() >= self.policy.most {
                break;
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        taken
    }
}

/// Records the members that had not voted when the batch ended.
fn note_late(batch: Stream, silent: impl Iterator<Item = u16>, out: &mut Vec<BatchOutput>) {
    out.extend(silent.map(|member| BatchOutput::Observed { batch, member, observed: Observed::VotedTooLate }));
}

/// The receipts that a refusal of a batch concerns; `None` for all.
fn refused_receipts(failed: &Failed, count: usize) -> Option<BTreeSet<usize>> {
    let about_receipts = matches!(failed.code, Code::NotHeld | Code::Expired);
    let subjects: BTreeSet<usize> =
        failed.subjects.iter().map(|subject| usize::from(*subject)).filter(|subject| *subject < count).collect();
    (about_receipts && !subjects.is_empty()).then_some(subjects)
}
