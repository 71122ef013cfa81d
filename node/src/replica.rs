//! A replica: stores blobs durably and votes for what it holds. It dials its servers and keeps its keys and blobs over restarts.

pub mod clock_watch;
mod config;
pub mod control;
mod founding;
mod identity;
mod link;
mod load;
mod place;
mod put_workers;
pub mod repair;
pub mod scrub;
mod signing;
pub mod status;
mod upkeep;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::bls::{Possession, VoteKey};
use vouch_core::committee::{Committee, MemberName};
use vouch_core::founding::ReplicaFounding;
use vouch_core::link::NodeKey;
pub use vouch_node_core::replica::Event;
use vouch_node_core::replica::repair::RepairConfig;

use crate::data_dir::{DataDir, DataDirError};
use crate::host::Host;
use crate::host::objects::Credentials;
use crate::host::tasks::JoinSet;
use crate::keys::ReplicaKeys;
use crate::latest::Latest;
use crate::notices::Notice;
use crate::store::{self, Store, StoreError};
use clock_watch::ClockWatch;
pub use config::{Config, Data};
use founding::Foundings;
use identity::Identity;
pub use identity::{IdentityError, keys_of};
pub use load::{ReplicaGauge, ReplicaLoad};
pub use place::PlaceError;
use repair::Repairer;
use scrub::Scrubber;
use signing::Signing;
use status::Links;
use upkeep::{Upkeep, keep_linked};

/// For what came of puts when it shuts down.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Why a replica cannot start or go on.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// Its keys, the founding that it accepted, its committee.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Where its large blobs are.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// Its blobs and index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its name.
    #[error("{0}; choose another with --name")]
    Name(#[from] DecodeError),
}

/// Takes the replica's events.
pub type Reporter = Arc<dyn Fn(Event) + Send + Sync>;

pub(crate) struct Shared {
    host: Host,
    keys: ReplicaKeys,
    /// The public half of the vote key and its proof, which every link shows.
    proved_vote_key: (VoteKey, Possession),
    name: MemberName,
    store: Store,
    links: Links,
    scrubber: Scrubber,
    repairer: Repairer,
    clock: ClockWatch,
    repair: RepairConfig,
    /// Watched by every link: a server without a committee hears of it.
    committee: Latest<Option<Arc<Committee>>>,
    /// Lines about puts that went on without this replica: one for each put would be a flood.
    left_out: Notice,
    foundings: Foundings,
    signing: Signing,
    max_incoming: usize,
    /// Read by each put that is being received.
    receiving: Arc<tokio::sync::RwLock<()>>,
    reporter: Reporter,
    // keeps the folder locked
    data: DataDir,
    _files: Option<DataDir>,
}

impl Shared {
    fn committee(&self) -> Option<Arc<Committee>> {
        self.committee.get()
    }

    fn report(&self, event: Event) {
        self.links.hear(&event);
        (self.reporter)(event);
    }

    /// Says what this replica is: a member, or one that waits for its committee.
    fn report_membership(&self) {
        match self.committee() {
            None => self.report(Event::Waiting),
            Some(committee) => {
                if let Some(position) = self.position(&committee) {
                    self.report(Event::Member(committee, position));
                }
            }
        }
    }

    /// Takes note of a put or a batch that went on without this replica, by a server's word.
    fn left_out(&self, server: &str, why: &str) {
        let text = format!("{server} says of this replica: it {why}");
        if let Some(line) = self.left_out.line(self.host.monotonic(), &text) {
            self.report(Event::LeftOut(line));
        }
    }

    /// See [`store::blocking`].
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        store::blocking(&self.host, work).await
    }

    /// Why it can neither store nor vote, if that is so.
    fn storage_failure(&self) -> Option<String> {
        self.store.failure().or_else(|| self.store.usage().err().map(|error| error.to_string()))
    }

    fn position(&self, committee: &Committee) -> Option<u16> {
        committee.record().position(&self.keys.node.node_key())
    }
}

/// A replica that is ready to run.
pub struct Replica {
    shared: Arc<Shared>,
    servers: Vec<String>,
    upkeep: Upkeep,
}

/// The store of a replica that does not run; nobody starts it while this is held.
pub struct AtRest {
    /// Its blobs.
    pub store: Store,
    _files: Option<DataDir>,
    _data: DataDir,
}

impl AtRest {
    /// Opens the store of a replica's data folder, wherever its blobs are.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn open(host: &Host, folder: &Path) -> Result<Self, ReplicaError> {
        let data = DataDir::open(host.disk(), folder)?;
        let Identity { keys, .. } = Identity::open(host, data.path())?;
        let credentials = Credentials::from_environment();
        let (place, files) = place::take(host.disk(), data.path(), None, &credentials, keys.node.node_key())?;
        let store = Store::open(host, data.path(), &store::Config { place, ..store::Config::default() })?;
        Ok(Self { store, _files: files, _data: data })
    }
}

impl Replica {
    /// Opens the data folder and everything in it. With blobs in a store elsewhere, to be called on a runtime of
    /// several threads.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub fn open(host: Host, config: Config, reporter: Reporter) -> Result<Self, ReplicaError> {
        let data = match &config.data {
            Data::Folder(path) => DataDir::open(host.disk(), path)?,
            Data::FirstFree(root) => DataDir::take_replica(host.disk(), root)?,
        };
        let name = config.name.unwrap_or_else(|| {
            // a folder may have a longer name than a member
            let mut name = data.name().to_owned();
            while name.len() > MemberName::MAX_SIZE {
                name.pop();
            }
            name
        });
        let name = MemberName::new(&name)?;
        if config.abandon_founding
            && let Some(aside) = identity::abandon(host.disk(), data.path())?
        {
            let aside = aside.display();
            reporter(Event::Founding(format!(
                "abandoned the founding; its keys are in {aside}, and new ones are made"
            )));
        }
        let Identity { keys, record, committee } = Identity::open(&host, data.path())?;
        let is_founded = committee.is_some();
        store::check_grace(config.grace)?;
        let owner = keys.node.node_key();
        let (place, files) =
            place::take(host.disk(), data.path(), config.location.as_ref(), &config.credentials, owner)?;
        let store = Store::open(&host, data.path(), &store::Config { place, ..config.store })?;
        let repairer = Repairer::new(store.lists_read()?);
        let shared = Arc::new(Shared {
            proved_vote_key: (keys.vote.vote_key(), keys.vote.prove_possession()),
            keys,
            name,
            store,
            links: Links::new(&config.servers),
            scrubber: Scrubber::default(),
            repairer,
            clock: ClockWatch::new(host.clone()),
            host,
            repair: RepairConfig { every: config.repair_every, rate: config.repair_rate },
            committee: Latest::new(committee),
            left_out: Notice::default(),
            foundings: Foundings::new(ReplicaFounding::new(record, is_founded)),
            signing: Signing::default(),
            max_incoming: config.max_incoming,
            receiving: Arc::default(),
            reporter,
            data,
            _files: files,
        });
        if let Some(word) = shared.store.replaced() {
            let next =
                "this replica holds nothing until it has found its blobs on its disk, or fetched them from the others";
            shared.report(Event::Trouble(format!("{word}; {next}")));
        }
        let Config { servers, collect_every, settling, grace, scrub_rate, scrub_pause, .. } = config;
        Ok(Self { shared, servers, upkeep: Upkeep { collect_every, settling, grace, scrub_rate, scrub_pause } })
    }

    /// Its link key, which names it.
    pub fn node_key(&self) -> NodeKey {
        self.shared.keys.node.node_key()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.shared.name.as_str()
    }

    /// Its data folder.
    pub fn folder(&self) -> &std::path::Path {
        self.shared.data.path()
    }

    /// Serves until `shutdown` completes.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut links = JoinSet::new();
        for address in self.servers {
            links.spawn(keep_linked(self.shared.clone(), address));
        }
        tokio::pin!(shutdown);
        let upkeep = self.upkeep.run(&self.shared);
        tokio::pin!(upkeep);
        tokio::select! {
            biased;
            () = &mut shutdown => {}
            () = &mut upkeep => {}
        }
        links.shutdown().await;
        // what came of puts is made durable; a disk that hangs is not waited for any longer
        let _ = self.shared.host.timeout(LAST_WRITES, self.shared.receiving.write()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_too_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let config = Config { grace: 120, ..config };
        let refused = Replica::open(Host::system(), config, Arc::new(|_| {})).map(drop).unwrap_err();
        assert!(matches!(refused, ReplicaError::Store(StoreError::ShortGrace { got: 120, least: 120 })), "{refused}");
    }
}
