//! The end of a put: members store the blob, a quorum suffices, and the batcher certifies it.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::certificate::Certificate;
use vouch_core::message::{Code, Failed, Stage};
use vouch_core::receipt::Receipt;

use super::{Participation, PutAction, PutAnswer, PutContext, PutOutput, PutPhase, RunningPut, too_late};
use crate::server::grace_period::GracePeriod;
use crate::server::health::Observed;

impl RunningPut {
    /// All bytes are forwarded. `false` if their number is not the declared length.
    pub(super) fn store(&mut self, receipt: Receipt, now: Duration, out: &mut Vec<PutOutput>) -> bool {
        let expected = receipt.upload_length();
        if expected != self.received {
            let detail = format!("expected {expected} bytes as declared, got {}", self.received);
            self.fail(Failed::new(self.stream, Code::LengthDiffers, detail), out);
            return false;
        }
        self.phase = PutPhase::Storing { receipt, grace: GracePeriod::new(now) };
        out.push(PutAction::StoringBegan.into());
        true
    }

    pub(super) fn stored(&mut self, member: u16, context: &PutContext, out: &mut Vec<PutOutput>) {
        match self.parts.get_mut(&member) {
            Some(part) if *part == Participation::Receiving => *part = Participation::Stored,
            _ => return,
        }
        let is_in_time = match &self.phase {
            // Too early: the member cannot have received the end of the bytes yet, so this does not show that it is fast.
            PutPhase::New | PutPhase::Opening { .. } | PutPhase::Receiving | PutPhase::Over => false,
            PutPhase::Storing { grace, .. } | PutPhase::Reusing { grace, .. } => grace.is_in_time(context.now),
            PutPhase::Certifying { grace } => {
                out.push(PutAction::AlsoHeld(member).into());
                grace.is_in_time(context.now)
            }
        };
        if is_in_time && context.not_awaited.contains(&member) {
            self.observe(member, Observed::StoredInTime, out);
        }
        out.push(PutAnswer::Progress(member, Stage::Stored).into());
    }

    /// Moves on once a quorum has stored and the others have or are late.
    pub(super) fn finish_storing(&mut self, quorum: usize, context: &PutContext, out: &mut Vec<PutOutput>) {
        let PutContext { now, not_awaited, .. } = context;
        let stored = self.in_stage(&Participation::Stored).count();
        let receiving: BTreeSet<u16> = self.in_stage(&Participation::Receiving).collect();
        let PutPhase::Storing { receipt, grace } = &mut self.phase else { return };
        if grace.is_over(stored, quorum, receiving.difference(not_awaited).count(), *now) {
            let (receipt, grace) = (*receipt, *grace);
            for late in receiving.difference(not_awaited) {
                self.observe(*late, Observed::StoredTooLate, out);
            }
            out.push(PutAction::StoringEnded.into());
            if self.may_reuse() {
                self.phase = PutPhase::Reusing { receipt, grace };
                out.push(PutAction::FindEarlier(receipt).into());
            } else {
                self.phase = PutPhase::Certifying { grace };
                self.submit(receipt, out);
            }
        } else if stored < quorum && *now > grace.since() + self.deadlines.storing {
            let failed = too_late(&self.committee, self.stream, "store", receiving.into_iter().collect());
            self.doubt(|_, part| *part != Participation::Stored, out);
            self.fail(failed, out);
        }
    }

    /// Whether an earlier certificate may be returned once a quorum has stored. A client that was asked for the bytes of its offer accepts
    /// only a new one.
    fn may_reuse(&self) -> bool {
        !self.request.renew && (self.request.offer.is_none() || self.request.whole.is_some())
    }

    /// Returns the earlier certificate if one was found, or submits the put.
    pub(super) fn reuse_or_submit(&mut self, found: Option<Box<Certificate>>, out: &mut Vec<PutOutput>) {
        let PutPhase::Reusing { receipt, grace } = self.phase else { return };
        self.phase = PutPhase::Certifying { grace };
        // Members may have disconnected meanwhile.
        let is_held = self.in_stage(&Participation::Stored).count() >= self.quorum();
        match found.filter(|_| is_held) {
            Some(certificate) => self.certified(certificate, out),
            None => self.submit(receipt, out),
        }
    }

    fn submit(&self, receipt: Receipt, out: &mut Vec<PutOutput>) {
        let holders = self.in_stage(&Participation::Stored).collect();
        let candidates = self.in_stage(&Participation::Receiving).collect();
        out.push(PutAction::Submit { receipt, holders, candidates }.into());
    }

    pub(super) fn certified(&mut self, certificate: Box<Certificate>, out: &mut Vec<PutOutput>) {
        if !matches!(self.phase, PutPhase::Certifying { .. }) {
            return;
        }
        for member in self.members() {
            let signed = certificate.signers.contains(member);
            out.push(PutAnswer::Progress(member, if signed { Stage::Voted } else { Stage::Dropped }).into());
        }
        out.push(PutAnswer::Certified(certificate).into());
        self.note_early_end(out);
        self.phase = PutPhase::Over;
    }

    pub(super) fn end_storing(&self, out: &mut Vec<PutOutput>) {
        if matches!(self.phase, PutPhase::Storing { .. }) {
            out.push(PutAction::StoringEnded.into());
        }
    }

    /// The put ends before some members have stored. Their answers can still be in time.
    pub(super) fn note_early_end(&self, out: &mut Vec<PutOutput>) {
        let PutPhase::Certifying { grace } = &self.phase else { return };
        if let Some(until) = grace.until().filter(|_| self.in_stage(&Participation::Receiving).next().is_some()) {
            out.push(PutAction::EndedBefore { until }.into());
        }
    }
}
