//! The beginning of an offered put: each member names its resume offset, and bytes that a quorum has are not sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vouch_core::bugs::{self, Bug};
use vouch_core::message::{Code, Failed, Stage};
use vouch_core::placement::Placement;

use super::super::READING_RATE;
use super::{Participation, PutAction, PutAnswer, PutContext, PutOutput, PutPhase, RunningPut, offset, too_late};
use crate::server::grace_period::GracePeriod;

impl RunningPut {
    /// The members know the put.
    pub(super) fn begun(&mut self, now: Duration, out: &mut Vec<PutOutput>) {
        match self.request.offer {
            Some(_) => self.phase = PutPhase::Opening { answers: BTreeMap::new(), grace: GracePeriod::new(now) },
            // A stream cannot resume: its digest is not known yet.
            None => self.receive_from(0, now, out),
        }
    }

    /// A member names its resume offset. Whether it has the bytes before it shows only when it votes.
    pub(super) fn ready(&mut self, member: u16, offset: u64, out: &mut Vec<PutOutput>) {
        let Some(offer) = self.request.offer else { return };
        if self.parts.get(&member) != Some(&Participation::Receiving) {
            return;
        }
        let assignment = offer.assignment(Some(member));
        if !assignment.is_resume_offset(offset) {
            let detail = format!("expected the end of a block, or of the {} bytes, got {offset}", assignment.length);
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

    /// Chooses the resume offset, once a quorum has named theirs and the others have or are late.
    pub(super) fn open(&mut self, quorum: usize, context: &PutContext, out: &mut Vec<PutOutput>) {
        let PutContext { now, not_awaited, .. } = context;
        let live: BTreeSet<u16> = self.in_stage(&Participation::Receiving).collect();
        let Some(offer) = self.request.offer else { return };
        let assignment = |member: u16| offer.assignment(Some(member));
        // A member that holds its bytes reads them before it answers.
        let reading = || Duration::from_secs(offer.most_assigned(live.iter().copied()) / READING_RATE);
        let PutPhase::Opening { answers, grace } = &mut self.phase else { return };
        answers.retain(|member, _| live.contains(member));
        // A member that needs no bytes has just read them. Of an empty blob, it needs none anyway.
        let is_held = |(member, offset): &(&u16, &u64)| **offset > 0 && assignment(**member).is_complete_at(**offset);
        let holders = answers.iter().filter(is_held).count();
        if (holders >= quorum || bugs::has(Bug::EarlierWithoutHolders))
            && let Some(certificate) = self.earlier.take()
        {
            out.extend([PutAction::Cancel { keep: true }.into(), PutAnswer::Certified(certificate).into()]);
            self.phase = PutPhase::Over;
            return;
        }
        let silent: Vec<u16> = live.iter().filter(|member| !answers.contains_key(*member)).copied().collect();
        let awaited = silent.iter().filter(|member| !not_awaited.contains(*member)).count();
        if grace.is_over(answers.len(), quorum, awaited, *now) {
            let chosen = match offer.placement() {
                // All need the same bytes, so the upload has one offset.
                Placement::Copies => offset::choose(answers, &self.doubted, quorum),
            };
            let Some(offset) = chosen else { return };
            let (behind, ahead): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, from)| **from < offset);
            let behind: Vec<(u16, u64)> = behind.into_iter().map(|(member, has)| (*member, *has)).collect();
            if offset > 0 {
                self.skipped_prefix = ahead.into_iter().map(|(member, _)| *member).collect();
            }
            for (member, has) in behind {
                self.lacks_bytes(member, has, offset, out);
            }
            out.retain(|output| !matches!(output, PutOutput::Answer(PutAnswer::Progress(..))));
            self.receive_from(offset, *now, out);
        } else if answers.len() < quorum && *now > grace.since() + self.deadlines.storing + reading() {
            let failed = too_late(&self.committee, self.stream, "answer", silent);
            self.fail(failed, out);
        }
    }

    /// Asks the client for the bytes from this offset on.
    fn receive_from(&mut self, offset: u64, now: Duration, out: &mut Vec<PutOutput>) {
        self.phase = PutPhase::Receiving;
        (self.from, self.received) = (offset, offset);
        (self.is_told, self.heard) = (true, now);
        out.push(PutAnswer::Ready(offset).into());
        let stage = |part: &Participation| {
            if matches!(part, Participation::Out(_)) { Stage::Dropped } else { Stage::Receiving }
        };
        out.extend(self.parts.iter().map(|(member, part)| PutAnswer::Progress(*member, stage(part)).into()));
    }

    fn leave_out(&mut self, member: u16, code: Code, why: String, out: &mut Vec<PutOutput>) {
        // Only a member's fault counts as its refusal of the put.
        let failed = (code == Code::Unexpected).then(|| Failed::new(self.stream, code, why.clone()));
        self.drop_member(member, failed, out);
        out.push(PutAction::LeaveOut(member, code, why).into());
    }

    /// Leaves out a member that lacks bytes which the client will not send.
    fn lacks_bytes(&mut self, member: u16, has: u64, from: u64, out: &mut Vec<PutOutput>) {
        let why = format!("has {has} bytes of a blob of which a put sends those from {from} on; repair fetches it");
        self.leave_out(member, Code::NotHeld, why, out);
    }
}
