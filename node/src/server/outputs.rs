//! Performs the outputs of the server's core.

use std::sync::{Arc, MutexGuard, PoisonError};

use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::statement::{Batch, Stored};
use vouch_core::tally::Tally;
use vouch_node_core::server::batch::{BatchInput, BatchRequest};
use vouch_node_core::server::put::PutInput;
use vouch_node_core::server::{ServerClock, ServerCore, ServerInput, ServerOutput};

use super::batcher::{PutInbox, tell};
use super::{Event, ReplicaHandle, Shared};
use crate::bugs::{self, Bug};

impl Shared {
    /// The core, for reading its state. Change it only through [`handle`](Self::handle).
    pub(super) fn core(&self) -> MutexGuard<'_, ServerCore<ReplicaHandle>> {
        // Consistent after a panic elsewhere: every change is one call.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clock(&self) -> ServerClock {
        ServerClock { now: self.host.monotonic(), unix_seconds: self.host.unix_seconds() }
    }

    /// Gives the core an input and performs its outputs. Does not wait: a long operation becomes a task whose result is an input.
    pub(super) fn handle(self: &Arc<Self>, input: ServerInput<ReplicaHandle>) {
        let clock = self.clock();
        let outputs = self.core().handle(input, clock);
        for output in outputs {
            self.perform(output);
        }
    }

    fn perform(self: &Arc<Self>, output: ServerOutput) {
        match output {
            ServerOutput::Deliver(link, reply) => {
                if let Some(reply) = self.routes.deliver(reply) {
                    self.handle(ServerInput::Unclaimed(link, reply));
                }
            }
            ServerOutput::Batch(request) => self.perform_batch(request),
            ServerOutput::LeftOut { stream, member, code, why } => self.left_out(stream, member, code, why),
            ServerOutput::MemberReport { member, line } => self.tell_of(member, &line),
            ServerOutput::Settle => self.batcher.settle_soon(),
        }
    }

    fn perform_batch(self: &Arc<Self>, request: BatchRequest) {
        match request {
            BatchRequest::Build { batch, issued_at, receipts } => {
                let shared = self.clone();
                self.host.spawn(async move {
                    let building = shared.host.spawn_blocking(move || Batch::new(issued_at, receipts).map(Box::new));
                    let receipts = building.await.ok().flatten();
                    shared.handle(ServerInput::Batch(BatchInput::Built { batch, receipts }));
                });
            }
            BatchRequest::Propose { members, proposal } => self.propose_batch(&members, &proposal),
            BatchRequest::Verify { batch, ballot, votes } => {
                let Some(committee) = self.committee() else { return };
                let shared = self.clone();
                self.host.spawn(async move {
                    let verifying = shared.host.spawn_blocking(move || {
                        let verified = ballot.verify_all(&committee, &votes);
                        votes.into_iter().map(|(member, _)| member).zip(verified).collect()
                    });
                    if let Ok(votes) = verifying.await {
                        shared.handle(ServerInput::Batch(BatchInput::Verified { batch, votes }));
                    }
                });
            }
            BatchRequest::Certify { batch, receipts, tally, puts, asked } => {
                let waiters = puts.into_iter().map(|put| (put, self.batcher.take_waiter(put))).collect();
                let certifying = Certifying { batch, receipts, tally, waiters, asked };
                self.host.spawn(certifying.run(self.clone()));
            }
            BatchRequest::Fail(put, failed) => {
                if let Some(inbox) = self.batcher.take_waiter(put) {
                    tell(&self.host, inbox, put, PutInput::Uncertified(failed));
                }
            }
        }
    }

    /// Sends the proposal, encoded once, to these members.
    fn propose_batch(self: &Arc<Self>, members: &[u16], proposal: &Message) {
        let bytes = proposal.encode();
        let snapshot = self.snapshot.get();
        for member in members {
            if snapshot.members.get(member).is_none_or(|handle| !handle.control.try_send(&bytes)) {
                self.handle(ServerInput::Batch(BatchInput::Lost(*member)));
            }
        }
    }
}

/// A batch with the votes of a quorum.
struct Certifying {
    batch: Stream,
    receipts: Box<Batch>,
    tally: Box<Tally<Stored>>,
    waiters: Vec<(Stream, Option<PutInbox>)>,
    asked: Vec<u16>,
}

impl Certifying {
    /// Makes the certificates, makes them durable in one commit, and only then sends them.
    async fn run(self, shared: Arc<Shared>) {
        let Self { batch, receipts, tally, waiters, asked } = self;
        let made = shared.host.spawn_blocking(move || tally.certificates(receipts.claims())).await;
        let certified = match made {
            Ok(Ok(certificates)) => {
                let certificates = Arc::new(certificates);
                let saved = match bugs::has(Bug::CertificateUnsaved) {
                    true => Ok(()),
                    false => shared.certificates.save(certificates.clone()).await,
                };
                match saved {
                    Ok(()) => Ok(certificates),
                    Err(error) => {
                        shared.report(Event::Trouble(format!("cannot save certificates: {error}")));
                        Err((Code::Storage, "the server cannot save the certificate".to_owned()))
                    }
                }
            }
            Ok(Err(below)) => Err((Code::NotEnoughReplicas, below.to_string())),
            Err(panicked) => Err((Code::Storage, panicked.to_string())),
        };
        let certificates = match certified {
            Ok(certificates) => certificates,
            Err((code, detail)) => {
                for (put, inbox) in waiters {
                    if let Some(inbox) = inbox {
                        let failed = Failed::new(put, code, detail.clone());
                        tell(&shared.host, inbox, put, PutInput::Uncertified(failed));
                    }
                }
                return;
            }
        };
        for ((put, inbox), certificate) in waiters.into_iter().zip(certificates.iter()) {
            shared.report(Event::Certified(Box::new(certificate.clone())));
            if let Some(inbox) = inbox {
                tell(&shared.host, inbox, put, PutInput::Certified(Box::new(certificate.clone())));
            }
        }
        let Some(first) = certificates.first() else { return };
        let (signers, signature) = (first.signers.clone(), first.signature);
        let archive = Message::Archive { stream: batch, signers, signature }.encode();
        let snapshot = shared.snapshot.get();
        for handle in asked.iter().filter_map(|member| snapshot.members.get(member)) {
            // A member that does not read gets it later from another member.
            handle.control.try_send(&archive);
        }
        shared.certificates.notify(&certificates, &asked);
    }
}
