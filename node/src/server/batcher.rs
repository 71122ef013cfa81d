//! The task that lets the server's core settle: it proposes and ends batches once no further input is pending, or at a deadline. Puts are
//! submitted here and receive their outcomes here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use vouch_core::message::Stream;
use vouch_core::receipt::Receipt;
use vouch_node_core::server::ServerInput;
use vouch_node_core::server::batch::BatchInput;
use vouch_node_core::server::put::PutInput;

use super::Shared;
use crate::host::Host;

/// Interval between calls of the core if it has no deadline.
const IDLE: Duration = Duration::from_secs(3600);

/// The channel on which a put receives inputs from other parts of the server, with the server's stream number of the put.
pub(super) type PutInbox = mpsc::Sender<(Stream, PutInput)>;

/// The channels of the puts that wait for a certificate.
type Waiters = HashMap<Stream, PutInbox>;

/// Wakes the task that lets the core settle, and has the channels for the puts' outcomes.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    settle: Arc<Notify>,
    waiters: Mutex<Waiters>,
}

/// Counts a put as being stored until it is dropped.
pub(super) struct Storing(Arc<Shared>);

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.handle(ServerInput::StoringEnded);
    }
}

impl Batcher {
    /// Lets the core settle after the other ready tasks have given their inputs.
    pub(super) fn settle_soon(&self) {
        self.settle.notify_one();
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        // Consistent after a panic elsewhere: every change is one call.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes and returns the sender for a put's outcome. The put has then ended.
    pub(super) fn take_waiter(&self, put: Stream) -> Option<PutInbox> {
        self.waiters().remove(&put)
    }
}

impl Shared {
    /// Counts one more put that will be submitted soon.
    pub(super) fn storing(self: &Arc<Self>) -> Storing {
        self.handle(ServerInput::StoringBegan);
        Storing(self.clone())
    }

    /// Has a receipt certified that these members hold; the certificate, or why there is none, comes to `inbox`.
    pub(super) fn submit(
        self: &Arc<Self>,
        put: Stream,
        receipt: Receipt,
        (holders, candidates): (BTreeSet<u16>, BTreeSet<u16>),
        inbox: PutInbox,
    ) {
        self.batcher.waiters().insert(put, inbox);
        self.handle(ServerInput::Batch(BatchInput::Submit { put, receipt, holders, candidates }));
    }

    /// Withdraws a put: nobody waits for its certificate any more.
    pub(super) fn withdraw(self: &Arc<Self>, put: Stream) {
        // Drop the sender only after the lock is released.
        drop(self.batcher.take_waiter(put));
        self.handle(ServerInput::Batch(BatchInput::Withdraw(put)));
    }
}

/// Runs until the server is dropped.
pub(super) async fn run(shared: Weak<Shared>) {
    let Some((host, mut members, settle)) =
        shared.upgrade().map(|shared| (shared.host.clone(), shared.snapshot.follow(), shared.batcher.settle.clone()))
    else {
        return;
    };
    loop {
        let wait = {
            let Some(shared) = shared.upgrade() else { return };
            let clock = shared.clock();
            let at = shared.core().next_tick(clock);
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
        let Some(shared) = shared.upgrade() else { return };
        shared.handle(ServerInput::Settled);
    }
}

/// Sends an outcome to a client's link. If its channel is full, a task waits, so that a busy client delays nobody.
pub(super) fn tell(host: &Host, inbox: PutInbox, put: Stream, input: PutInput) {
    if let Err(mpsc::error::TrySendError::Full(told)) = inbox.try_send((put, input)) {
        host.spawn(async move {
            // Fails if the client has left.
            let _ = inbox.send(told).await;
        });
    }
}
