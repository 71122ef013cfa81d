//! A put at the server, from the client's request to the certificate or the failure.
//!
//! A state machine without IO. Inputs are messages, completions and ticks. Outputs are answers to the client and actions of the shell.

mod events;
mod failures;
mod running;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::session::progress::{SERVER_STORES, SERVER_VOTES};

use super::admission::Admission;
pub use events::{Forwarded, PutAction, PutAnswer, PutContext, PutInput, PutOutput, PutRequest};
pub use failures::{too_few, too_few_stay, too_late, why_too_few};
use running::RunningPut;

/// Assumed minimum rate in bytes per second at which a member reads a stored blob. The deadline of an offer is extended accordingly.
pub(super) const READING_RATE: u64 = 32 << 20;

/// How long each phase may take before the put fails.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From an offer until a quorum has named its resume offsets, plus the time to read a large blob; and from the last byte until a quorum
    /// has stored.
    pub storing: Duration,
    /// From the proposal until a quorum has voted.
    pub voting: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        // The client's deadlines are longer, and computed from the same constants.
        Self { storing: SERVER_STORES, voting: SERVER_VOTES }
    }
}

/// How long a put waits for members and for its client.
#[derive(Debug, Clone, Copy)]
pub struct PutPolicy {
    /// How long a put waits for a quorum that is connected and keeps up.
    pub quorum_wait: Duration,
    /// How long a put waits for the next bytes of its client.
    pub client_silence: Duration,
    /// How long a put waits for the members, in each phase.
    pub deadlines: Deadlines,
    /// Whether each put must name a token, also while the log lets anyone put: strangers can reach this server.
    pub needs_tokens: bool,
}

#[derive(Debug)]
enum PutState {
    /// The put has no place in the server's budget yet.
    New,
    /// The server finds or founds the committee.
    FindingCommittee,
    /// Fewer than a quorum of members keep up. After `until`, slow members are accepted.
    WaitingForQuorum {
        committee: Arc<Committee>,
        until: Duration,
    },
    Running(Box<RunningPut>),
    Over,
}

/// How a put has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was answered with a certificate of a blob of this many bytes.
    Certified(u64),
    /// It was answered with a failure of this kind.
    Failed(Code),
    /// The client gave it up, so that there was no answer.
    GivenUp,
}

/// A put.
#[derive(Debug)]
pub struct ServerPut {
    /// The server's stream number of the put.
    stream: Stream,
    request: PutRequest,
    policy: PutPolicy,
    state: PutState,
    outcome: PutOutcome,
}

impl ServerPut {
    /// A put that waits for [`PutInput::Begin`]. `stream`: the server's number of the put.
    pub fn new(stream: Stream, request: PutRequest, policy: PutPolicy) -> Self {
        Self { stream, request, policy, state: PutState::New, outcome: PutOutcome::GivenUp }
    }

    /// Whether the put has not been admitted yet: there is no queue for its bytes.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, PutState::New | PutState::FindingCommittee | PutState::WaitingForQuorum { .. })
    }

    /// Whether the client may send bytes: it was sent `Ready` and has not declared the end.
    pub fn is_receiving(&self) -> bool {
        matches!(&self.state, PutState::Running(running) if running.is_receiving())
    }

    /// Whether the blob was offered before its bytes, so that each chunk has a proof.
    pub fn is_offered(&self) -> bool {
        matches!(&self.state, PutState::Running(running) if running.is_offered())
    }

    /// Whether the put has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.state, PutState::Over)
    }

    /// How the put has ended, once it [has](Self::is_over).
    pub fn outcome(&self) -> PutOutcome {
        self.outcome
    }

    /// Handles one input.
    pub fn handle(&mut self, input: PutInput, context: &PutContext) -> Vec<PutOutput> {
        let out = self.decide(input, context);
        for output in &out {
            match output {
                PutOutput::Answer(PutAnswer::Certified(certificate)) => {
                    self.outcome = PutOutcome::Certified(certificate.claim.receipt.length);
                }
                PutOutput::Answer(PutAnswer::Failed(failed)) => self.outcome = PutOutcome::Failed(failed.code),
                PutOutput::Answer(_) | PutOutput::Action(_) => {}
            }
        }
        out
    }

    fn decide(&mut self, input: PutInput, context: &PutContext) -> Vec<PutOutput> {
        let mut out = Vec::new();
        match (&mut self.state, input) {
            (PutState::Over, _) => {}
            (PutState::Running(running), input) => {
                running.handle(input, context, &mut out);
                if running.is_over() {
                    self.state = PutState::Over;
                }
            }
            (_, PutInput::PlaceTaken) => self.fail(failures::place_taken(self.stream), &mut out),
            (_, PutInput::GiveUp { .. }) => self.state = PutState::Over,
            (PutState::New, PutInput::Begin) => out.push(PutAction::ClaimPlace.into()),
            (PutState::New, PutInput::Claimed(is_claimed)) => self.claimed(is_claimed, context, &mut out),
            (PutState::FindingCommittee, PutInput::Committee(found)) => self.found(found, context, &mut out),
            (PutState::WaitingForQuorum { until, .. }, PutInput::Connected(_) | PutInput::Tick) => {
                out.push(PutAction::AskAdmission { has_waited: context.now >= *until }.into());
            }
            (PutState::WaitingForQuorum { committee, .. }, PutInput::Admission(admission)) => {
                let committee = committee.clone();
                self.admitted(committee, admission, context, &mut out);
            }
            _ => {}
        }
        out
    }

    fn fail(&mut self, failed: Failed, out: &mut Vec<PutOutput>) {
        self.state = PutState::Over;
        out.push(PutAnswer::Failed(failed).into());
    }

    fn claimed(&mut self, is_claimed: bool, context: &PutContext, out: &mut Vec<PutOutput>) {
        if !is_claimed {
            return self.fail(Failed::new(self.stream, Code::Busy, "the server takes no more puts for now"), out);
        }
        if self.policy.needs_tokens && self.request.authorisation.is_none() {
            return self.fail(failures::no_token(self.stream), out);
        }
        if let Some(offer) = self.request.offer.filter(|offer| offer.is_expired(context.unix_seconds)) {
            return self.fail(failures::expired(self.stream, &offer), out);
        }
        self.state = PutState::FindingCommittee;
        out.push(PutAction::FindCommittee.into());
    }

    fn found(&mut self, found: Result<Arc<Committee>, Failed>, context: &PutContext, out: &mut Vec<PutOutput>) {
        match found {
            Ok(committee) => {
                let until = context.now + self.policy.quorum_wait;
                self.state = PutState::WaitingForQuorum { committee, until };
                out.push(PutAction::AskAdmission { has_waited: context.now >= until }.into());
            }
            Err(failed) => self.fail(failed, out),
        }
    }

    fn admitted(
        &mut self,
        committee: Arc<Committee>,
        admission: Admission,
        context: &PutContext,
        out: &mut Vec<PutOutput>,
    ) {
        match admission {
            Admission::Wait => {}
            Admission::TooFew { connected } => {
                self.fail(too_few(&committee, self.stream, |member| connected.contains(&member)), out);
            }
            Admission::Begin { members, left_out } => {
                let (stream, request, now) = (self.stream, self.request, context.now);
                let mut running = RunningPut::new(committee, stream, request, &self.policy, members, left_out, now);
                running.begin(context, out);
                self.state = if running.is_over() { PutState::Over } else { PutState::Running(Box::new(running)) };
            }
        }
    }
}
