//! A put that was admitted: who takes part, who stored, and when to go on without the rest.
//!
//! Its own work ends when a quorum stored the blob: [`Batches`](crate::server::batch::Batches) certify it. It decides nothing that a
//! verifier must believe: every client notices a wrong certificate.

mod offset;
mod opening;
mod storing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Stage, Stream};
use vouch_core::receipt::Receipt;

use super::events::{Forwarded, PutAction, PutAnswer, PutContext, PutInput, PutOutput, PutRequest};
use super::failures::{expired, silent, too_late, why_too_few};
use super::{Deadlines, PutPolicy};
use crate::server::grace_period::GracePeriod;
use crate::server::health::{LinkId, Observed};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Participation {
    Receiving,
    Stored,
    Out(Option<Failed>),
}

#[derive(Debug)]
enum PutPhase {
    /// The members are not told of it yet.
    New,
    /// The members say from where they need bytes.
    Opening {
        answers: BTreeMap<u16, u64>,
        grace: GracePeriod,
    },
    /// The client sends.
    Receiving,
    /// The members have all the bytes and store them.
    Storing {
        receipt: Receipt,
        grace: GracePeriod,
    },
    /// A quorum stored, and an earlier certificate is looked for.
    Reusing {
        receipt: Receipt,
        grace: GracePeriod,
    },
    /// A quorum stored, and the batcher certifies.
    Certifying {
        grace: GracePeriod,
    },
    Over,
}

/// A put from its admission to its end.
#[derive(Debug)]
pub(super) struct RunningPut {
    committee: Arc<Committee>,
    stream: Stream,
    request: PutRequest,
    client_silence: Duration,
    deadlines: Deadlines,
    /// The links on which members take part. What a later link of a member says does not count: that link was asked nothing.
    links: BTreeMap<u16, LinkId>,
    parts: BTreeMap<u16, Participation>,
    phase: PutPhase,
    /// The certificate of an earlier put, which will do if a quorum holds the blob now.
    earlier: Option<Box<Certificate>>,
    /// Members that said they had bytes and then did not store; what they say now leaves nobody out.
    doubted: BTreeSet<u16>,
    /// Members that were not sent the first bytes, because they said that they had them.
    skipped_prefix: BTreeSet<u16>,
    /// The offset at which the client's bytes begin.
    from: u64,
    /// The offset at which they end so far.
    received: u64,
    /// The client may send. Before, and when the put came in one message, it is told of nothing but the end.
    is_told: bool,
    /// When the members last had the client's bytes, or the client was told to send.
    heard: Duration,
}

impl RunningPut {
    /// A put with these members; those left out take no part from the beginning.
    pub(super) fn new(
        committee: Arc<Committee>,
        stream: Stream,
        request: PutRequest,
        policy: &PutPolicy,
        links: BTreeMap<u16, LinkId>,
        left_out: BTreeSet<u16>,
        now: Duration,
    ) -> Self {
        let left_out = left_out.into_iter().map(|member| (member, Participation::Out(None)));
        let parts = links.keys().map(|member| (*member, Participation::Receiving)).chain(left_out).collect();
        Self {
            committee,
            stream,
            request,
            client_silence: policy.client_silence,
            deadlines: policy.deadlines,
            links,
            parts,
            phase: PutPhase::New,
            earlier: None,
            doubted: BTreeSet::new(),
            skipped_prefix: BTreeSet::new(),
            from: 0,
            received: 0,
            is_told: false,
            heard: now,
        }
    }

    /// Has the members told of it, once it is known whether there is an earlier certificate. That one is looked for only if the client
    /// sent no bytes yet: bytes that are here are stored first.
    pub(super) fn begin(&mut self, context: &PutContext, out: &mut Vec<PutOutput>) {
        out.push(PutAction::Open { members: self.links.keys().copied().collect(), quorum: self.quorum() }.into());
        match self.request {
            PutRequest { offer: Some(offer), renew: false, whole: None } => {
                out.push(PutAction::FindEarlier(offer).into());
            }
            _ => self.tell_members(context, out),
        }
    }

    fn tell_members(&mut self, context: &PutContext, out: &mut Vec<PutOutput>) {
        self.doubted = context.doubted.clone();
        match self.request {
            PutRequest { offer: Some(receipt), whole: Some(length), .. } => {
                self.received = length;
                if self.store(receipt, context.now, out) {
                    out.push(PutAction::ForwardBytes.into());
                }
            }
            PutRequest { offer, renew, .. } => out.push(PutAction::ForwardPut { offer, renew }.into()),
        }
    }

    /// The members that still take part.
    pub(super) fn members(&self) -> impl Iterator<Item = u16> {
        self.parts.iter().filter(|(_, part)| !matches!(part, Participation::Out(_))).map(|(member, _)| *member)
    }

    pub(super) fn is_offered(&self) -> bool {
        self.request.offer.is_some()
    }

    pub(super) fn is_receiving(&self) -> bool {
        matches!(self.phase, PutPhase::Receiving)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, PutPhase::Over)
    }

    /// Whether the batcher does not know of it yet.
    fn is_before_certifying(&self) -> bool {
        !matches!(self.phase, PutPhase::Certifying { .. } | PutPhase::Over)
    }

    fn quorum(&self) -> usize {
        self.committee.record().quorum().into()
    }

    fn in_stage(&self, stage: &Participation) -> impl Iterator<Item = u16> {
        self.parts.iter().filter(move |(_, part)| *part == stage).map(|(member, _)| *member)
    }

    pub(super) fn handle(&mut self, input: PutInput, context: &PutContext, out: &mut Vec<PutOutput>) {
        let now = context.now;
        match input {
            PutInput::Earlier(found) if matches!(self.phase, PutPhase::New) => {
                self.earlier = found;
                self.tell_members(context, out);
            }
            PutInput::Earlier(found) => self.reuse_or_submit(found, out),
            PutInput::Forwarded(Forwarded { gone, too_slow }) => self.forwarded(gone, too_slow, now, out),
            PutInput::Ready(member, offset) => self.ready(member, offset, out),
            PutInput::Chunk { offset, length } => self.chunk(offset, length, out),
            PutInput::End(receipt) => self.end(receipt, context, out),
            PutInput::Stored(member) => self.stored(member, context, out),
            PutInput::Failed(member, failed) => {
                out.push(PutAction::Drop(member).into());
                self.drop_member(member, Some(failed), out);
            }
            PutInput::Connected(connected) => self.drop_disconnected(&connected, out),
            PutInput::Certified(certificate) => self.certified(certificate, out),
            PutInput::Uncertified(mut failed) => {
                self.doubt(|member, _| failed.subjects.contains(&member), out);
                failed.stream = self.stream;
                self.fail(failed, out);
            }
            PutInput::TooSlow(detail) => self.end_early(Failed::new(self.stream, Code::TimedOut, detail), out),
            PutInput::PlaceTaken => self.end_early(super::failures::place_taken(self.stream), out),
            PutInput::GiveUp { keep } => self.give_up(keep, out),
            PutInput::Tick if self.is_receiving() && now.saturating_sub(self.heard) > self.client_silence => {
                self.end_early(silent(self.stream, self.client_silence), out);
            }
            PutInput::Tick
            | PutInput::Begin
            | PutInput::Claimed(_)
            | PutInput::Committee(_)
            | PutInput::Admission(_) => {}
        }
        self.go_on(context, out);
        if !self.is_told {
            out.retain(|output| !matches!(output, PutOutput::Answer(PutAnswer::Progress(..))));
        }
    }

    /// A message was queued for the members; after the first one they know of the put.
    fn forwarded(&mut self, gone: Vec<u16>, too_slow: Vec<u16>, now: Duration, out: &mut Vec<PutOutput>) {
        // the client's silence begins here: it was not read meanwhile
        self.heard = now;
        for member in &too_slow {
            self.observe(*member, Observed::TookBytesTooSlowly, out);
        }
        if matches!(self.phase, PutPhase::New) {
            self.begun(now, out);
        }
        for member in gone.into_iter().chain(too_slow) {
            self.drop_member(member, None, out);
        }
    }

    fn observe(&self, member: u16, observed: Observed, out: &mut Vec<PutOutput>) {
        if let Some(link) = self.links.get(&member) {
            out.push(PutAction::Observe { member, link: *link, observed }.into());
        }
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
        match self.request.offer {
            Some(offer) if self.received > offer.length => {
                let detail = format!("expected {} bytes as offered, got {} or more", offer.length, self.received);
                self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
            }
            _ => out.extend([PutAction::ForwardBytes.into(), PutAction::NoteProgress.into()]),
        }
    }

    fn end(&mut self, receipt: Receipt, context: &PutContext, out: &mut Vec<PutOutput>) {
        // every replica would refuse it, and with it the batch that it is in
        if receipt.is_expired(context.unix_seconds) {
            return self.end_early(expired(self.stream, &receipt), out);
        }
        if !self.is_receiving() {
            let detail = "the end of the bytes before the put is ready, or twice";
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        if self.request.offer.is_some_and(|offer| offer != receipt) {
            let detail = "the receipt at the end is not the offered one";
            return self.fail(Failed::new(self.stream, Code::Unexpected, detail), out);
        }
        if self.store(receipt, context.now, out) {
            out.push(PutAction::ForwardEnd(receipt).into());
        }
    }

    /// Drops members that are not connected by the link on which they take part.
    fn drop_disconnected(&mut self, connected: &BTreeMap<u16, LinkId>, out: &mut Vec<PutOutput>) {
        let is_gone = |(member, link): &(&u16, &LinkId)| connected.get(*member) != Some(*link);
        let gone: Vec<u16> = self.links.iter().filter(is_gone).map(|(member, _)| *member).collect();
        for member in gone {
            self.links.remove(&member);
            out.push(PutAction::Drop(member).into());
            self.drop_member(member, None, out);
        }
    }

    fn drop_member(&mut self, member: u16, failed: Option<Failed>, out: &mut Vec<PutOutput>) {
        match self.parts.get_mut(&member) {
            None | Some(Participation::Out(_)) => {}
            // the batcher knows of it, and decides
            Some(Participation::Stored) if matches!(self.phase, PutPhase::Certifying { .. }) => {}
            Some(part) => {
                *part = Participation::Out(failed);
                if matches!(self.phase, PutPhase::Certifying { .. }) {
                    out.push(PutAction::NeverHeld(member).into());
                }
                out.push(PutAnswer::Progress(member, Stage::Dropped).into());
            }
        }
    }

    /// Moves to the next phase when its time has come, and fails when it cannot come any more.
    fn go_on(&mut self, context: &PutContext, out: &mut Vec<PutOutput>) {
        let quorum = self.quorum();
        if self.is_before_certifying() && self.members().count() < quorum {
            let failed = self.why_too_few();
            self.doubt(|_, part| matches!(part, Participation::Out(_)), out);
            return self.fail(failed, out);
        }
        self.open(quorum, context, out);
        self.finish_storing(quorum, context, out);
    }

    /// The put fails for want of a quorum, and these members are to blame. Where they were not sent the first bytes, the next put should
    /// send them.
    fn doubt(&self, is_to_blame: impl Fn(u16, &Participation) -> bool, out: &mut Vec<PutOutput>) {
        let blamed = self
            .parts
            .iter()
            .filter(|(member, part)| self.skipped_prefix.contains(member) && is_to_blame(**member, part));
        out.extend(blamed.map(|(member, _)| PutAction::Doubt(*member).into()));
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
        if self.is_over() {
            return;
        }
        self.end_storing(out);
        out.extend([PutAction::Cancel { keep: true }.into(), PutAnswer::Failed(failed).into()]);
        self.note_early_end(out);
        self.phase = PutPhase::Over;
    }

    /// Ends it for a reason that is the client's, or nobody's.
    fn end_early(&mut self, failed: Failed, out: &mut Vec<PutOutput>) {
        self.give_up(true, out);
        out.push(PutAnswer::Failed(failed).into());
    }

    /// Ends it without an answer: the members are told that nothing more comes, or the batcher that nobody waits.
    fn give_up(&mut self, keep: bool, out: &mut Vec<PutOutput>) {
        self.end_storing(out);
        out.push(if self.is_before_certifying() { PutAction::Cancel { keep } } else { PutAction::Withdraw }.into());
        self.phase = PutPhase::Over;
    }
}
