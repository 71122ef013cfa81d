//! Reads every blob against its hash tree, slowly and for ever: what has decayed is taken out of what is held, and fetched anew
//! from other replicas.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use vouch_core::digest::Digest;
use vouch_node_core::replica::pace::Pace;

use super::{Event, Shared};
use crate::host::Host;
use crate::store::{self, Entry, Store, StoreError};

/// Blobs listed at once.
const PAGE: usize = 256;
/// How often somebody who waits hears how far a pass is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// How far a pass is, or what all passes came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Blobs read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those among the blobs that were not what they should be.
    pub damaged: u64,
}

impl Scrubbed {
    fn add(&mut self, length: u64, is_damaged: bool) {
        self.blobs += 1;
        self.bytes += length;
        self.damaged += u64::from(is_damaged);
    }
}

/// What all passes since the start came to, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Scrubber {
    total: Mutex<Scrubbed>,
    /// One pass that somebody waits for at a time.
    asked: tokio::sync::Mutex<()>,
}

impl Scrubber {
    pub(super) fn so_far(&self) -> Scrubbed {
        *self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, length: u64, is_damaged: bool) {
        self.total.lock().unwrap_or_else(PoisonError::into_inner).add(length, is_damaged);
    }
}

/// Passes over everything, one after the other, at `rate` bytes a second.
pub(super) async fn run(shared: Arc<Shared>, rate: u64, pause: Duration) {
    // Anywhere, so that a replica that is restarted often does not read its first blobs only.
    let mut from = Some(Digest(shared.host.random()));
    loop {
        let pace = Pace::new(rate, shared.host.monotonic());
        // what votes read is read at the expense of this: together they keep to the rate
        let confirmed = shared.store.bytes_confirmed();
        let mut pass = Pass::new(shared.host.clone(), shared.store.clone(), from.take());
        loop {
            match pass.next().await {
                Ok(Some(found)) => shared.found(found),
                Ok(None) => break,
                Err(error) => {
                    shared.report(Event::Trouble(format!("scrubbing stopped: {error}")));
                    break;
                }
            }
            let bytes = pass.so_far.bytes + shared.store.bytes_confirmed() - confirmed;
            shared.host.sleep(pace.delay(bytes, shared.host.monotonic())).await;
        }
        shared.host.sleep(pause).await;
    }
}

/// One pass as fast as the disk gives it, for somebody who waits; `told` hears how far it is.
///
/// # Errors
/// Another one is running, or the index cannot be read.
pub(super) async fn now(shared: &Shared, told: mpsc::Sender<Scrubbed>) -> Result<Scrubbed, String> {
    let _one_at_a_time = shared.scrubber.asked.try_lock().map_err(|_| "a scrub is running already".to_owned())?;
    let mut pass = Pass::new(shared.host.clone(), shared.store.clone(), None);
    let mut told_at = shared.host.monotonic();
    while let Some(found) = pass.next().await.map_err(|error| error.to_string())? {
        shared.found(found);
        let now = shared.host.monotonic();
        if now >= told_at + TELL_EVERY {
            told_at = now;
            // the caller may be gone; the pass goes on, for what it finds
            let _ = told.send(pass.so_far).await;
        }
    }
    Ok(pass.so_far)
}

/// One pass over the store of a replica that does not run.
///
/// # Errors
/// The index cannot be read or written.
pub async fn offline(host: &Host, store: Store, tell: impl Fn(Scrubbed)) -> Result<Scrubbed, StoreError> {
    let mut pass = Pass::new(host.clone(), store, None);
    while pass.next().await?.is_some() {
        tell(pass.so_far);
    }
    Ok(pass.so_far)
}

/// What one blob was found to be.
struct Found {
    digest: Digest,
    length: u64,
    /// What differs, in words.
    damage: Option<String>,
}

/// Reads everything after a digest, blob by blob. What is damaged is held no more.
struct Pass {
    host: Host,
    store: Store,
    after: Option<Digest>,
    page: VecDeque<(Digest, Entry)>,
    so_far: Scrubbed,
}

impl Pass {
    fn new(host: Host, store: Store, after: Option<Digest>) -> Self {
        Self { host, store, after, page: VecDeque::new(), so_far: Scrubbed::default() }
    }

    /// What the next blob is; `None` after the last.
    async fn next(&mut self) -> Result<Option<Found>, StoreError> {
        loop {
            if self.page.is_empty() {
                let (store, after) = (self.store.clone(), self.after);
                self.page = store::blocking(&self.host, move || store.blobs_from(after, PAGE)).await?.into();
            }
            let Some((digest, entry)) = self.page.pop_front() else { return Ok(None) };
            self.after = Some(digest);
            let store = self.store.clone();
            let damage = match store::blocking(&self.host, move || store.scrub_one(&digest)).await {
                Ok(()) => None,
                // it was collected meanwhile
                Err(StoreError::NotFound { .. }) => continue,
                Err(error @ StoreError::Damaged { .. }) => {
                    self.store.mark_damaged(&digest).await?;
                    Some(error.to_string())
                }
                Err(error) => return Err(error),
            };
            self.so_far.add(entry.length, damage.is_some());
            return Ok(Some(Found { digest, length: entry.length, damage }));
        }
    }
}

impl Shared {
    /// Counts what scrubbing found.
    fn found(&self, found: Found) {
        let Found { digest, length, damage } = found;
        self.scrubber.count(length, damage.is_some());
        if let Some(what) = damage {
            self.lost(digest, what);
        }
    }

    /// A blob that was held is held no more: it is fetched from the others.
    pub(super) fn lost(&self, digest: Digest, what: String) {
        self.report(Event::Damaged(digest, what));
        self.repairer.call();
    }

    /// A read met a damaged blob: it is held no more.
    pub(super) async fn met_damage(&self, digest: Digest, error: &StoreError) {
        self.report(Event::Damaged(digest, error.to_string()));
        match self.store.mark_damaged(&digest).await {
            Ok(()) => self.repairer.call(),
            Err(error) => self.report(Event::Trouble(error.to_string())),
        }
    }
}
