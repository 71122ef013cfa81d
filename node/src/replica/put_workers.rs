//! The disk work of incoming puts. Each put has one task, which owns the open blob.
//! [`incoming`](vouch_node_core::replica::incoming) decides; this performs.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedRwLockReadGuard, RwLock, mpsc};
use vouch_core::message::Code;
use vouch_core::placement::Assignment;
use vouch_core::statement::Stored;
use vouch_node_core::replica::incoming::{IncomingChunk, IncomingId, IncomingResult, IncomingTask};
use vouch_node_core::replica::link::Input;

use super::context::Storage;
use crate::host::Host;
use crate::store::{CancelToken, Journalled, Receiving, StoreError};

/// Maximum number of tasks in a worker's queue: the current one and the last two.
const TASK_QUEUE: usize = 3;

type Inputs = mpsc::Sender<Input<Journalled<Stored>>>;

/// How long a shutdown waits for votes after the last put was received and after each vote: a put that is stored is certified only once
/// the server has gathered it with others, and asked for votes.
const LAST_VOTES: Duration = Duration::from_secs(2);

/// The puts that are being received over all links.
#[derive(Debug, Default)]
pub(super) struct ReceivingPuts {
    lock: Arc<RwLock<()>>,
    /// When the last put was received to its end, or the last vote was given.
    last_step: Arc<Mutex<Option<Duration>>>,
}

/// A put that is being received, until it is dropped.
struct ReceivingPut {
    _awaited: OwnedRwLockReadGuard<()>,
    host: Host,
    last_step: Arc<Mutex<Option<Duration>>>,
}

impl ReceivingPuts {
    /// Counts one more until it is dropped. `None` during a shutdown, which waits for the last ones.
    fn enter(&self, host: &Host) -> Option<ReceivingPut> {
        let awaited = self.lock.clone().try_read_owned().ok()?;
        Some(ReceivingPut { _awaited: awaited, host: host.clone(), last_step: self.last_step.clone() })
    }

    /// Their number.
    pub(super) fn count(&self) -> usize {
        // only guards share the lock
        Arc::strong_count(&self.lock) - 1
    }

    /// Notes that this replica has voted.
    pub(super) fn voted(&self, now: Duration) {
        note(&self.last_step, now);
    }

    /// Waits until there are none. No put begins meanwhile.
    pub(super) async fn finished(&self) {
        drop(self.lock.write().await);
    }

    /// Waits until there are none, and none that was received last waits for a vote. No put begins meanwhile.
    pub(super) async fn settled(&self, host: &Host) {
        let _no_more = self.lock.write().await;
        loop {
            let last = *self.last_step.lock().unwrap_or_else(PoisonError::into_inner);
            let quiet_at = last.map_or(Duration::ZERO, |last| last + LAST_VOTES);
            match quiet_at.checked_sub(host.monotonic()) {
                None | Some(Duration::ZERO) => return,
                Some(wait) => host.sleep(wait).await,
            }
        }
    }
}

fn note(step: &Mutex<Option<Duration>>, now: Duration) {
    *step.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
}

impl Drop for ReceivingPut {
    fn drop(&mut self) {
        note(&self.last_step, self.host.monotonic());
    }
}

/// The workers of one link's puts.
pub(super) struct PutWorkers {
    storage: Storage,
    /// Counts the puts that are being received: a shutdown waits for them.
    receiving: Arc<ReceivingPuts>,
    /// The queue of results.
    inputs: Inputs,
    workers: HashMap<IncomingId, WorkerHandle>,
}

struct WorkerHandle {
    tasks: mpsc::Sender<IncomingTask>,
    cancel: CancelToken,
}

impl PutWorkers {
    pub(super) fn new(storage: Storage, receiving: Arc<ReceivingPuts>, inputs: Inputs) -> Self {
        Self { storage, receiving, inputs, workers: HashMap::new() }
    }

    /// Gives a put's worker a task. The first one starts the worker.
    pub(super) fn give(&mut self, id: IncomingId, task: IncomingTask) {
        match task {
            IncomingTask::Open(offer) => {
                let (tasks, queue) = mpsc::channel(TASK_QUEUE);
                let cancel = CancelToken::default();
                self.workers.insert(id, WorkerHandle { tasks, cancel: cancel.clone() });
                self.start(id, |worker| worker.receive(offer, cancel, queue));
            }
            IncomingTask::Whole(assignment, bytes) => self.start(id, |worker| worker.whole(assignment, bytes)),
            task => {
                let Some(worker) = self.workers.get(&id) else { return };
                if let IncomingTask::PutAway { keep } = task {
                    // at once: the next put of the blob need not wait until the worker takes the task
                    match keep {
                        true => worker.cancel.keep(),
                        false => worker.cancel.discard(),
                    }
                }
                // fails only if the worker has failed and reported it
                let _ = worker.tasks.try_send(task);
            }
        }
    }

    /// Forgets a put after its last result.
    pub(super) fn forget(&mut self, id: IncomingId) {
        self.workers.remove(&id);
    }

    /// Starts a worker, unless the replica is shutting down. A shutdown waits for it.
    fn start<W: Future<Output = ()> + Send + 'static>(&self, id: IncomingId, work: impl FnOnce(PutWorker) -> W) {
        match self.receiving.enter(&self.storage.host) {
            Some(awaited) => {
                let (storage, inputs) = (self.storage.clone(), self.inputs.clone());
                self.storage.host.spawn(work(PutWorker { storage, id, inputs, _awaited: awaited }));
            }
            None => {
                let failed = IncomingResult::Failed(Code::ShuttingDown, "the replica is shutting down".into());
                let inputs = self.inputs.clone();
                self.storage.host.spawn(async move { drop(inputs.send(Input::Incoming(id, failed)).await) });
            }
        }
    }
}

/// The worker of one put.
struct PutWorker {
    storage: Storage,
    id: IncomingId,
    inputs: Inputs,
    _awaited: ReceivingPut,
}

impl PutWorker {
    async fn report(&self, result: Result<IncomingResult, StoreError>) {
        let result = result.unwrap_or_else(|error| IncomingResult::Failed(error.code(), error.to_string()));
        // Fails if the link has ended. The partial upload is kept nevertheless.
        let _ = self.inputs.send(Input::Incoming(self.id, result)).await;
    }

    async fn whole(self, assignment: Assignment, bytes: Bytes) {
        let stored = self.storage.store.put_small(&assignment, bytes).await;
        self.report(stored.map(|()| IncomingResult::Stored)).await;
    }

    async fn receive(self, offer: Option<Assignment>, cancel: CancelToken, tasks: mpsc::Receiver<IncomingTask>) {
        let last = self.perform(offer, cancel, tasks).await;
        self.report(last).await;
    }

    /// Performs one task after the other. Returns the result of the last one.
    async fn perform(
        &self,
        offer: Option<Assignment>,
        cancel: CancelToken,
        mut tasks: mpsc::Receiver<IncomingTask>,
    ) -> Result<IncomingResult, StoreError> {
        let store = self.storage.store.clone();
        let mut blob = self.storage.on_disk(move || store.receive(offer.as_ref(), &cancel)).await?;
        let damage = blob.damage().map(ToString::to_string);
        let opened = IncomingResult::Opened { offset: blob.offset(), damage };
        self.report(Ok(opened)).await;
        loop {
            match tasks.recv().await {
                Some(IncomingTask::Write(chunks)) => {
                    blob = self.storage.on_disk(move || write(blob, chunks)).await?;
                    self.report(Ok(IncomingResult::Written)).await;
                }
                Some(IncomingTask::Finish(assignment)) => {
                    let complete = self.storage.on_disk(move || blob.finish(&assignment)).await?;
                    self.storage.store.enter(complete).await?;
                    return Ok(IncomingResult::Stored);
                }
                Some(IncomingTask::PutAway { .. } | IncomingTask::Open(_) | IncomingTask::Whole(..)) | None => {
                    // dropping it makes the partial upload durable, or removes it
                    let put_away = move || {
                        drop(blob);
                        Ok(IncomingResult::PutAway)
                    };
                    return self.storage.on_disk(put_away).await;
                }
            }
        }
    }
}

fn write(mut blob: Receiving, chunks: Vec<IncomingChunk>) -> Result<Receiving, StoreError> {
    for IncomingChunk { offset, parents, bytes } in chunks {
        blob = blob.take(offset, &bytes, &parents)?;
    }
    Ok(blob)
}
