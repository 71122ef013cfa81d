//! An admitted put: which members take part, which have stored, and when the put continues without the others.
//!
//! Its work ends once a quorum has stored the blob: then [`Batches`](crate::server::batch::Batches) certify it. No verifier relies on its
//! decisions: every client detects a wrong certificate.

mod offset;
mod opening;
mod storing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::access::Authorisation;
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
    /// The members do not know the put yet.
    New,
    /// The members name their resume offsets.
    Opening {
        answers: BTreeMap<u16, u64>,
        grace: GracePeriod,
    },
    /// The client sends bytes.
    Receiving,
    /// All bytes are forwarded, and the members store them.
    Storing {
        receipt: Receipt,
        grace: GracePeriod,
    },
    /// A quorum has stored, and the server looks for an earlier certificate.
    Reusing {
        receipt: Receipt,
        grace: GracePeriod,
    },
    /// A quorum has stored, and the batcher certifies.
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
    /// The links on which members take part. Answers on a later link of a member do not count: the put was not sent on it.
    links: BTreeMap<u16, LinkId>,
    parts: BTreeMap<u16, Participation>,
    phase: PutPhase,
    /// The certificate of an earlier put, which is returned if a quorum confirms that it holds the blob now.
    earlier: Option<Box<Certificate>>,
    /// Members that claimed bytes before and did not store: their claims leave no other member out.
    doubted: BTreeSet<u16>,
    /// Members that were not sent the first bytes, because they claimed to have them.
    skipped_prefix: BTreeSet<u16>,
    /// The offset at which the client's bytes begin.
    from: u64,
    /// The offset after the client's last byte so far.
    received: u64,
    /// Whether the client was sent `Ready`. Before that, and for a put in one message, it is sent only the result.
    is_told: bool,
    /// The time at which the client's last bytes were forwarded, or the client was sent `Ready`.
    heard: Duration,
}

impl RunningPut {
    /// A put with these members. Those left out take no part from the beginning.
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

    /// Begins the put. If the client has sent no bytes yet, first looks for an earlier certificate; bytes that are already here are stored
    /// first.
    pub(super) fn begin(&mut self, context: &PutContext, out: &mut Vec<PutOutput>) {
        out.push(PutAction::Open { members: self.links.keys().copied().collect(), quorum: self.quorum() }.into());
        match self.request {
            PutRequest { offer: Some(offer), renew: false, whole: None, .. } => {
                out.push(PutAction::FindEarlier(offer).into());
            }
            _ => self.forward_to_members(context, out),
        }
    }

    fn forward_to_members(&mut self, context: &PutContext, out: &mut Vec<PutOutput>) {
        self.doubted = context.doubted.clone();
        match self.request {
            PutRequest { offer: Some(receipt), whole: Some(length), .. } => {
                self.received = length;
                if self.store(receipt, context.now, out) {
                    out.push(PutAction::ForwardBytes(self.request.placement()).into());
                }
            }
            PutRequest { offer, renew, authorisation, .. } => {
                out.push(PutAction::ForwardPut { offer, renew, authorisation }.into());
            }
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

    /// Whether the put is not submitted to the batcher yet.
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
                self.forward_to_members(context, out);
            }
            PutInput::Earlier(found) => self.reuse_or_submit(found, out),
            PutInput::Forwarded(Forwarded { gone, too_slow }) => self.forwarded(gone, too_slow, now, out),
            PutInput::Ready(member, offset) => self.ready(member, offset, out),
            PutInput::Chunk { offset, length } => self.chunk(offset, length, out),
            PutInput::End(receipt, authorisation) => self.end(receipt, authorisation, context, out),
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
        self.advance(context, out);
        if !self.is_told {
            out.retain(|output| !matches!(output, PutOutput::Answer(PutAnswer::Progress(..))));
        }
    }

    /// A message was queued for the members. After the first one, they know the put.
    fn forwarded(&mut self, gone: Vec<u16>, too_slow: Vec<u16>, now: Duration, out: &mut Vec<PutOutput>) {
        // The client was not read meanwhile, so its silence is measured from now.
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
            Some(offer) if self.received > offer.upload_length() => {
                let expected = offer.upload_length();
                let detail = format!("expected {expected} bytes as offered, got {} or more", self.received);
                self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
            }
            _ => {
                let forward = PutAction::ForwardBytes(self.request.placement());
                out.extend([forward.into(), PutAction::NoteProgress.into()]);
            }
        }
    }

    fn end(
        &mut self,
        receipt: Receipt,
        authorisation: Option<Authorisation>,
        context: &PutContext,
        out: &mut Vec<PutOutput>,
    ) {
        // Every replica would refuse it, and the batch with it.
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
            out.push(PutAction::ForwardEnd(receipt, authorisation).into());
        }
    }

    /// Drops members whose link of this put has ended.
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
            // The batcher knows the put and decides.
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

    /// Moves to the next phase if its conditions hold. Fails if they cannot hold any more.
    fn advance(&mut self, context: &PutContext, out: &mut Vec<PutOutput>) {
        let quorum = self.quorum();
        if self.is_before_certifying() && self.members().count() < quorum {
            let failed = self.why_too_few();
            self.doubt(|_, part| matches!(part, Participation::Out(_)), out);
            return self.fail(failed, out);
        }
        self.open(quorum, context, out);
        self.finish_storing(quorum, context, out);
    }

    /// The put fails without a quorum because of these members. If they claimed the first bytes and were not sent them, doubt their claims, so
    /// that the next put sends these bytes.
    fn doubt(&self, is_to_blame: impl Fn(u16, &Participation) -> bool, out: &mut Vec<PutOutput>) {
        let blamed = self
            .parts
            .iter()
            .filter(|(member, part)| self.skipped_prefix.contains(member) && is_to_blame(**member, part));
        out.extend(blamed.map(|(member, _)| PutAction::Doubt(*member).into()));
    }

    /// The failure if fewer than a quorum are left: members have disconnected, or more than f have refused for one reason.
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

    /// Ends the put for a reason that is no member's fault.
    fn end_early(&mut self, failed: Failed, out: &mut Vec<PutOutput>) {
        self.give_up(true, out);
        out.push(PutAnswer::Failed(failed).into());
    }

    /// Ends the put without an answer: cancels it at the members, or withdraws it from the batcher.
    fn give_up(&mut self, keep: bool, out: &mut Vec<PutOutput>) {
        self.end_storing(out);
        out.push(if self.is_before_certifying() { PutAction::Cancel { keep } } else { PutAction::Withdraw }.into());
        self.phase = PutPhase::Over;
    }
}
