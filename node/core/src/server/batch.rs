//! Which stored blobs are certified together, whose votes are asked for, and what becomes of a batch that somebody refuses.
//!
//! A state machine without IO, one for the whole server. A blob alone waits for nobody; under load blobs gather while the batch
//! before them is signed. A batch goes only to members that hold all of it, so one bad receipt, or one member that lies about
//! one, costs its neighbours another round and nothing else.

mod events;
mod proposed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::committee::Committee;
use vouch_core::limits::MAX_BATCH;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement;
use vouch_core::tally::{Tally, VoteError};

use super::ended_waits::EndedWaits;
use super::health::Observed;
use super::put::{too_late, why_too_few};
use super::stream_numbers::StreamNumbers;
pub use events::{BatchContext, BatchInput, BatchOutput, BatchRequest};
use proposed::ProposedBatch;

/// Closed batches remembered, for judging votes that come later.
const ENDED_BATCHES: usize = 64;

/// How blobs gather.
#[derive(Debug, Clone, Copy)]
pub struct BatchPolicy {
    /// The most receipts in a batch, at most 4096.
    pub most: usize,
    /// Where nothing is being signed but other puts are being stored, the first waits so long for them.
    pub linger: Duration,
    /// While a batch is being signed, the next one waits for it no longer than this.
    pub wait: Duration,
    /// Batches signed at once.
    pub at_once: usize,
}

impl Default for BatchPolicy {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { most: MAX_BATCH as usize, linger: ms(2), wait: ms(8), at_once: 4 }
    }
}

/// One put's receipt on its way to a certificate.
#[derive(Debug)]
struct PendingReceipt {
    put: Stream,
    receipt: Receipt,
    holders: BTreeSet<u16>,
    candidates: BTreeSet<u16>,
    refusals: Vec<(u16, Failed)>,
    since: Duration,
}

impl PendingReceipt {
    /// One more member holds it; `false` when that is known.
    fn hold(&mut self, member: u16) -> bool {
        self.candidates.remove(&member);
        self.holders.insert(member)
    }
}

/// All batches of a server.
pub struct Batches {
    committee: Arc<Committee>,
    policy: BatchPolicy,
    /// From the proposal until a quorum voted.
    voting: Duration,
    numbers: StreamNumbers,
    waiting: VecDeque<PendingReceipt>,
    /// Refused, so that fewer than a quorum of holders are left; others may become holders yet.
    below_quorum: Vec<PendingReceipt>,
    signing: BTreeMap<Stream, ProposedBatch>,
    /// Closed batches.
    closed: EndedWaits,
}

impl Batches {
    /// `voting`: how long a quorum may take to vote. `numbers` are the batches', other than those of puts.
    pub fn new(committee: Arc<Committee>, policy: BatchPolicy, voting: Duration, numbers: StreamNumbers) -> Self {
        Self {
            committee,
            policy,
            voting,
            numbers,
            waiting: VecDeque::new(),
            below_quorum: Vec::new(),
            signing: BTreeMap::new(),
            closed: EndedWaits::new(ENDED_BATCHES),
        }
    }

    /// When to come back with [`BatchInput::Tick`] if nothing else happens; `None` when there is nothing to do.
    pub fn next_tick(&self, context: &BatchContext) -> Option<Duration> {
        let gathered = self.waiting.front().map(|first| first.since + self.gathering_time(context));
        let signed = self.signing.values().map(|signing| signing.next_tick(self.voting));
        // at the limit of batches at once, the end of one of them is what is waited for
        let gathered = gathered.filter(|_| self.signing.len() < self.policy.at_once);
        let below_quorum = self.below_quorum.iter().map(|item| item.since + self.voting + Duration::from_millis(1));
        gathered.into_iter().chain(signed).chain(below_quorum).min()
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    /// Takes one input. Nothing is proposed yet: [`propose`](Self::propose) comes when there is no further input at hand.
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
        self.retry_below_quorum(context.now, &mut out);
        out
    }

    fn also_held(&mut self, put: Stream, member: u16, out: &mut Vec<BatchOutput>) {
        let mut unasked = self.waiting.iter_mut().chain(&mut self.below_quorum);
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

    /// Ends the batches whose time has come: with certificates, or with another try for what is left of them.
    fn close(&mut self, context: &BatchContext, out: &mut Vec<BatchOutput>) {
        let (quorum, now) = (self.quorum(), context.now);
        let due = self.signing.iter_mut().filter_map(|(batch, signing)| {
            let is_due = signing.is_certified(quorum, &context.not_awaited, now)
                || signing.is_hopeless(quorum)
                || now > signing.since() + self.voting;
            is_due.then_some(*batch)
        });
        for batch in due.collect::<Vec<_>>() {
            let Some(signing) = self.signing.remove(&batch) else { continue };
            if let Some(until) = signing.until() {
                self.closed.add(batch, until);
            }
            if signing.voted() >= quorum {
                note_late(batch, signing.silent(), out);
                out.push(signing.certify(batch));
            } else if signing.is_hopeless(quorum) {
                self.try_again(signing);
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

    /// Whatever still has a quorum of holders who did not refuse it waits for the next batch, before everybody else.
    fn try_again(&mut self, signing: ProposedBatch) {
        let quorum = self.quorum();
        for item in signing.into_items().into_iter().rev() {
            if item.holders.len() >= quorum {
                self.waiting.push_front(item);
            } else {
                self.below_quorum.push(item);
            }
        }
    }

    /// What was refused goes on when others stored it as well, and fails when they cannot make up a quorum any more.
    fn retry_below_quorum(&mut self, now: Duration, out: &mut Vec<BatchOutput>) {
        let quorum = self.quorum();
        for item in std::mem::take(&mut self.below_quorum) {
            if item.holders.len() >= quorum {
                self.waiting.push_front(item);
            } else if item.holders.len() + item.candidates.len() >= quorum && now <= item.since + self.voting {
                self.below_quorum.push(item);
            } else {
                let refusals = item.refusals.iter().map(|(member, failed)| (*member, failed));
                let failed = why_too_few(&self.committee, item.put, refusals, |member| item.holders.contains(&member));
                out.push(BatchOutput::Request(BatchRequest::Fail(item.put, failed)));
            }
        }
    }

    fn items(&mut self) -> impl Iterator<Item = &mut PendingReceipt> {
        let signing = self.signing.values_mut().flat_map(ProposedBatch::items);
        self.waiting.iter_mut().chain(&mut self.below_quorum).chain(signing)
    }

    /// How long the first that waits does so, for others to come.
    fn gathering_time(&self, context: &BatchContext) -> Duration {
        match (self.signing.is_empty(), context.storing) {
            (true, 0) => Duration::ZERO,
            (true, _) => self.policy.linger,
            (false, _) => self.policy.wait,
        }
    }

    /// Has the votes verified that came, as soon as they may make up a quorum: together they cost little more than one. Who lied
    /// before is verified apart, or every lie would cost as much as all of them one by one.
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

    /// Closes what gathered into batches, if it is time.
    pub fn propose(&mut self, context: &BatchContext) -> Vec<BatchOutput> {
        let mut out = Vec::new();
        while self.signing.len() < self.policy.at_once {
            let is_full = self.waiting.len() >= self.policy.most;
            let is_due =
                self.waiting.front().is_some_and(|first| context.now >= first.since + self.gathering_time(context));
            if !(is_full || is_due) {
                break;
            }
            let (items, common) = self.gather();
            let receipts: Vec<Receipt> = items.iter().map(|item| item.receipt).collect();
            let Some(content) = statement::Batch::new(context.unix_now, receipts.clone()) else { break };
            let tally = Tally::new(self.committee.record(), content.body());
            let batch = self.numbers.next();
            let proposal = Arc::new(Message::Propose { stream: batch, issued_at: context.unix_now, receipts });
            let members = common.iter().copied().collect();
            out.push(BatchOutput::Request(BatchRequest::Propose { members, proposal: proposal.clone() }));
            self.signing.insert(batch, ProposedBatch::new(items, (content, tally), proposal, &common, context.now));
        }
        out
    }

    /// Takes the first that waits, and those after it that share a quorum of holders with all taken before.
    fn gather(&mut self) -> (Vec<PendingReceipt>, BTreeSet<u16>) {
        let quorum = self.quorum();
        let mut taken: Vec<PendingReceipt> = Vec::new();
        let mut common = BTreeSet::new();
        let mut left = VecDeque::new();
        while let Some(item) = self.waiting.pop_front() {
            if taken.is_empty() {
                common.clone_from(&item.holders);
            } else if item.holders != common {
                let shared: BTreeSet<u16> = common.intersection(&item.holders).copied().collect();
                if shared.len() < quorum {
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
        (taken, common)
    }
}

/// These had not voted when the batch ended.
fn note_late(batch: Stream, silent: impl Iterator<Item = u16>, out: &mut Vec<BatchOutput>) {
    out.extend(silent.map(|member| BatchOutput::Observed { batch, member, observed: Observed::VotedTooLate }));
}

/// Which receipts of a batch a refusal is about; `None` for all of them.
fn refused_receipts(failed: &Failed, count: usize) -> Option<BTreeSet<usize>> {
    let about_receipts = matches!(failed.code, Code::NotHeld | Code::Expired);
    let subjects: BTreeSet<usize> =
        failed.subjects.iter().map(|subject| usize::from(*subject)).filter(|subject| *subject < count).collect();
    (about_receipts && !subjects.is_empty()).then_some(subjects)
}
