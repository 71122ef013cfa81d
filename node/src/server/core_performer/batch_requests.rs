//! Performs what the core's batches request: proposes them, verifies votes, and makes certificates. The core settles, which ends and
//! proposes batches, once no further input is pending, or at a deadline. Puts are submitted here and receive their outcomes here.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Stored};
use vouch_core::tally::Tally;
use vouch_node_core::server::ServerInput;
use vouch_node_core::server::batch::{BatchInput, BatchRequest};
use vouch_node_core::server::put::PutInput;

use super::CorePerformer;
use crate::bugs::{self, Bug};
use crate::server::reports::Event;
use crate::server::waiting_puts::{PutInbox, send_outcome};

/// Interval between calls of the core if it has no deadline.
const IDLE: Duration = Duration::from_secs(3600);

/// Counts a put as being stored until it is dropped.
pub(in crate::server) struct Storing(Arc<CorePerformer>);

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.handle(ServerInput::StoringEnded);
    }
}

impl CorePerformer {
    /// Counts one more put that will be submitted soon.
    pub(in crate::server) fn storing(self: &Arc<Self>) -> Storing {
        self.handle(ServerInput::StoringBegan);
        Storing(self.clone())
    }

    /// Has a receipt certified that these members hold; the certificate, or why there is none, comes to `inbox`.
    pub(in crate::server) fn submit(
        self: &Arc<Self>,
        put: Stream,
        receipt: Receipt,
        (holders, candidates): (BTreeSet<u16>, BTreeSet<u16>),
        inbox: PutInbox,
    ) {
        self.batcher.add_waiter(put, inbox);
        self.handle(ServerInput::Batch(BatchInput::Submit { put, receipt, holders, candidates }));
    }

    /// Withdraws a put: nobody waits for its certificate any more.
    pub(in crate::server) fn withdraw(self: &Arc<Self>, put: Stream) {
        // Drop the sender only after the lock is released.
        drop(self.batcher.take_waiter(put));
        self.handle(ServerInput::Batch(BatchInput::Withdraw(put)));
    }

    pub(super) fn perform_batch(self: &Arc<Self>, request: BatchRequest) {
        match request {
            BatchRequest::Build { batch, issued_at, receipts } => {
                let core = self.clone();
                self.host.spawn(async move {
                    let building = core.host.spawn_blocking(move || Batch::new(issued_at, receipts).map(Box::new));
                    let receipts = building.await.ok().flatten();
                    core.handle(ServerInput::Batch(BatchInput::Built { batch, receipts }));
                });
            }
            BatchRequest::Propose { members, proposal } => self.propose_batch(&members, &proposal),
            BatchRequest::Verify { batch, ballot, votes } => {
                let Some(chain) = self.members.chain() else { return };
                let core = self.clone();
                self.host.spawn(async move {
                    let verifying = core.host.spawn_blocking(move || {
                        let verified = ballot.verify_all(chain.current(), &votes);
                        votes.into_iter().map(|(member, _)| member).zip(verified).collect()
                    });
                    if let Ok(votes) = verifying.await {
                        core.handle(ServerInput::Batch(BatchInput::Verified { batch, votes }));
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
                    send_outcome(&self.host, inbox, put, PutInput::Uncertified(failed));
                }
            }
        }
    }

    /// Sends the proposal, encoded once, to these members.
    fn propose_batch(self: &Arc<Self>, members: &[u16], proposal: &Message) {
        let bytes = proposal.encode();
        let snapshot = self.members.snapshot();
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
    async fn run(self, core: Arc<CorePerformer>) {
        let Self { batch, receipts, tally, waiters, asked } = self;
        let made = core.host.spawn_blocking(move || tally.certificates(receipts.claims())).await;
        let certified = match made {
            Ok(Ok(certificates)) => {
                let certificates = Arc::new(certificates);
                let saved = match bugs::has(Bug::CertificateUnsaved) {
                    true => Ok(()),
                    false => core.certificates.save(certificates.clone()).await,
                };
                match saved {
                    Ok(()) => Ok(certificates),
                    Err(error) => {
                        core.reports.report(Event::Trouble(format!("cannot save certificates: {error}")));
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
                        send_outcome(&core.host, inbox, put, PutInput::Uncertified(failed));
                    }
                }
                return;
            }
        };
        for ((put, inbox), certificate) in waiters.into_iter().zip(certificates.iter()) {
            core.reports.report(Event::Certified(Box::new(certificate.clone())));
            if let Some(inbox) = inbox {
                send_outcome(&core.host, inbox, put, PutInput::Certified(Box::new(certificate.clone())));
            }
        }
        let Some(first) = certificates.first() else { return };
        let (signers, signature) = (first.signers.clone(), first.signature);
        let archive = Message::Archive { stream: batch, signers, signature }.encode();
        let snapshot = core.members.snapshot();
        for handle in asked.iter().filter_map(|member| snapshot.members.get(member)) {
            // A member that does not read gets it later from another member.
            handle.control.try_send(&archive);
        }
        core.certificates.notify(&certificates, &asked).await;
    }
}

/// Lets the core settle when it is due, until the server is dropped.
pub(in crate::server) async fn settle_when_due(core: Weak<CorePerformer>) {
    let Some((host, mut members, settle)) =
        core.upgrade().map(|core| (core.host.clone(), core.members.follow(), core.batcher.settle_signal()))
    else {
        return;
    };
    loop {
        let wait = {
            let Some(core) = core.upgrade() else { return };
            let clock = core.clock();
            let at = core.state().next_tick(clock);
            at.map_or(IDLE, |at| at.saturating_sub(clock.now))
        };
        // Round up to the timer's unit: otherwise it would fire before the deadline.
        let wait = wait.max(Duration::from_millis(1));
        tokio::select! {
            biased;
            changed = members.changed() => if changed.is_err() { return },
            () = settle.notified() => {}
            () = host.sleep(wait) => {}
        }
        let Some(core) = core.upgrade() else { return };
        core.handle(ServerInput::Settled);
    }
}
