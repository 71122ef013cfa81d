//! A replica: stores blobs durably and votes for what it holds. It dials its servers and keeps its keys and blobs over restarts.

mod access;
mod admission;
mod blob_location;
pub mod clock_watch;
mod config;
mod context;
pub mod control;
mod founding;
mod identity;
mod last_votes;
mod link;
mod load;
mod log;
mod membership;
mod metrics_source;
mod own_identity;
mod peers;
mod put_workers;
pub mod repair;
mod repair_queue;
pub mod scrub;
mod server_links;
pub mod status;
mod upkeep;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::committee::{MemberName, Policy};
use vouch_core::founding_protocol::ReplicaFounding;
use vouch_core::link::NodeKey;
pub use vouch_node_core::replica::Event;
use vouch_node_core::replica::repair::RepairConfig;

use crate::data_dir::{DataDir, DataDirError};
use crate::host::Host;
use crate::host::objects::Credentials;
use crate::host::tasks::JoinSet;
use crate::metrics::{MetricsSource, ReplicaCounters};
use crate::notices::Notice;
use crate::pulse::{Pulse, PulseAnswers, pulse};
use crate::store::{self, Store, StoreError};
use admission::ReplicaAdmission;
pub use blob_location::{BlobLocationError, examine as examine_blob_location};
use clock_watch::ClockWatch;
pub use config::{Data, ReplicaConfig};
pub use context::Reporter;
use context::{LockedFolders, OwnIdentity, Reports, Storage};
use founding::Foundings;
use identity::Identity;
pub use identity::{IdentityError, keys_of};
use link::LinkContext;
pub use load::{ReplicaGauge, ReplicaLoad};
use log::{LogContext, LogRunner, ReplicaLog};
pub use membership::StopsError;
use membership::{Approving, MembershipContext, Reporting, Stops};
use metrics_source::ReplicaMetrics;
pub use peers::ListenError;
use peers::{AddressBook, Connections, Listening, PeerEvents, PeerNetwork};
use repair_queue::RepairQueue;
use scrub::Scrubber;
use status::OperatorContext;
use upkeep::{Upkeep, keep_linked};

/// How long a shutdown waits until partial uploads are durable.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Why a replica cannot start.
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
    Place(#[from] BlobLocationError),
    /// Its blobs and index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it promised to sign no more.
    #[error(transparent)]
    Stops(#[from] StopsError),
    /// Its name.
    #[error("{0}; choose another with --name")]
    Name(#[from] DecodeError),
    /// Where it listens for other members.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The thread that opened the data folder failed.
    #[error("opening the data folder: {0}")]
    Task(String),
}

/// A replica that is ready to run.
pub struct Replica {
    link: Arc<LinkContext>,
    operator: Arc<OperatorContext>,
    servers: Vec<String>,
    upkeep: Upkeep,
    log: (LogRunner, Arc<LogContext>, PeerNetwork, PeerEvents),
    membership: Arc<MembershipContext>,
    connections: Connections,
    stop_timeout: Duration,
    pulse: (Pulse, PulseAnswers),
}

/// The store of a replica that is not running. The lock keeps the replica from starting.
pub struct AtRest {
    /// Its blobs.
    pub store: Store,
    _folders: LockedFolders,
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
        let (place, blobs) = blob_location::take(host.disk(), data.path(), None, &credentials, keys.node.node_key())?;
        let store = Store::open(host, data.path(), &store::StoreConfig { place, ..store::StoreConfig::default() })?;
        Ok(Self { store, _folders: LockedFolders { data, _blobs: blobs } })
    }
}

/// A folder's name, cut to the longest name that a member may have.
fn shortened(mut name: String) -> String {
    while name.len() > MemberName::MAX_SIZE {
        name.pop();
    }
    name
}

impl Replica {
    /// Opens the data folder and everything in it, on a thread that may block: a committee's proofs of possession take a
    /// millisecond for each member, and the index is read. With blobs in S3, the runtime must have several threads.
    ///
    /// # Errors
    /// See [`ReplicaError`].
    pub async fn open(host: Host, config: ReplicaConfig, reporter: Reporter) -> Result<Self, ReplicaError> {
        let listening = peers::listen(&host, config.listen.as_deref(), config.advertise.clone()).await?;
        let opening = host.clone();
        let opened = host.spawn_blocking(move || Self::open_listening(opening, config, reporter, listening)).await;
        opened.map_err(|panicked| ReplicaError::Task(panicked.to_string()))?
    }

    /// The same without listening.
    #[cfg(test)]
    fn open_blocking(host: Host, config: ReplicaConfig, reporter: Reporter) -> Result<Self, ReplicaError> {
        Self::open_listening(host, config, reporter, None)
    }

    fn open_listening(
        host: Host,
        config: ReplicaConfig,
        reporter: Reporter,
        listening: Option<Listening>,
    ) -> Result<Self, ReplicaError> {
        let data = match &config.data {
            Data::Folder(path) => DataDir::open(host.disk(), path)?,
            Data::FirstFree(root) => DataDir::take_replica(host.disk(), root)?,
        };
        let name = match config.name {
            Some(name) => MemberName::new(&name)?,
            None => MemberName::new(&shortened(data.name()))?,
        };
        if config.abandon_founding
            && let Some(aside) = identity::abandon(host.disk(), data.path())?
        {
            let aside = aside.display();
            reporter(Event::Founding(format!(
                "abandoned the founding; its keys are in {aside}, and new ones are made"
            )));
        }
        let Identity { keys, record, chain } = Identity::open(&host, data.path())?;
        let founding = ReplicaFounding::new(record, chain.is_some(), Policy::of(config.operator));
        store::check_grace(config.grace)?;
        let owner = keys.node.node_key();
        let (place, blobs) =
            blob_location::take(host.disk(), data.path(), config.location.as_ref(), &config.credentials, owner)?;
        let store = Store::open(&host, data.path(), &store::StoreConfig { place, ..config.store })?;
        let identity = Arc::new(OwnIdentity::new((host.clone(), data.path()), keys, name, chain));
        let reports = Arc::new(Reports::new(&config.servers, reporter));
        let storage = Storage {
            host: host.clone(),
            repairs: Arc::new(RepairQueue::new(store.lists_read()?)),
            store,
            reports: reports.clone(),
            folders: Arc::new(LockedFolders { data, _blobs: blobs }),
        };
        let folder = storage.folder().to_owned();
        let (log, log_runner) = ReplicaLog::new();
        let (addresses, trouble) = AddressBook::open(host.disk(), &folder);
        if let Some(trouble) = trouble {
            reports.report(Event::Trouble(trouble));
        }
        let announced = listening.as_ref().map(|listening| listening.announced.clone());
        let (peers, peer_events) = PeerNetwork::new(host.clone(), announced, addresses);
        let connections = Connections::new(peers.clone(), listening);
        let clock = Arc::new(ClockWatch::new(host.clone(), identity.clone(), reports.clone()));
        let log_context = Arc::new(LogContext {
            identity: identity.clone(),
            reports: reports.clone(),
            storage: storage.clone(),
            clock: clock.clone(),
            may_recover: config.recover_log,
            joins: config.joins,
        });
        let admission = ReplicaAdmission::new(storage.store.token_usage()?);
        let stops = Arc::new(Stops::open(storage.host.disk(), &folder)?);
        let (approving, trouble) = Approving::open(storage.host.disk(), &folder, config.takes_joiners);
        if let Some(trouble) = trouble {
            reports.report(Event::Trouble(trouble));
        }
        let approving = Arc::new(approving);
        let membership = Arc::new(MembershipContext {
            identity: identity.clone(),
            reports: reports.clone(),
            storage: storage.clone(),
            clock: clock.clone(),
            log: log.clone(),
            approving: approving.clone(),
            admission: admission.clone(),
            stops: stops.clone(),
            reporting: Reporting::default(),
            servers: config.servers.clone(),
            joins: config.joins,
        });
        let link = Arc::new(LinkContext {
            clock,
            foundings: Arc::new(Foundings::new(
                host,
                folder,
                identity.clone(),
                reports.clone(),
                (founding, config.joins),
            )),
            identity,
            reports,
            storage,
            admission,
            votes: Arc::default(),
            log,
            peers: peers.clone(),
            stops,
            left_out: Notice::default(),
            repair: RepairConfig { every: config.repair_every, rate: config.repair_rate, joins: config.joins },
            max_incoming: config.max_incoming,
            receiving: Arc::default(),
            counters: ReplicaCounters::default(),
        });
        let operator = Arc::new(OperatorContext {
            identity: link.identity.clone(),
            reports: link.reports.clone(),
            storage: link.storage.clone(),
            admission: link.admission.clone(),
            clock: link.clock.clone(),
            foundings: link.foundings.clone(),
            votes: link.votes.clone(),
            log: link.log.clone(),
            approving,
            peers: link.peers.clone(),
            scrubber: Scrubber::new(link.storage.clone()),
        });
        if let Some(replaced) = link.storage.store.replaced() {
            let next =
                "this replica holds nothing until it has found its blobs on its disk, or fetched them from the others";
            link.reports.report(Event::Trouble(format!("{replaced}; {next}")));
        }
        let ReplicaConfig { servers, collect_every, settling, grace, scrub_rate, scrub_pause, stop_timeout, .. } =
            config;
        let upkeep = Upkeep { collect_every, settling, grace, scrub_rate, scrub_pause };
        let log = (log_runner, log_context, peers, peer_events);
        let pulse = pulse();
        Ok(Self { link, operator, servers, upkeep, log, membership, connections, stop_timeout, pulse })
    }

    /// Its node key.
    pub fn node_key(&self) -> NodeKey {
        self.link.identity.node_key()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.link.identity.name.as_str()
    }

    /// Its data folder.
    pub fn folder(&self) -> &std::path::Path {
        self.link.storage.folder()
    }

    /// Its metrics, which can be read while it runs.
    pub fn metrics(&self) -> Arc<dyn MetricsSource> {
        let (receiving, counters) = (self.link.receiving.clone(), self.link.counters.clone());
        Arc::new(ReplicaMetrics::new(self.operator.clone(), receiving, counters))
    }

    /// The address on which it accepts connections of other members, if it does.
    pub fn listening(&self) -> Option<SocketAddr> {
        self.connections.local_addr()
    }

    /// Shows, while the replica runs, that its log and its upkeep go on.
    pub fn pulse(&self) -> Pulse {
        self.pulse.0.clone()
    }

    /// Serves until `shutdown` completes; then finishes the puts in progress, as long as the configuration says.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let mut links = JoinSet::new();
        for address in self.servers {
            links.spawn(keep_linked(self.link.clone(), address));
        }
        let upkeep = self.upkeep.run(&self.operator);
        let (runner, context, peers, events) = self.log;
        let keeping_time = peers.keep_time();
        let ordering = runner.run(context, peers.clone(), events);
        let changing = self.membership.clone().run();
        let fetching_seals = Box::pin(self.membership.fetch_seals());
        let reports = self.link.reports.clone();
        let connecting = self.connections.run(move |trouble| reports.report(Event::Trouble(trouble)));
        let (_pulse, mut answers) = self.pulse;
        tokio::pin!(upkeep, ordering, changing, fetching_seals, keeping_time, connecting);
        let stopping = async {
            shutdown.await;
            let (host, receiving) = (&self.link.storage.host, &self.link.receiving);
            if !self.stop_timeout.is_zero() {
                let _ = host.timeout(self.stop_timeout, receiving.settled(host)).await;
            }
        };
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                biased;
                () = &mut stopping => break,
                () = answers.answer() => {}
                () = &mut upkeep => break,
                () = &mut ordering => break,
                () = &mut changing => break,
                () = &mut fetching_seals => break,
                () = &mut keeping_time => break,
                () = &mut connecting => break,
            }
        }
        links.shutdown().await;
        // Wait until partial uploads are durable, unless the disk hangs.
        let _ = self.link.storage.host.timeout(LAST_WRITES, self.link.receiving.finished()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_stays_locked_while_a_worker_may_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replica");
        let config = ReplicaConfig::new(Data::Folder(path.clone()), Vec::new());
        let replica = Replica::open_blocking(Host::system(), config, Arc::new(|_| {})).unwrap();
        let worker = replica.link.storage.clone();
        drop(replica);
        let host = Host::system();
        assert!(matches!(DataDir::open(host.disk(), &path), Err(DataDirError::InUse { .. })));
        drop(worker);
        drop(DataDir::open(host.disk(), &path).unwrap());
    }

    #[test]
    fn a_short_grace_period_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = ReplicaConfig::new(Data::Folder(folder.path().join("replica")), Vec::new());
        let config = ReplicaConfig { grace: 120, ..config };
        let refused = Replica::open_blocking(Host::system(), config, Arc::new(|_| {})).map(drop).unwrap_err();
        assert!(matches!(refused, ReplicaError::Store(StoreError::ShortGrace { got: 120, least: 120 })), "{refused}");
    }
}
