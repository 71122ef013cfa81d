//! Looks up certificates in groups. Each put looks up whether its blob was certified before. A thread per lookup would cost far more than
//! the lookup itself, which the database mostly answers from memory.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use vouch_core::certificate::{Certificate, CertificateError};
use vouch_core::digest::Digest;

use super::ArchiveError;
use super::tables::find;
use crate::durable::{Database, DurableError};
use crate::host::Host;
use crate::host::tasks::Worker;

/// Capacity of the queue of lookups. If it is full, callers wait.
const QUEUE: usize = 1024;
/// Maximum number of lookups in one read of the database.
const GROUP: usize = 256;

type Found = Result<Option<Result<Certificate, CertificateError>>, DurableError>;

#[derive(Debug)]
struct Lookup {
    digest: Digest,
    reply: oneshot::Sender<Found>,
}

/// The handle of the lookup thread. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Lookups {
    /// `None` only while being dropped.
    queue: Option<mpsc::Sender<Lookup>>,
    worker: Option<Worker>,
}

impl Lookups {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system cannot start a thread.
    pub(super) fn start(host: &Host, database: Arc<Database>) -> std::io::Result<Self> {
        let (lookups, queue) = mpsc::channel(QUEUE);
        let worker = host.spawn_worker("archive", queue, GROUP, move |group| look_up(&database, group))?;
        Ok(Self { queue: Some(lookups), worker: Some(worker) })
    }

    /// The saved certificate of a blob.
    pub(super) async fn find(&self, digest: Digest) -> Result<Option<Certificate>, ArchiveError> {
        let ended = || ArchiveError::Task("the archive's thread ended".into());
        let (reply, found) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(ended)?;
        queue.send(Lookup { digest, reply }).await.map_err(|_| ended())?;
        let found = found.await.map_err(|_| ended())??;
        found.transpose().map_err(|error| ArchiveError::Damaged { digest, error })
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.queue = None;
        // Wait for the thread, which drops its handle of the database: the file can then be opened again.
        if let Some(worker) = self.worker.take() {
            worker.join();
        }
    }
}

/// Answers a group of lookups from one snapshot.
fn look_up(database: &Database, group: Vec<Lookup>) {
    let found = database.read(|transaction| {
        group.iter().map(|lookup| find(transaction, &lookup.digest)).collect::<Result<Vec<_>, _>>()
    });
    match found {
        Ok(found) => {
            for (Lookup { reply, .. }, found) in group.into_iter().zip(found) {
                // fails only if the caller has stopped waiting
                let _ = reply.send(Ok(found));
            }
        }
        Err(error) => group.into_iter().for_each(|lookup| drop(lookup.reply.send(Err(error.clone())))),
    }
}
