//! The blobs that are known to be lacking, shared by all links: each link looks for them at its own server and waits here for news.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedMutexGuard};
use vouch_core::certificate::Certificate;
use vouch_node_core::replica::assigned_blob::AssignedBlob;
use vouch_node_core::replica::lacking::{LackingBlobs, ListPositions, Repair};

/// The blobs to fetch, and the links that fetch them.
#[derive(Debug, Default)]
pub(super) struct RepairQueue {
    state: Mutex<RepairQueueState>,
    /// Only one link fetches at a time: otherwise two would fetch the same blob.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct RepairQueueState {
    blobs: LackingBlobs,
    /// Wakes a link's repair, by the number of the link.
    wakes: BTreeMap<u64, Arc<Notify>>,
}

/// One link's registration. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct RegisteredLink {
    queue: Arc<RepairQueue>,
    pub(super) number: u64,
    wake: Arc<Notify>,
}

impl RegisteredLink {
    /// Waits until there is something to fetch, or a reason to read the server's lists.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for RegisteredLink {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.blobs.end_link(self.number);
        state.wakes.remove(&self.number);
    }
}

impl RepairQueue {
    /// Continues the lists at their saved positions.
    pub(super) fn new(read: ListPositions) -> Self {
        let state = RepairQueueState { blobs: LackingBlobs::new(read), wakes: BTreeMap::new() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// The progress so far. `wall`: the wall clock, in seconds since 1970.
    pub(super) fn progress(&self, wall: u64) -> Repair {
        self.with(|blobs| blobs.progress(wall))
    }

    /// Registers a link that begins.
    pub(super) fn register(self: &Arc<Self>) -> RegisteredLink {
        let wake = Arc::new(Notify::new());
        let mut state = self.state();
        let number = state.blobs.begin_link();
        state.wakes.insert(number, wake.clone());
        RegisteredLink { queue: self.clone(), number, wake }
    }

    /// Waits until no other link fetches, and keeps others from fetching until the guard is dropped.
    pub(super) async fn take_turn(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    fn state(&self) -> MutexGuard<'_, RepairQueueState> {
        // Recover from poisoning: every change is one call, so the state is consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what is known to be lacking.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut LackingBlobs) -> T) -> T {
        change(&mut self.state().blobs)
    }

    /// Whether a certificate's blob is in the queue, with a certificate that is no worse.
    pub(super) fn knows(&self, certificate: &Certificate) -> bool {
        self.with(|blobs| blobs.knows(certificate))
    }

    /// Wakes every link, because a blob is lacking that was held before.
    pub(super) fn wake_all(&self) {
        self.state().wakes.values().for_each(|wake| wake.notify_one());
    }

    /// Adds blobs that are lacking. A full queue drops them: the server's lists have them as well, and
    /// `link` reads those again.
    pub(super) fn add(&self, link: u64, lacking: Vec<AssignedBlob>) {
        if lacking.is_empty() {
            return;
        }
        let is_full = self.with(|blobs| {
            let is_full = blobs.is_full();
            if !is_full {
                blobs.add(lacking);
            }
            is_full
        });
        if is_full { self.read_lists_again(link) } else { self.wake_all() }
    }

    /// Has every link read its server's lists at once. Until one of them has read enough lists, it is unknown what is lacking.
    pub(super) fn read_all_lists_again(&self) {
        self.with(LackingBlobs::doubt_all);
        self.wake_all();
    }

    /// Has a link read its server's lists at once: the server knows certificates that it did not show.
    pub(super) fn read_lists_again(&self, link: u64) {
        let mut state = self.state();
        state.blobs.doubt(link);
        if let Some(wake) = state.wakes.get(&link) {
            wake.notify_one();
        }
    }
}
