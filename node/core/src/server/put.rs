//! One put as the server sees it: who takes part, who stored, and when to go on without the rest.
//!
//! A state machine without IO: inputs are messages and ticks; outputs are what to send. It ends its own work at "a quorum
//! stored": [`Batches`](super::batch::Batches) certify it. The server decides nothing that a verifier must believe: a wrong
//! certificate is caught by every client.

mod events;
mod failures;
mod offset;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::message::{Code, Failed, Stage, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::session::progress::{SERVER_STORES, SERVER_VOTES};

use vouch_core::bugs::{self, Bug};

use super::grace_period::GracePeriod;
pub use events::{PutInput, PutOutput};
pub use failures::{too_few, too_late, why_too_few};

/// The least bytes a second at which a member reads what it holds; it has so much longer to answer an offer.
pub const READING_RATE: u64 = 32 << 20;

/// How long each phase may take before the put fails.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From an offer until a quorum said from where it needs bytes, the reading of large blobs not counted, and from the last byte until a quorum stored.
    pub storing: Duration,
    /// From the proposal until a quorum voted.
    pub voting: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        // clients wait longer than that, by the same constants
        Self { storing: SERVER_STORES, voting: SERVER_VOTES }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Participation {
    Receiving,
    Stored,
    Out(Option<Failed>),
}

#[derive(Debug)]
enum PutPhase {
    /// Not passed on yet.
    New,
    /// The members say from where they need bytes.
    Opening {
        answers: BTreeMap<u16, u64>,
        grace: GracePeriod,
    },
    Receiving,
    Storing {
        receipt: Receipt,
        grace: GracePeriod,
    },
    Certifying {
        grace: GracePeriod,
    },
    Over,
}

/// One put.
#[derive(Debug)]
pub struct ServerPut {
    committee: Arc<Committee>,
    stream: Stream,
    offer: Option<Receipt>,
    /// Where the client's bytes begin, and how far they got.
    from: u64,
    received: u64,
    parts: BTreeMap<u16, Participation>,
    /// Members that said they had bytes and then did not store; what they say now leaves nobody out.
    doubted: BTreeSet<u16>,
    /// Members that were not sent the first bytes, because they said that they had them.
    skipped_prefix: BTreeSet<u16>,
    phase: PutPhase,
    /// What was certified before and is reused, if a quorum holds the blob now.
    earlier: Option<Box<Certificate>>,
    /// The client may send. Before, and where the put came in one message, it hears of nothing but the end.
    is_told: bool,
    deadlines: Deadlines,
}

impl ServerPut {
    /// A put with the members that are connected; those left out take no part from the beginning. `stream` is the server's number
    /// for it.
    pub fn new(
        committee: Arc<Committee>,
        stream: Stream,
        members: impl IntoIterator<Item = u16>,
        left_out: impl IntoIterator<Item = u16>,
        offer: Option<Receipt>,
        deadlines: Deadlines,
    ) -> Self {
        let left_out = left_out.into_iter().map(|member| (member, Participation::Out(None)));
        let parts = members.into_iter().map(|member| (member, Participation::Receiving)).chain(left_out).collect();
        let (phase, from, received) = (PutPhase::New, 0, 0);
        let (doubted, skipped_prefix) = (BTreeSet::new(), BTreeSet::new());
        Self {
            committee,
            stream,
            offer,
            from,
            received,
            parts,
            doubted,
            skipped_prefix,
            phase,
            earlier: None,
            is_told: false,
            deadlines,
        }
    }

    /// These said more than they held, lately.
    #[must_use]
    pub fn doubting(mut self, doubted: BTreeSet<u16>) -> Self {
        self.doubted = doubted;
        self
    }

    /// A certificate of an earlier put will do, if a quorum says that it holds what is offered.
    #[must_use]
    pub fn or_earlier(mut self, certificate: Option<Box<Certificate>>) -> Self {
        self.earlier = certificate;
        self
    }

    /// The members that still take part.
    pub fn members(&self) -> impl Iterator<Item = u16> {
        self.parts.iter().filter(|(_, part)| !matches!(part, Participation::Out(_))).map(|(member, _)| *member)
    }

    /// Whose members they are.
    pub fn committee(&self) -> &CommitteeRecord {
        self.committee.record()
    }

    /// Whether it was said before what the bytes are, so that each chunk is proved.
    pub fn is_offered(&self) -> bool {
        self.offer.is_some()
    }

    /// Whether the client still owes bytes.
    pub fn is_receiving(&self) -> bool {
        matches!(self.phase, PutPhase::Receiving)
    }

    /// Whether the batcher does not know of it yet.
    pub fn is_before_certifying(&self) -> bool {
        !matches!(self.phase, PutPhase::Certifying { .. } | PutPhase::Over)
    }

    /// Whether members are storing it, so that it is about to be certified.
    pub fn is_storing(&self) -> bool {
        matches!(self.phase, PutPhase::Storing { .. })
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, PutPhase::Over)
    }

    /// Until when members that have not stored yet would do so in time, if there are any.
    pub fn overtaken_until(&self) -> Option<Duration> {
        let PutPhase::Certifying { grace } = &self.phase else { return None };
        self.parts.values().any(|part| *part == Participation::Receiving).then(|| grace.until()).flatten()
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    fn in_stage(&self, stage: &Participation) -> impl Iterator<Item = u16> {
        self.parts.iter().filter(move |(_, part)| *part == stage).map(|(member, _)| *member)
    }

    /// Takes one input; `now` is monotonic. Members that are not awaited were late before: once a quorum answered or stored, the
    /// put goes on without them.
    pub fn handle(&mut self, input: PutInput, now: Duration, not_awaited: &BTreeSet<u16>) -> Vec<PutOutput> {
        let mut out = Vec::new();
        match input {
            PutInput::Begun => self.begun(now, &mut out),
            PutInput::Ready(member, offset) => self.ready(member, offset, &mut out),
            PutInput::Chunk { offset, length } => self.chunk(offset, length, &mut out),
            PutInput::End(receipt) => self.end(receipt, now, &mut out),
            PutInput::Whole(receipt, length) => self.whole(receipt, length, now, &mut out),
            PutInput::Stored(member) => self.stored(member, now, not_awaited, &mut out),
            PutInput::Failed(member, failed) => self.drop_member(member, Some(failed), &mut out),
            PutInput::Lost(member) => self.drop_member(member, None, &mut out),
            PutInput::Certified(certificate) => self.certified(certificate, &mut out),
            PutInput::Uncertified(mut failed) => {
                self.doubt(|member, _| failed.subjects.contains(&member), &mut out);
                failed.stream = self.stream;
                self.fail(failed, &mut out);
            }
            PutInput::Tick => {}
        }
        self.go_on(now, not_awaited, &mut out);
        if !self.is_told {
            out.retain(|output| !matches!(output, PutOutput::Progress(..)));
        }
        out
    }

    fn begun(&mut self, now: Duration, out: &mut Vec<PutOutput>) {
        match self.offer {
            Some(_) => self.phase = PutPhase::Opening { answers: BTreeMap::new(), grace: GracePeriod::new(now) },
            // nobody knows what it will be
            None => self.receive_from(0, out),
        }
    }

    /// A member needs the bytes from this offset on, by its word: what it holds already shows when it votes.
    fn ready(&mut self, member: u16, offset: u64, out: &mut Vec<PutOutput>) {
        let Some(offer) = self.offer else { return };
        if self.parts.get(&member) != Some(&Participation::Receiving) {
            return;
        }
        if !offset::is_possible(offset, offer.length) {
            let detail = format!("expected the end of a block, or of the {} bytes, got {offset}", offer.length);
            return self.leave_out(member, Code::Unexpected, detail, out);
        }
        match &mut self.phase {
            PutPhase::Opening { answers, .. } => {
                answers.entry(member).or_insert(offset);
            }
            _ if offset < self.from => self.lacks_bytes(member, offset, self.from, out),
            _ => {}
        }
    }

    fn leave_out(&mut self, member: u16, code: Code, why: String, out: &mut Vec<PutOutput>) {
        // only what a member did wrong counts as its refusal of the put
        let failed = (code == Code::Unexpected).then(|| Failed::new(self.stream, code, why.clone()));
        self.drop_member(member, failed, out);
        out.push(PutOutput::LeaveOut(member, code, why));
    }

    /// It lacks bytes that the client does not send any more.
    fn lacks_bytes(&mut self, member: u16, has: u64, from: u64, out: &mut Vec<PutOutput>) {
        let why = format!("has {has} bytes of a blob of which a put sends those from {from} on; repair fetches it");
        self.leave_out(member, Code::NotHeld, why, out);
    }

    /// Has the client send the bytes from this offset on.
    fn receive_from(&mut self, offset: u64, out: &mut Vec<PutOutput>) {
        self.phase = PutPhase::Receiving;
        (self.from, self.received) = (offset, offset);
        self.is_told = true;
        out.push(PutOutput::Ready(offset));
        let stage = |part: &Participation| {
            if matches!(part, Participation::Out(_)) { Stage::Dropped } else { Stage::Receiving }
        };
        out.extend(self.parts.iter().map(|(member, part)| PutOutput::Progress(*member, stage(part))));
    }

    fn chunk(&mut self, offset: u64, length: u64, out: &mut Vec<PutOutput>) {
        if !self.is_receiving() {
            let detail = format!("expected no bytes before the put is ready or after their end, got those at {offset}");
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        if offset != self.received {
            let detail = format!("expected the bytes at {}, got those at {offset}", self.received);
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        self.received += length;
        match self.offer {
            Some(offer) if self.received > offer.length => {
                let detail = format!("expected {} bytes as offered, got {} or more", offer.length, self.received);
                self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
            }
            _ => out.push(PutOutput::Forward),
        }
    }

    fn end(&mut self, receipt: Receipt, now: Duration, out: &mut Vec<PutOutput>) {
        if !self.is_receiving() {
            return self.fail(
                Failed::new(self.stream, Code::Unexpected, "the end of the bytes before the put is ready, or twice"),
                out,
            );
        }
        if self.offer.is_some_and(|offer| offer != receipt) {
            let detail = "the receipt at the end is not the offered one";
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        if self.store(receipt, now, out) {
            out.push(PutOutput::ForwardEnd(receipt));
        }
    }

    fn whole(&mut self, receipt: Receipt, length: u64, now: Duration, out: &mut Vec<PutOutput>) {
        self.received = length;
        if self.store(receipt, now, out) {
            out.push(PutOutput::Forward);
        }
    }

    fn store(&mut self, receipt: Receipt, now: Duration, out: &mut Vec<PutOutput>) -> bool {
        if receipt.length != self.received {
            let detail = format!("expected {} bytes as declared, got {}", receipt.length, self.received);
            self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
            return false;
        }
        self.phase = PutPhase::Storing { receipt, grace: GracePeriod::new(now) };
        true
    }

    fn stored(&mut self, member: u16, now: Duration, not_awaited: &BTreeSet<u16>, out: &mut Vec<PutOutput>) {
        match self.parts.get_mut(&member) {
            Some(part) if *part == Participation::Receiving => *part = Participation::Stored,
            _ => return,
        }
        let is_in_time = match &self.phase {
            // it cannot have seen the end of the bytes yet: whatever it says, it has not shown that it is quick
            PutPhase::New | PutPhase::Opening { .. } | PutPhase::Receiving | PutPhase::Over => false,
            PutPhase::Storing { grace, .. } => grace.is_in_time(now),
            PutPhase::Certifying { grace } => {
                out.push(PutOutput::AlsoHeld(member));
                grace.is_in_time(now)
            }
        };
        if is_in_time && not_awaited.contains(&member) {
            out.push(PutOutput::InTime(member));
        }
        out.push(PutOutput::Progress(member, Stage::Stored));
    }

    fn drop_member(&mut self, member: u16, failed: Option<Failed>, out: &mut Vec<PutOutput>) {
        match self.parts.get_mut(&member) {
            None | Some(Participation::Out(_)) => {}
            // the batcher knows of it, and decides
            Some(Participation::Stored) if matches!(self.phase, PutPhase::Certifying { .. }) => {}
            Some(part) => {
                *part = Participation::Out(failed);
                if matches!(self.phase, PutPhase::Certifying { .. }) {
                    out.push(PutOutput::NeverHeld(member));
                }
                out.push(PutOutput::Progress(member, Stage::Dropped));
            }
        }
    }

    fn certified(&mut self, certificate: Box<Certificate>, out: &mut Vec<PutOutput>) {
        if !matches!(self.phase, PutPhase::Certifying { .. }) {
            return;
        }
        for member in self.members() {
            let signed = certificate.signers.contains(member);
            out.push(PutOutput::Progress(member, if signed { Stage::Voted } else { Stage::Dropped }));
        }
        out.push(PutOutput::Certified(certificate));
        self.phase = PutPhase::Over;
    }

    /// Moves to the next phase when its time has come, and fails when it cannot come any more.
    fn go_on(&mut self, now: Duration, not_awaited: &BTreeSet<u16>, out: &mut Vec<PutOutput>) {
        let quorum = self.quorum();
        if self.is_before_certifying() && self.members().count() < quorum {
            let failed = self.why_too_few();
            self.doubt(|_, part| matches!(part, Participation::Out(_)), out);
            return self.fail(failed, out);
        }
        self.open(quorum, now, not_awaited, out);
        let stored: BTreeSet<u16> = self.in_stage(&Participation::Stored).collect();
        let awaited = self.in_stage(&Participation::Receiving).filter(|member| !not_awaited.contains(member)).count();
        let PutPhase::Storing { receipt, grace } = &mut self.phase else { return };
        if grace.is_over(stored.len(), quorum, awaited, now) {
            let (receipt, grace) = (*receipt, *grace);
            let candidates: BTreeSet<u16> = self.in_stage(&Participation::Receiving).collect();
            out.extend(candidates.difference(not_awaited).map(|late| PutOutput::Late(*late)));
            out.push(PutOutput::Submit { receipt, holders: stored, candidates });
            self.phase = PutPhase::Certifying { grace };
        } else if stored.len() < quorum && now > grace.since() + self.deadlines.storing {
            let late: Vec<u16> = self.in_stage(&Participation::Receiving).collect();
            let failed = too_late(&self.committee, self.stream, "store", late);
            self.doubt(|_, part| *part != Participation::Stored, out);
            self.fail(failed, out);
        }
    }

    /// Once a quorum has said from where it needs bytes, and the rest has or is late, says from where they come.
    fn open(&mut self, quorum: usize, now: Duration, not_awaited: &BTreeSet<u16>, out: &mut Vec<PutOutput>) {
        let live: BTreeSet<u16> = self.in_stage(&Participation::Receiving).collect();
        let length = self.offer.map(|offer| offer.length);
        // a member that holds the blob reads it before it says so
        let reading = Duration::from_secs(length.unwrap_or_default() / READING_RATE);
        let PutPhase::Opening { answers, grace } = &mut self.phase else { return };
        answers.retain(|member, _| live.contains(member));
        // whoever needs no byte has just looked at those that it has; of an empty blob, nobody needs any
        let holders = answers.values().filter(|offset| **offset > 0 && Some(**offset) == length).count();
        if (holders >= quorum || bugs::has(Bug::EarlierWithoutHolders))
            && let Some(certificate) = self.earlier.take()
        {
            out.push(PutOutput::Cancel);
            out.push(PutOutput::Certified(certificate));
            self.phase = PutPhase::Over;
            return;
        }
        let silent: Vec<u16> = live.iter().filter(|member| !answers.contains_key(*member)).copied().collect();
        let awaited = silent.iter().filter(|member| !not_awaited.contains(*member)).count();
        if grace.is_over(answers.len(), quorum, awaited, now) {
            let Some(offset) = offset::choose(answers, &self.doubted, quorum) else { return };
            let (behind, ahead): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, from)| **from < offset);
            let behind: Vec<(u16, u64)> = behind.into_iter().map(|(member, has)| (*member, *has)).collect();
            if offset > 0 {
                self.skipped_prefix = ahead.into_iter().map(|(member, _)| *member).collect();
            }
            for (member, has) in behind {
                self.lacks_bytes(member, has, offset, out);
            }
            out.retain(|output| !matches!(output, PutOutput::Progress(..)));
            self.receive_from(offset, out);
        } else if answers.len() < quorum && now > grace.since() + self.deadlines.storing + reading {
            let failed = too_late(&self.committee, self.stream, "answer", silent);
            self.fail(failed, out);
        }
    }

    /// The put fails for want of a quorum, and these are to blame: where they were skipped_prefix bytes, the next one had better send them.
    fn doubt(&self, is_to_blame: impl Fn(u16, &Participation) -> bool, out: &mut Vec<PutOutput>) {
        let blamed = self
            .parts
            .iter()
            .filter(|(member, part)| self.skipped_prefix.contains(member) && is_to_blame(**member, part));
        out.extend(blamed.map(|(member, _)| PutOutput::Doubt(*member)));
    }

    /// Fewer than a quorum are left: because replicas are gone, or because more than f of them refused for one reason.
    fn why_too_few(&self) -> Failed {
        let refusals = self.parts.iter().filter_map(|(member, part)| match part {
            Participation::Out(Some(failed)) => Some((*member, failed)),
            _ => None,
        });
        let live: Vec<u16> = self.members().collect();
        why_too_few(&self.committee, self.stream, refusals, |member| live.contains(&member))
    }

    fn fail(&mut self, failed: Failed, out: &mut Vec<PutOutput>) {
        if !self.is_over() {
            out.push(PutOutput::Cancel);
            out.push(PutOutput::Fail(failed));
            self.phase = PutPhase::Over;
        }
    }
}
