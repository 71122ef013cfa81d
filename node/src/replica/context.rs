//! The handles that a replica's modules share. Each module is given only those that it uses.

use std::path::Path;
use std::sync::Arc;

use vouch_core::digest::Digest;
use vouch_node_core::replica::Event;

pub(super) use super::own_identity::OwnIdentity;
use super::repair_queue::RepairQueue;
use super::server_links::ServerLinks;
use crate::data_dir::DataDir;
use crate::host::Host;
use crate::store::{self, Store, StoreError};

/// Takes the replica's events.
pub type Reporter = Arc<dyn Fn(Event) + Send + Sync>;

/// Passes events on to the operator, and into the status.
pub(super) struct Reports {
    pub(super) links: ServerLinks,
    reporter: Reporter,
}

impl Reports {
    pub(super) fn new(servers: &[String], reporter: Reporter) -> Self {
        Self { links: ServerLinks::new(servers), reporter }
    }

    pub(super) fn report(&self, event: Event) {
        self.links.record(&event);
        (self.reporter)(event);
    }

    /// Reports whether the replica is a member, or waits for its committee.
    pub(super) fn report_membership(&self, identity: &OwnIdentity) {
        match identity.chain() {
            None => self.report(Event::Waiting),
            Some(chain) => match identity.position(chain.current()) {
                Some(position) => self.report(Event::Member(chain.current().clone(), position)),
                None => self.report(Event::Standby(chain.cluster().to_string().into())),
            },
        }
    }
}

/// The replica's folders. No other process opens them while this is held.
#[derive(Debug)]
pub(super) struct LockedFolders {
    pub(super) data: DataDir,
    /// The folder of large blobs, if it is not in the data folder.
    pub(super) _blobs: Option<DataDir>,
}

/// The store, and everyone who must know when a blob turns out damaged.
#[derive(Clone)]
pub(super) struct Storage {
    pub(super) host: Host,
    pub(super) store: Store,
    pub(super) repairs: Arc<RepairQueue>,
    pub(super) reports: Arc<Reports>,
    /// Keeps the locks while anything may write: if the disk hangs, a put's worker outlives the replica.
    pub(super) folders: Arc<LockedFolders>,
}

impl Storage {
    /// The data folder.
    pub(super) fn folder(&self) -> &Path {
        self.folders.data.path()
    }

    /// See [`store::blocking`].
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        store::blocking(&self.host, work).await
    }

    /// Why the replica can neither store nor vote; `None` if it can. Blocks until the disk has answered.
    pub(super) fn failure(&self) -> Option<String> {
        self.store.failure().or_else(|| self.store.usage().err().map(|error| error.to_string()))
    }

    /// Reports a blob that the index has marked as damaged, and has it fetched from other replicas.
    pub(super) fn report_damaged(&self, digest: Digest, what: String) {
        self.reports.report(Event::Damaged(digest, what));
        self.repairs.wake_all();
    }

    /// Marks a blob that a read found damaged in the index, reports it, and has it fetched from other replicas.
    pub(super) async fn found_damaged(&self, digest: Digest, error: String) {
        self.reports.report(Event::Damaged(digest, error));
        match self.store.mark_damaged(&digest).await {
            Ok(()) => self.repairs.wake_all(),
            Err(error) => self.reports.report(Event::Trouble(error.to_string())),
        }
    }
}
