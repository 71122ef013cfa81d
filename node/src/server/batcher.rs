//! Gives the server's core its time: batches gather, and are proposed or ended, when no further input is at hand or a moment has come. Puts are
//! submitted here, and hear here what became of them.

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

/// With nothing to do the core is looked at so seldom.
const IDLE: Duration = Duration::from_secs(3600);

/// Where puts hear what other parts of the server found out for them, by the server's number of the put.
pub(super) type PutInbox = mpsc::Sender<(Stream, PutInput)>;

/// Who waits for the certificate of a put.
type Waiters = HashMap<Stream, PutInbox>;

/// Wakes the task that lets the core settle, and knows who waits for which put.
#[derive(Debug, Default)]
pub(super) struct Batcher {
    settle: Arc<Notify>,
    waiters: Mutex<Waiters>,
}

/// Counts a put that is being stored, while it lives.
pub(super) struct Storing(Arc<Shared>);

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.handle(ServerInput::StoringEnded);
    }
}

impl Batcher {
    /// The core settles as soon as the tasks that have more to say have said it.
    pub(super) fn settle_soon(&self) {
        self.settle.notify_one();
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        // a panic elsewhere leaves it whole: every change is one call
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits for a put, which is over now.
    pub(super) fn take_waiter(&self, put: Stream) -> Option<PutInbox> {
        self.waiters().remove(&put)
    }
}

impl Shared {
    /// One more put is about to be submitted.
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

    /// Nobody waits for a put any more.
    pub(super) fn withdraw(self: &Arc<Self>, put: Stream) {
        // dropped after the lock is released
        drop(self.batcher.take_waiter(put));
        self.handle(ServerInput::Batch(BatchInput::Withdraw(put)));
    }
}

/// Works until the server is gone.
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
        // the timer has no finer unit; rounded down it would wake in vain
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

/// Tells a client's link; one that is busy hears of it as soon as it listens again, and holds nobody up.
pub(super) fn tell(host: &Host, inbox: PutInbox, put: Stream, input: PutInput) {
    if let Err(mpsc::error::TrySendError::Full(told)) = inbox.try_send((put, input)) {
        host.spawn(async move {
            // a client that is gone wants nothing any more
            let _ = inbox.send(told).await;
        });
    }
}
