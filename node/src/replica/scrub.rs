//! Reads every blob against its hash tree, slowly and repeatedly. A damaged blob is no longer held, and is fetched again from other
//! replicas. [`scrubbing`](vouch_node_core::replica::scrubbing) decides; this performs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use vouch_core::digest::Digest;
pub use vouch_node_core::replica::scrubbing::Scrubbed;
use vouch_node_core::replica::scrubbing::{BlobCondition, ScrubPace, ScrubPass, ScrubStep, ScrubbedBlob};

use super::Event;
use super::context::Storage;
use crate::host::Host;
use crate::store::{self, Store, StoreError};

/// Number of blobs in one read of the index.
const PAGE: usize = 256;
/// Interval between progress reports of a pass to its caller.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Runs passes, and counts the results of all passes since the start.
pub(super) struct Scrubber {
    storage: Storage,
    total: Mutex<Scrubbed>,
    /// Locked by the pass that an operator requested: only one runs at a time.
    asked: tokio::sync::Mutex<()>,
}

impl Scrubber {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, total: Mutex::default(), asked: tokio::sync::Mutex::default() }
    }

    pub(super) fn so_far(&self) -> Scrubbed {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a pass's result.
    fn found(&self, found: ScrubbedBlob) {
        let ScrubbedBlob { digest, length, damage } = found;
        self.total.lock().unwrap_or_else(PoisonError::into_inner).add(length, damage.is_some());
        if let Some(what) = damage {
            self.storage.report_damaged(digest, what);
        }
    }

    /// Runs passes over all blobs, one after the other, at `rate` bytes per second.
    pub(super) async fn run(&self, rate: u64, pause: Duration) {
        let Storage { host, store, reports, .. } = &self.storage;
        // Start at a random blob: otherwise a replica that restarts often would read only its first blobs.
        let mut from = Some(Digest(host.random()));
        loop {
            let pace = ScrubPace::new(rate, host.monotonic(), store.bytes_confirmed());
            let mut pass = ScrubPass::new(from.take());
            loop {
                match read_next(host, store, &mut pass).await {
                    Ok(Some(found)) => self.found(found),
                    Ok(None) => break,
                    Err(error) => {
                        reports.report(Event::Trouble(format!("scrubbing stopped: {error}")));
                        break;
                    }
                }
                let read = pass.so_far().bytes;
                host.sleep(pace.delay(read, store.bytes_confirmed(), host.monotonic())).await;
            }
            host.sleep(pause).await;
        }
    }

    /// Runs one pass as fast as the disk allows, and reports its progress to `told`.
    ///
    /// # Errors
    /// Another pass is running, or the index cannot be read.
    pub(super) async fn pass_now(&self, told: mpsc::Sender<Scrubbed>) -> Result<Scrubbed, String> {
        let _one_at_a_time = self.asked.try_lock().map_err(|_| "a scrub is running already".to_owned())?;
        let Storage { host, store, .. } = &self.storage;
        let mut pass = ScrubPass::new(None);
        let mut told_at = host.monotonic();
        while let Some(found) = read_next(host, store, &mut pass).await.map_err(|error| error.to_string())? {
            self.found(found);
            let now = host.monotonic();
            if now >= told_at + REPORT_EVERY {
                told_at = now;
                // Fails if the caller is gone. The pass continues.
                let _ = told.send(pass.so_far()).await;
            }
        }
        Ok(pass.so_far())
    }
}

/// Runs one pass over the store of a replica that is not running.
///
/// # Errors
/// The index cannot be read or written.
pub async fn offline(host: &Host, store: Store, report: impl Fn(Scrubbed)) -> Result<Scrubbed, StoreError> {
    let mut pass = ScrubPass::new(None);
    while read_next(host, &store, &mut pass).await?.is_some() {
        report(pass.so_far());
    }
    Ok(pass.so_far())
}

/// Reads the next blob of a pass; `None` after the last. A damaged blob is no longer held.
async fn read_next(host: &Host, store: &Store, pass: &mut ScrubPass) -> Result<Option<ScrubbedBlob>, StoreError> {
    loop {
        match pass.step() {
            ScrubStep::Over => return Ok(None),
            ScrubStep::List(after) => {
                let lister = store.clone();
                let page = store::blocking(host, move || lister.blobs_from(after, PAGE)).await?;
                pass.listed(page.into_iter().map(|(digest, entry)| (digest, entry.length)));
            }
            ScrubStep::Read(digest) => {
                if let Some(found) = pass.found(read(host, store, digest).await?) {
                    return Ok(Some(found));
                }
            }
        }
    }
}

async fn read(host: &Host, store: &Store, digest: Digest) -> Result<BlobCondition, StoreError> {
    let reader = store.clone();
    match store::blocking(host, move || reader.scrub_one(&digest)).await {
        Ok(()) => Ok(BlobCondition::Intact),
        Err(StoreError::NotFound { .. }) => Ok(BlobCondition::Gone),
        Err(error @ StoreError::Damaged { .. }) => {
            store.mark_damaged(&digest).await?;
            Ok(BlobCondition::Damaged(error.to_string()))
        }
        Err(error) => Err(error),
    }
}
