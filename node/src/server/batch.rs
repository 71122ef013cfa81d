//! Which stored blobs are certified together, whose votes are asked for, and what becomes of a batch that somebody refuses.
//!
//! A state machine without IO, one for the whole server. A blob alone waits for nobody; under load blobs gather while the batch
//! before them is signed. A batch goes only to members that hold all of it, so one bad receipt, or one member that lies about
//! one, costs its neighbours another round and nothing else.

mod signing;
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
use vouch_core::statement::{self, Stored};
use vouch_core::tally::{Ballot, Tally, VerifiedVote, VoteError};

use super::health::{Ended, Observed};
use super::put::{too_late, why_too_few};
use signing::Signing;

/// Closed batches remembered, for judging votes that come later.
const ENDED_BATCHES: usize = 64;

/// How blobs gather.
#[derive(Debug, Clone, Copy)]
pub struct Gathering {
    /// The most receipts in a batch, at most 4096.
    pub most: usize,
    /// Where nothing is being signed but other puts are being stored, the first waits so long for them.
    pub linger: Duration,
    /// While a batch is being signed, the next one waits for it no longer than this.
    pub wait: Duration,
    /// Batches signed at once.
    pub at_once: usize,
}

impl Default for Gathering {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self { most: MAX_BATCH as usize, linger: ms(2), wait: ms(8), at_once: 4 }
    }
}

/// What happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A quorum stored a put's blob; the candidates may store it yet.
    Submit { put: Stream, receipt: Receipt, holders: BTreeSet<u16>, candidates: BTreeSet<u16> },
    /// One more member stored it.
    AlsoHeld { put: Stream, member: u16 },
    /// A candidate will not store it.
    NeverHeld { put: Stream, member: u16 },
    /// Nobody waits for the put any more.
    Withdraw(Stream),
    /// A member's vote on a batch, not verified.
    Vote { batch: Stream, member: u16, signature: VoteSignature },
    /// What became of a [`Output::Verify`].
    Verified { batch: Stream, votes: Vec<(u16, Result<VerifiedVote<Stored>, VoteError>)> },
    /// A member refused a batch.
    Refused { batch: Stream, member: u16, failed: Failed },
    /// A member is gone, or does not read.
    Lost(u16),
    /// Time passed, or something else changed.
    Tick,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Output {
    /// Ask these members for their votes.
    Propose { members: Vec<u16>, proposal: Arc<Message> },
    /// Verify a vote, then say [`Input::Verified`].
    Verify { batch: Stream, ballot: Ballot<Stored>, votes: Vec<(u16, VoteSignature)> },
    /// A quorum voted: make the certificates durable, hand them to the puts, in the receipts' order, and show these members.
    Certify {
        batch: Stream,
        receipts: Box<statement::Batch>,
        tally: Box<Tally<Stored>>,
        puts: Vec<Stream>,
        asked: Vec<u16>,
    },
    /// A put cannot be certified.
    Fail(Stream, Failed),
    /// A member voted on a batch in time, or had not voted when it ended.
    Observed { batch: Stream, member: u16, observed: Observed },
    /// A member's vote on a batch is not its own, or not of what was proposed.
    VotedFalsely { batch: Stream, member: u16 },
}

/// What an input depends on beside itself.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// Monotonic.
    pub(super) now: Duration,
    /// Seconds since 1970.
    pub(super) unix_now: u64,
    /// Puts that are being stored: about to come.
    pub(super) storing: usize,
    /// Members whose vote was late before: once a quorum voted, a batch ends without them.
    pub(super) not_awaited: BTreeSet<u16>,
    /// Members whose votes are verified apart, for they voted falsely before.
    pub(super) verified_apart: BTreeSet<u16>,
}

/// One put's receipt on its way to a certificate.
#[derive(Debug)]
struct Item {
    put: Stream,
    receipt: Receipt,
    holders: BTreeSet<u16>,
    candidates: BTreeSet<u16>,
    refusals: Vec<(u16, Failed)>,
    since: Duration,
}

impl Item {
    /// One more member holds it; `false` when that is known.
    fn hold(&mut self, member: u16) -> bool {
        self.candidates.remove(&member);
        self.holders.insert(member)
    }
}

/// All batches of a server.
pub(super) struct Batches {
    committee: Arc<Committee>,
    gathering: Gathering,
    /// From the proposal until a quorum voted.
    voting: Duration,
    streams: Box<dyn FnMut() -> Stream + Send>,
    waiting: VecDeque<Item>,
    /// Refused, so that fewer than a quorum of holders are left; others may become holders yet.
    starved: Vec<Item>,
    signing: BTreeMap<Stream, Signing>,
    /// Closed batches.
    closed: Ended,
}

impl Batches {
    /// `voting`: how long a quorum may take to vote. `streams` gives the batches their numbers, other than those of puts.
    pub(super) fn new(
        committee: Arc<Committee>,
        gathering: Gathering,
        voting: Duration,
        streams: impl FnMut() -> Stream + Send + 'static,
    ) -> Self {
        Self {
            committee,
            gathering,
            voting,
            streams: Box::new(streams),
            waiting: VecDeque::new(),
            starved: Vec::new(),
            signing: BTreeMap::new(),
            closed: Ended::new(ENDED_BATCHES),
        }
    }

    /// When to come back with [`Input::Tick`] if nothing else happens; `None` when there is nothing to do.
    pub(super) fn next_tick(&self, moment: &Moment) -> Option<Duration> {
        let gathered = self.waiting.front().map(|first| first.since + self.patience(moment));
        let signed = self.signing.values().map(|signing| signing.next_tick(self.voting));
        // at the limit of batches at once, the end of one of them is what is waited for
        let gathered = gathered.filter(|_| self.signing.len() < self.gathering.at_once);
        let starved = self.starved.iter().map(|item| item.since + self.voting + Duration::from_millis(1));
        gathered.into_iter().chain(signed).chain(starved).min()
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    /// Takes one input. Nothing is proposed yet: [`propose`](Self::propose) comes when there is no further input at hand.
    pub(super) fn handle(&mut self, input: Input, moment: &Moment) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Submit { put, receipt, holders, candidates } => {
                let refusals = Vec::new();
                let item = Item { put, receipt, holders, candidates, refusals, since: moment.now };
                self.waiting.push_back(item);
            }
            Input::AlsoHeld { put, member } => self.also_held(put, member, &mut out),
            Input::NeverHeld { put, member } => {
                for item in self.items().filter(|item| item.put == put) {
                    item.candidates.remove(&member);
                }
            }
            Input::Withdraw(put) => {
                self.waiting.retain(|item| item.put != put);
                self.starved.retain(|item| item.put != put);
            }
            Input::Vote { batch, member, signature } => self.vote(batch, member, signature, moment, &mut out),
            Input::Verified { batch, votes } => {
                for (member, vote) in votes {
                    if matches!(vote, Err(VoteError::Invalid { .. })) {
                        out.push(Output::VotedFalsely { batch, member });
                    }
                    if let Some(signing) = self.signing.get_mut(&batch) {
                        signing.verified(member, vote);
                    }
                }
            }
            Input::Refused { batch, member, failed } => {
                if let Some(signing) = self.signing.get_mut(&batch) {
                    signing.refused(member, failed);
                }
            }
            Input::Lost(member) => {
                self.signing.values_mut().for_each(|signing| signing.lost(member));
                for item in self.items() {
                    item.candidates.remove(&member);
                }
            }
            Input::Tick => {}
        }
        self.close(moment, &mut out);
        self.feed_the_starved(moment.now, &mut out);
        out
    }

    fn also_held(&mut self, put: Stream, member: u16, out: &mut Vec<Output>) {
        let mut unasked = self.waiting.iter_mut().chain(&mut self.starved);
        if let Some(item) = unasked.find(|item| item.put == put) {
            item.hold(member);
            return;
        }
        for signing in self.signing.values_mut() {
            if signing.also_held(put, member) {
                out.push(Output::Propose { members: vec![member], proposal: signing.proposal().clone() });
            }
        }
    }

    fn vote(&mut self, batch: Stream, member: u16, signature: VoteSignature, moment: &Moment, out: &mut Vec<Output>) {
        let now = moment.now;
        let is_in_time = match self.signing.get_mut(&batch) {
            Some(signing) => {
                let is_first = signing.came(member, signature);
                is_first && signing.is_in_time(now)
            }
            None => self.closed.is_in_time(batch, now),
        };
        if is_in_time && moment.not_awaited.contains(&member) {
            out.push(Output::Observed { batch, member, observed: Observed::VotedInTime });
        }
    }

    /// Ends the batches whose time has come: with certificates, or with another try for what is left of them.
    fn close(&mut self, moment: &Moment, out: &mut Vec<Output>) {
        let (quorum, now) = (self.quorum(), moment.now);
        let due = self.signing.iter_mut().filter_map(|(batch, signing)| {
            let is_due = signing.is_certified(quorum, &moment.not_awaited, now)
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
                    out.push(Output::Fail(item.put, too_late(&self.committee, item.put, "vote", silent.clone())));
                }
            }
        }
    }

    /// Whatever still has a quorum of holders who did not refuse it waits for the next batch, before everybody else.
    fn try_again(&mut self, signing: Signing) {
        let quorum = self.quorum();
        for item in signing.into_items().into_iter().rev() {
            if item.holders.len() >= quorum {
                self.waiting.push_front(item);
            } else {
                self.starved.push(item);
            }
        }
    }

    /// What was refused goes on when others stored it as well, and fails when they cannot make up a quorum any more.
    fn feed_the_starved(&mut self, now: Duration, out: &mut Vec<Output>) {
        let quorum = self.quorum();
        for item in std::mem::take(&mut self.starved) {
            if item.holders.len() >= quorum {
                self.waiting.push_front(item);
            } else if item.holders.len() + item.candidates.len() >= quorum && now <= item.since + self.voting {
                self.starved.push(item);
            } else {
                let refusals = item.refusals.iter().map(|(member, failed)| (*member, failed));
                let failed = why_too_few(&self.committee, item.put, refusals, |member| item.holders.contains(&member));
                out.push(Output::Fail(item.put, failed));
            }
        }
    }

    fn items(&mut self) -> impl Iterator<Item = &mut Item> {
        let signing = self.signing.values_mut().flat_map(Signing::items);
        self.waiting.iter_mut().chain(&mut self.starved).chain(signing)
    }

    /// How long the first that waits does so.
    fn patience(&self, moment: &Moment) -> Duration {
        match (self.signing.is_empty(), moment.storing) {
            (true, 0) => Duration::ZERO,
            (true, _) => self.gathering.linger,
            (false, _) => self.gathering.wait,
        }
    }

    /// Has the votes verified that came, as soon as they may make up a quorum: together they cost little more than one. Who lied
    /// before is verified apart, or every lie would cost as much as all of them one by one.
    pub(super) fn verify(&mut self, moment: &Moment) -> Vec<Output> {
        let quorum = self.quorum();
        let mut out = Vec::new();
        for (batch, signing) in &mut self.signing {
            let (apart, together): (Vec<_>, Vec<_>) = signing
                .begin_verifying(quorum)
                .into_iter()
                .partition(|(member, _)| moment.verified_apart.contains(member));
            let groups = apart.into_iter().map(|vote| vec![vote]).chain([together]);
            let ballot = signing.ballot();
            out.extend(groups.filter(|votes| !votes.is_empty()).map(|votes| Output::Verify {
                batch: *batch,
                ballot: ballot.clone(),
                votes,
            }));
        }
        out
    }

    /// Closes what gathered into batches, if it is time.
    pub(super) fn propose(&mut self, moment: &Moment) -> Vec<Output> {
        let mut out = Vec::new();
        while self.signing.len() < self.gathering.at_once {
            let is_full = self.waiting.len() >= self.gathering.most;
            let is_due = self.waiting.front().is_some_and(|first| moment.now >= first.since + self.patience(moment));
            if !(is_full || is_due) {
                break;
            }
            let (items, common) = self.gather();
            let receipts: Vec<Receipt> = items.iter().map(|item| item.receipt).collect();
            let Some(content) = statement::Batch::new(moment.unix_now, receipts.clone()) else { break };
            let tally = Tally::new(self.committee.record(), content.body());
            let batch = (self.streams)();
            let proposal = Arc::new(Message::Propose { stream: batch, issued_at: moment.unix_now, receipts });
            out.push(Output::Propose { members: common.iter().copied().collect(), proposal: proposal.clone() });
            self.signing.insert(batch, Signing::new(items, (content, tally), proposal, &common, moment.now));
        }
        out
    }

    /// Takes the first that waits, and those after it that share a quorum of holders with all taken before.
    fn gather(&mut self) -> (Vec<Item>, BTreeSet<u16>) {
        let quorum = self.quorum();
        let mut taken: Vec<Item> = Vec::new();
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
            if taken.len() >= self.gathering.most {
                break;
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        (taken, common)
    }
}

/// These had not voted when the batch ended.
fn note_late(batch: Stream, silent: impl Iterator<Item = u16>, out: &mut Vec<Output>) {
    out.extend(silent.map(|member| Output::Observed { batch, member, observed: Observed::VotedTooLate }));
}

/// Which receipts of a batch a refusal is about; `None` for all of them.
fn refused_receipts(failed: &Failed, count: usize) -> Option<BTreeSet<usize>> {
    let about_receipts = matches!(failed.code, Code::NotHeld | Code::Expired);
    let subjects: BTreeSet<usize> =
        failed.subjects.iter().map(|subject| usize::from(*subject)).filter(|subject| *subject < count).collect();
    (about_receipts && !subjects.is_empty()).then_some(subjects)
}
