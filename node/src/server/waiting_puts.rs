//! The puts that wait for certificates, and the signal that lets the server's core settle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};
use vouch_core::message::Stream;
use vouch_node_core::server::put::PutInput;

use crate::host::Host;

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

impl Batcher {
    /// Lets the core settle after the other ready tasks have given their inputs.
    pub(super) fn settle_soon(&self) {
        self.settle.notify_one();
    }

    /// Notified when the core is to settle.
    pub(super) fn settle_signal(&self) -> Arc<Notify> {
        self.settle.clone()
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        // Consistent after a panic elsewhere: every change is one call.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the sender for a put's outcome.
    pub(super) fn add_waiter(&self, put: Stream, inbox: PutInbox) {
        self.waiters().insert(put, inbox);
    }

    /// Removes and returns the sender for a put's outcome. The put has then ended.
    pub(super) fn take_waiter(&self, put: Stream) -> Option<PutInbox> {
        self.waiters().remove(&put)
    }
}

/// Sends an outcome to a client's link. If its channel is full, a task waits, so that a busy client delays nobody.
pub(super) fn send_outcome(host: &Host, inbox: PutInbox, put: Stream, input: PutInput) {
    if let Err(mpsc::error::TrySendError::Full(outcome)) = inbox.try_send((put, input)) {
        host.spawn(async move {
            // Fails if the client has left.
            let _ = inbox.send(outcome).await;
        });
    }
}
