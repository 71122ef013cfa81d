//! A replica: stores blobs durably and votes for what it holds. It dials its servers and keeps its keys and blobs over restarts.

pub mod clock_watch;
pub mod control;
mod founding;
mod identity;
mod link;
mod place;
mod put_workers;
pub mod repair;
pub mod scrub;
mod signing;
pub mod status;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vouch_core::DecodeError;
use vouch_core::committee::{Committee, MemberName};
use vouch_core::founding::ReplicaFounding;
use vouch_core::link::{HelloError, NodeKey};
use vouch_core::message::{Code, MessageError};
pub use vouch_node_core::replica::Event;

use crate::data_dir::{DataDir, DataDirError};
use crate::host::Host;
use crate::host::objects::{Credentials, StoreUrl};
use crate::host::tasks::JoinSet;
use crate::keys::ReplicaKeys;
use crate::latest::Latest;
use crate::link::LinkError;
use crate::notices::Notice;
use crate::store::{self, Store, StoreError};
use clock_watch::ClockWatch;
use control::Door;
use founding::Foundings;
use identity::Identity;
pub use identity::{IdentityError, keys_of};
pub use place::PlaceError;
use repair::Repairer;
use scrub::Scrubber;
use signing::Signing;
use status::Links;

/// Between tries to reach a server: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Before the next try of a server that refused for a reason that lasts.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A link that held so long starts the pauses anew.
const STABLE: Duration = Duration::from_secs(10);
/// For what came of puts when it shuts down.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// Between looks for expired blobs.
const COLLECT_EVERY: Duration = Duration::from_secs(300);
/// A disk of 8 TB is read in twelve days.
const SCRUB_RATE: u64 = 8 << 20;
const SCRUB_PAUSE: Duration = Duration::from_secs(3600);
const REPAIR_EVERY: Duration = Duration::from_secs(300);
/// Puts and gets have the rest of the link.
const REPAIR_RATE: u64 = 64 << 20;

/// Where a replica's data is.
#[derive(Debug, Clone)]
pub enum Data {
    /// This folder.
    Folder(PathBuf),
    /// The first free `replica-N` under this folder.
    FirstFree(PathBuf),
}

/// How a replica runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its data.
    pub data: Data,
    /// What people call it; the folder's name when not given.
    pub name: Option<String>,
    /// Give up a founding that never completed, and begin with new keys.
    pub abandon_founding: bool,
    /// Addresses of servers, `host:port`.
    pub servers: Vec<String>,
    /// Puts received at once, for one server.
    pub max_incoming: usize,
    /// How much it may hold. Where is `location`'s to say.
    pub store: store::Config,
    /// Where its large blobs are; `None`: where they were, at first beside its index.
    pub location: Option<StoreUrl>,
    /// As whom a store elsewhere is asked.
    pub credentials: Credentials,
    /// How often expired blobs are removed.
    pub collect_every: Duration,
    /// How long, of running time, the wall clock must have said that a blob expired before it is removed.
    pub settling: Duration,
    /// Seconds between a blob's expiry and its removal; more than twice what clocks may be off.
    pub grace: u64,
    /// Bytes a second of the reading that looks for damage.
    pub scrub_rate: u64,
    /// From the end of one such reading to the next.
    pub scrub_pause: Duration,
    /// How often it looks for certified blobs that it lacks, beside when a link begins or damage is found.
    pub repair_every: Duration,
    /// Bytes a second that it fetches of them.
    pub repair_rate: u64,
}

impl Config {
    /// The defaults.
    pub fn new(data: Data, servers: Vec<String>) -> Self {
        Self {
            data,
            name: None,
            abandon_founding: false,
            servers,
            max_incoming: 384,
            store: store::Config::default(),
            location: None,
            credentials: Credentials::default(),
            collect_every: COLLECT_EVERY,
            settling: store::SETTLING,
            grace: store::GRACE,
            scrub_rate: SCRUB_RATE,
            scrub_pause: SCRUB_PAUSE,
            repair_every: REPAIR_EVERY,
            repair_rate: REPAIR_RATE,
        }
    }
}

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
    name: MemberName,
    store: Store,
    links: Links,
    scrubber: Scrubber,
    repairer: Repairer,
    clock: ClockWatch,
    repair_every: Duration,
    repair_rate: u64,
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
    fn report_standing(&self) {
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

/// What is done beside the links, and how often.
struct Upkeep {
    collect_every: Duration,
    settling: Duration,
    grace: u64,
    scrub_rate: u64,
    scrub_pause: Duration,
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
            keys,
            name,
            store,
            links: Links::new(&config.servers),
            scrubber: Scrubber::default(),
            repairer,
            clock: ClockWatch::new(host.clone()),
            host,
            repair_every: config.repair_every,
            repair_rate: config.repair_rate,
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

impl Upkeep {
    /// Never completes.
    async fn run(self, shared: &Arc<Shared>) {
        let collecting = keep_collecting(shared.clone(), self.collect_every, self.settling, self.grace);
        let scrubbing = scrub::run(shared.clone(), self.scrub_rate, self.scrub_pause);
        let answering = async {
            match Door::open(&shared.host, shared.data.path()) {
                Ok(door) => door.serve(shared.clone()).await,
                // a replica without that serves as well as any other
                Err(error) => shared.report(Event::Trouble(format!("no status from outside: {error}"))),
            }
        };
        let watching = clock_watch::run(shared.clone());
        tokio::join!(collecting, scrubbing, answering, watching);
    }
}

/// Removes what has expired, again and again.
async fn keep_collecting(shared: Arc<Shared>, every: Duration, settling: Duration, grace: u64) {
    let mut counted = shared.host.monotonic();
    loop {
        shared.host.sleep(every).await;
        let now = shared.host.monotonic();
        let ran = now.saturating_sub(counted);
        // what is less than a second counts the next time
        counted += Duration::from_secs(ran.as_secs());
        collect(&shared, ran, settling, grace).await;
    }
}

/// Removes what has expired, unless the clock is in doubt: nor does what it says then count as a clock that has settled.
async fn collect(shared: &Shared, ran: Duration, settling: Duration, grace: u64) {
    // read first: a clock that jumps from here on is in doubt already when it is looked at
    let wall = shared.host.unix_seconds();
    if shared.clock_doubt().is_some() {
        return;
    }
    // what it lacks may lie on the disk, of an index that was lost
    let sweeps = shared.repairer.so_far().lacking == Some(0);
    match shared.store.collect_settled(wall, ran, settling, grace, sweeps).await {
        Ok(collected) if collected.blobs > 0 => {
            shared.report(Event::Collected(collected.blobs, collected.bytes));
        }
        Ok(_) => {}
        Err(error) => shared.report(Event::Trouble(error.to_string())),
    }
}

/// Dials again and again; slowly where the server refused for a reason that lasts: its operator may start another one there.
async fn keep_linked(shared: Arc<Shared>, address: String) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = shared.host.monotonic();
        let error = link::run(&shared, &address).await;
        if is_lasting(&error) {
            shared.report(Event::RefusedForGood(address.clone(), error.to_string()));
            shared.host.sleep(REFUSED_PAUSE).await;
            continue;
        }
        shared.report(Event::Disconnected(address.clone(), error.to_string()));
        if shared.host.monotonic() > began + STABLE {
            pause = FIRST_PAUSE;
        }
        shared.host.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What dialling again soon cannot mend.
fn is_lasting(error: &LinkError) -> bool {
    match error {
        LinkError::Refused(failed) | LinkError::Violation(failed) => {
            matches!(failed.code, Code::AnotherCluster | Code::Version | Code::NotAuthenticated | Code::NotAdmitted)
        }
        LinkError::Message(MessageError::Hello(HelloError::Version { .. })) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use vouch_core::digest::Digest;
    use vouch_core::receipt::Receipt;

    use super::*;

    fn config(folder: &std::path::Path) -> Config {
        // nobody listens there
        Config::new(Data::Folder(folder.join("replica")), vec!["127.0.0.1:1".into()])
    }

    #[tokio::test]
    async fn expired_blobs_are_removed_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let settling = Duration::ZERO;
        let config = Config { collect_every: Duration::from_millis(10), settling, ..config(folder.path()) };
        let (events, mut told) = tokio::sync::mpsc::unbounded_channel();
        let replica = Replica::open(Host::system(), config, Arc::new(move |event| drop(events.send(event)))).unwrap();
        let store = replica.shared.store.clone();
        for (bytes, expires_at) in [(b"expired".as_slice(), 1), (b"stays", Host::system().unix_seconds())] {
            let receipt = Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at };
            store.put_small(&receipt, bytes.to_vec().into()).await.unwrap();
        }
        let collected = async {
            loop {
                if let Some(Event::Collected(blobs, bytes)) = told.recv().await {
                    assert_eq!((blobs, bytes), (1, 7));
                    return;
                }
            }
        };
        Host::system().timeout(Duration::from_secs(30), replica.run(collected)).await.unwrap();
        assert_eq!(store.length_of(&Digest::of(b"expired")).unwrap(), None);
        assert_eq!(store.length_of(&Digest::of(b"stays")).unwrap(), Some(5), "its grace is not over");
    }

    #[tokio::test]
    async fn a_clock_in_doubt_deletes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Replica::open(Host::system(), config(folder.path()), Arc::new(|_| {})).unwrap().shared;
        let receipt = Receipt { salt: [0; 16], digest: Digest::of(b"expired"), length: 7, expires_at: 1 };
        shared.store.put_small(&receipt, b"expired".to_vec().into()).await.unwrap();
        let held = || shared.store.length_of(&receipt.digest).unwrap();
        let day = Duration::from_secs(24 * 3600);
        // set forward by an hour since it was looked at last
        shared.clock.set_off(3600);
        for _ in 0..3 {
            collect(&shared, day, day, store::GRACE).await;
            assert_eq!(held(), Some(7));
        }
        // the days in doubt were no days of a clock that has settled
        shared.clock.trust();
        collect(&shared, Duration::ZERO, day, store::GRACE).await;
        assert_eq!(held(), Some(7));
        collect(&shared, day, day, store::GRACE).await;
        assert_eq!(held(), None);
    }

    #[test]
    fn a_grace_too_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { grace: 120, ..config(folder.path()) };
        let refused = Replica::open(Host::system(), config, Arc::new(|_| {})).map(drop).unwrap_err();
        assert!(matches!(refused, ReplicaError::Store(StoreError::ShortGrace { got: 120, least: 120 })), "{refused}");
    }
}
