//! The steps to a vote: confirm, promise, sign.

use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::placement::Assignment;

use super::{Completion, Moment, Output, Pending, ReplicaLink, Request, check_clock, unanswered};
use crate::replica::Event;
use crate::replica::proposals::Proposal;
use crate::replica::voting;

impl<J> ReplicaLink<J> {
    /// Begins the vote on a batch: check the clock, confirm the bytes, record the duty, sign.
    pub(super) fn propose(&mut self, stream: Stream, proposal: Proposal, moment: &Moment<'_>) {
        self.proposals.add(stream, proposal.clone());
        let checked = match moment.committee() {
            None => Err(Failed::new(stream, Code::NoCommittee, "this replica is in no committee")),
            Some(committee) => check_clock(stream, moment)
                .and_then(|()| voting::check_stop(stream, proposal.issued_at, moment.stops_at))
                .and_then(|()| voting::check(stream, proposal.issued_at, &proposal.receipts, moment.wall))
                .map(|()| self.assignments(committee, &proposal)),
        };
        match checked {
            Ok(assignments) => self.request(Pending::Vote(stream, proposal), Request::Confirm(assignments)),
            Err(failed) => self.refuse_vote(failed),
        }
    }

    pub(super) fn continue_vote(
        &mut self,
        stream: Stream,
        proposal: Proposal,
        completion: Completion<J>,
        moment: &Moment<'_>,
    ) {
        let Proposal { issued_at, receipts } = proposal.clone();
        // Reading large blobs takes minutes, so check again.
        let still_open = || {
            check_clock(stream, moment)?;
            voting::check_stop(stream, issued_at, moment.stops_at)?;
            voting::check_again(stream, issued_at, &receipts, moment.wall)
        };
        let next = match (completion, moment.committee()) {
            (Completion::Confirmed { lacking, damaged }, Some(committee)) => {
                self.out.extend(damaged.into_iter().map(|(digest, what)| Output::Damaged(digest, what)));
                match lacking.is_empty() {
                    true => still_open().map(|()| {
                        let assignments = self.assignments(committee, &proposal);
                        Request::Promise(committee.clone(), proposal.clone(), assignments)
                    }),
                    false => Err(not_held(stream, lacking, receipts.len())),
                }
            }
            (Completion::Promised(journalled), _) => still_open().map(|()| Request::Sign(journalled)),
            (Completion::Lacking(lacking), _) => Err(not_held(stream, lacking, receipts.len())),
            (Completion::Signed(signature), _) => {
                self.out.push(Output::Voted(proposal));
                return self.out.push(Output::Send(Message::Vote { stream, signature }));
            }
            (other, _) => Err(unanswered(stream, other)),
        };
        match next {
            Ok(request) => self.request(Pending::Vote(stream, proposal), request),
            Err(failed) => self.refuse_vote(failed),
        }
    }

    /// What this replica must hold to vote on a proposal.
    fn assignments(&self, committee: &Committee, proposal: &Proposal) -> Vec<Assignment> {
        let own = committee.record().position(&self.own);
        proposal.receipts.iter().map(|receipt| receipt.assignment(own)).collect()
    }

    fn refuse_vote(&mut self, failed: Failed) {
        self.out.push(Output::RefusedVote(failed.to_string()));
        // A doubt is logged when it begins.
        if failed.code != Code::ClockInDoubt {
            self.out.push(Output::Report(Event::Refused(failed.to_string())));
        }
        self.out.push(Output::Send(Message::Failed(failed)));
    }
}

fn not_held(stream: Stream, lacking: Vec<u16>, count: usize) -> Failed {
    let detail = format!("{} of {count} blobs are not held", lacking.len());
    Failed::new(stream, Code::NotHeld, detail).with_subjects(lacking)
}
