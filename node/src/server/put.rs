//! One put as the server sees it: who takes part, who stored, who voted, and when to go on without the rest.
//!
//! A state machine without IO: inputs are messages, disk completions and ticks; outputs are what to send and save. The server
//! decides nothing that a verifier must believe: a wrong certificate is caught by every client.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::bls::VoteSignature;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stage, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::tally::Tally;

/// Once a quorum is safe, the others get half as long again as the quorum took, within these bounds.
const LEAST_GRACE: Duration = Duration::from_millis(50);
const MOST_GRACE: Duration = Duration::from_secs(2);

/// How long each phase may take before the put fails.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the last byte until a quorum stored.
    pub storing: Duration,
    /// From the proposal until a quorum voted.
    pub voting: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { storing: Duration::from_secs(60), voting: Duration::from_secs(20) }
    }
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The client sent bytes.
    Chunk {
        /// Where they belong.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The client declared the end.
    End(Receipt),
    /// A member holds the blob durably.
    Stored(u16),
    /// A member gave up.
    Failed(u16, Failed),
    /// A member is gone, or was too slow to receive.
    Lost(u16),
    /// A member's vote.
    Vote(u16, VoteSignature),
    /// The certificate is durable here.
    Saved,
    /// It could not be made durable.
    NotSaved(String),
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug)]
pub enum Output {
    /// Pass the bytes on to the members that take part.
    Forward,
    /// Pass the end on.
    ForwardEnd(Receipt),
    /// Tell the client how far a member is.
    Progress(u16, Stage),
    /// Ask these members for their votes.
    Propose(Vec<u16>, Message),
    /// Tell the members that the put is off.
    Cancel,
    /// Make the certificate durable, then say [`Input::Saved`].
    Save(Certificate),
    /// Done: hand the certificate out.
    Certified(Certificate),
    /// Over.
    Fail(Failed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Receiving,
    Stored,
    Voted,
    Out(Option<Failed>),
}

#[derive(Debug)]
enum Phase {
    Receiving,
    Storing { receipt: Receipt, since: Duration, enough_at: Option<Duration> },
    Voting { tally: Box<Tally>, since: Duration, enough_at: Option<Duration> },
    Saving(Box<Certificate>),
    Over,
}

/// One put.
#[derive(Debug)]
pub struct Put {
    committee: Arc<Committee>,
    stream: Stream,
    offer: Option<Receipt>,
    received: u64,
    parts: BTreeMap<u16, Part>,
    phase: Phase,
    deadlines: Deadlines,
}

impl Put {
    /// A put with the members that are connected. `stream` is the server's number for it, used in the proposal.
    pub fn new(
        committee: Arc<Committee>,
        stream: Stream,
        members: impl IntoIterator<Item = u16>,
        offer: Option<Receipt>,
        deadlines: Deadlines,
    ) -> Self {
        let parts = members.into_iter().map(|member| (member, Part::Receiving)).collect();
        Self { committee, stream, offer, received: 0, parts, phase: Phase::Receiving, deadlines }
    }

    /// The members that still take part.
    pub fn members(&self) -> impl Iterator<Item = u16> {
        self.parts.iter().filter(|(_, part)| !matches!(part, Part::Out(_))).map(|(member, _)| *member)
    }

    /// Whether the client still owes bytes.
    pub fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Receiving)
    }

    /// Whether nothing more will come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    fn in_stage(&self, stage: &Part) -> Vec<u16> {
        self.parts.iter().filter(|(_, part)| *part == stage).map(|(member, _)| *member).collect()
    }

    /// Takes one input. `unix_now` in seconds since 1970, `now` monotonic.
    pub fn handle(&mut self, input: Input, now: Duration, unix_now: u64) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Chunk { offset, length } => self.chunk(offset, length, &mut out),
            Input::End(receipt) => self.end(receipt, now, &mut out),
            Input::Stored(member) => {
                if self.advance_member(member, &Part::Receiving, Part::Stored) {
                    out.push(Output::Progress(member, Stage::Stored));
                }
            }
            Input::Failed(member, failed) => self.drop_member(member, Some(failed), &mut out),
            Input::Lost(member) => self.drop_member(member, None, &mut out),
            Input::Vote(member, vote) => self.vote(member, vote, &mut out),
            Input::Saved => {
                if let Phase::Saving(certificate) = &self.phase {
                    out.push(Output::Certified((**certificate).clone()));
                    self.phase = Phase::Over;
                }
            }
            Input::NotSaved(reason) => {
                self.fail(Failed::new(self.stream, Code::Storage, reason), &mut out);
            }
            Input::Tick => {}
        }
        self.go_on(now, unix_now, &mut out);
        out
    }

    fn chunk(&mut self, offset: u64, length: u64, out: &mut Vec<Output>) {
        if !self.is_receiving() || offset != self.received {
            let detail = format!("expected the bytes at {}, got those at {offset}", self.received);
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        self.received += length;
        match self.offer {
            Some(offer) if self.received > offer.length => {
                let detail = format!("expected {} bytes as offered, got {} or more", offer.length, self.received);
                self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
            }
            _ => out.push(Output::Forward),
        }
    }

    fn end(&mut self, receipt: Receipt, now: Duration, out: &mut Vec<Output>) {
        if !self.is_receiving() {
            return self.fail(Failed::new(self.stream, Code::Unexpected, "a second end of the bytes"), out);
        }
        if self.offer.is_some_and(|offer| offer != receipt) {
            let detail = "the receipt at the end is not the offered one";
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        if receipt.length != self.received {
            let detail = format!("expected {} bytes as declared, got {}", receipt.length, self.received);
            return self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
        }
        self.phase = Phase::Storing { receipt, since: now, enough_at: None };
        out.push(Output::ForwardEnd(receipt));
    }

    fn advance_member(&mut self, member: u16, from: &Part, to: Part) -> bool {
        match self.parts.get_mut(&member) {
            Some(part) if part == from => {
                *part = to;
                true
            }
            _ => false,
        }
    }

    fn drop_member(&mut self, member: u16, failed: Option<Failed>, out: &mut Vec<Output>) {
        match self.parts.get_mut(&member) {
            // a vote that was verified counts, whatever became of its member
            None | Some(Part::Out(_) | Part::Voted) => {}
            Some(part) => {
                *part = Part::Out(failed);
                out.push(Output::Progress(member, Stage::Dropped));
            }
        }
    }

    fn vote(&mut self, member: u16, vote: VoteSignature, out: &mut Vec<Output>) {
        let Phase::Voting { tally, .. } = &mut self.phase else { return };
        if self.parts.get(&member) != Some(&Part::Stored) {
            return;
        }
        match tally.add(&self.committee, member, vote) {
            Ok(()) => {
                self.parts.insert(member, Part::Voted);
                out.push(Output::Progress(member, Stage::Voted));
            }
            Err(error) => {
                let failed = Failed::new(self.stream, Code::NotAuthenticated, error.to_string());
                self.drop_member(member, Some(failed), out);
            }
        }
    }

    /// Moves to the next phase when its time has come, and fails when it cannot come any more.
    fn go_on(&mut self, now: Duration, unix_now: u64, out: &mut Vec<Output>) {
        let live = self.members().count();
        if matches!(self.phase, Phase::Receiving | Phase::Storing { .. } | Phase::Voting { .. }) && live < self.quorum()
        {
            let failed = self.why_too_few();
            return self.fail(failed, out);
        }
        let (stored, voted) = (self.in_stage(&Part::Stored), self.in_stage(&Part::Voted));
        let quorum = self.quorum();
        match &mut self.phase {
            Phase::Storing { receipt, since, enough_at } => {
                let (receipt, since) = (*receipt, *since);
                if is_time(stored.len(), quorum, live, since, enough_at, now) {
                    self.propose(receipt, &stored, now, unix_now, out);
                } else if stored.len() < quorum && now > since + self.deadlines.storing {
                    self.late("store", out);
                }
            }
            Phase::Voting { tally, since, enough_at } => {
                let since = *since;
                if is_time(voted.len(), quorum, live, since, enough_at, now) {
                    match tally.certificates(&self.committee).map(|mut all| all.pop()) {
                        Ok(Some(certificate)) => {
                            out.push(Output::Save(certificate.clone()));
                            self.phase = Phase::Saving(Box::new(certificate));
                        }
                        Ok(None) => {}
                        Err(below) => {
                            self.fail(Failed::new(self.stream, Code::NotEnoughReplicas, below.to_string()), out);
                        }
                    }
                } else if voted.len() < quorum && now > since + self.deadlines.voting {
                    self.late("vote", out);
                }
            }
            Phase::Receiving | Phase::Saving(_) | Phase::Over => {}
        }
    }

    fn propose(&mut self, receipt: Receipt, stored: &[u16], now: Duration, unix_now: u64, out: &mut Vec<Output>) {
        // whoever has not stored by now is left out of this certificate
        for member in self.in_stage(&Part::Receiving) {
            self.drop_member(member, None, out);
        }
        let Some(tally) = Tally::new(&self.committee, unix_now, vec![receipt]) else { return };
        let proposal = Message::Propose { stream: self.stream, issued_at: unix_now, receipts: vec![receipt] };
        out.push(Output::Propose(stored.to_vec(), proposal));
        self.phase = Phase::Voting { tally: Box::new(tally), since: now, enough_at: None };
    }

    fn late(&mut self, what: &str, out: &mut Vec<Output>) {
        let waiting = if what == "store" { Part::Receiving } else { Part::Stored };
        let late = self.in_stage(&waiting);
        let detail = format!("{} of {} replicas did not {what} in time", late.len(), self.committee.record().n());
        self.fail(Failed::new(self.stream, Code::TimedOut, detail).with_subjects(late), out);
    }

    /// Fewer than a quorum are left: because replicas are gone, or because more than f of them refused for one reason.
    fn why_too_few(&self) -> Failed {
        let record = self.committee.record();
        let faults = usize::from(vouch_core::quorum::tolerated_faults(record.n()));
        let mut by_code: Vec<(Code, Vec<(u16, &Failed)>)> = Vec::new();
        for (member, part) in &self.parts {
            if let Part::Out(Some(failed)) = part {
                match by_code.iter_mut().find(|(code, _)| *code == failed.code) {
                    Some((_, refusals)) => refusals.push((*member, failed)),
                    None => by_code.push((failed.code, vec![(*member, failed)])),
                }
            }
        }
        if let Some((code, refusals)) = by_code.into_iter().max_by_key(|(_, refusals)| refusals.len())
            && refusals.len() > faults
        {
            let detail = refusals.first().map(|(_, failed)| failed.detail.clone()).unwrap_or_default();
            let members = refusals.iter().map(|(member, _)| *member).collect();
            return Failed::new(self.stream, code, detail).with_subjects(members);
        }
        let live: Vec<u16> = self.members().collect();
        too_few(&self.committee, self.stream, |member| live.contains(&member))
    }

    fn fail(&mut self, failed: Failed, out: &mut Vec<Output>) {
        if !self.is_over() {
            out.push(Output::Cancel);
            out.push(Output::Fail(failed));
            self.phase = Phase::Over;
        }
    }
}

/// The failure that names every member that is not there.
pub fn too_few(committee: &Committee, stream: Stream, is_there: impl Fn(u16) -> bool) -> Failed {
    let record = committee.record();
    let missing: Vec<u16> = (0..record.n()).filter(|member| !is_there(*member)).collect();
    let names: Vec<String> = missing.iter().map(|member| record.name(*member)).collect();
    let there = usize::from(record.n()) - missing.len();
    let (quorum, n) = (record.quorum(), record.n());
    let detail = format!("{quorum} of {n} replicas are needed, {there} are there; missing: {}", names.join(", "));
    Failed::new(stream, Code::NotEnoughReplicas, detail).with_subjects(missing)
}

/// A quorum is safe, and either everybody is or the others had their grace.
fn is_time(
    done: usize,
    quorum: usize,
    live: usize,
    since: Duration,
    enough_at: &mut Option<Duration>,
    now: Duration,
) -> bool {
    if done < quorum {
        return false;
    }
    let reached = *enough_at.get_or_insert(now);
    let grace = ((reached - since) / 2).clamp(LEAST_GRACE, MOST_GRACE);
    done == live || now >= reached + grace
}
