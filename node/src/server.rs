//! The server: accepts replicas and clients, fans out puts, adds up votes. It is untrusted, signs no statement and keeps no blob.

mod archive;
mod batcher;
mod byte_bounded_queue;
mod client;
mod client_link;
mod client_put;
mod endorse;
mod founding;
mod get_performer;
mod guard;
mod http;
mod member_lists;
mod member_queues;
mod outputs;
mod put_performer;
mod replica_link;
mod routes;
mod time_relay;
mod welcome;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::founding::ServerFounding;
pub use vouch_core::founding::WantedCommittee;
use vouch_core::link::NodeSecretKey;
use vouch_core::message::{Code, Failed, Message, Stream};
use vouch_core::quorum;
pub use vouch_node_core::server::batch::BatchPolicy;
use vouch_node_core::server::health::{Fault, LinkId};
pub use vouch_node_core::server::put::Deadlines;
use vouch_node_core::server::{Membership, ServerCore, ServerInput, StreamNumbers};

use crate::committee_file::{self, CommitteeFileError};
use crate::data_dir::{DataDir, DataDirError};
use crate::host::Host;
use crate::host::net::Listener;
use crate::keys::{KeyError, open_or_create_node_key};
use crate::latest::Latest;
use crate::notices::Notice;
use archive::Archive;
use batcher::Batcher;
use byte_bounded_queue::ByteBoundedQueue;
use guard::Guard;
pub use http::{Origin, OriginError};
use member_lists::Listing;
use routes::Routes;

/// How often the deadlines of what is in progress are looked at.
const TICK: Duration = Duration::from_millis(20);
/// Certificates asked for at members at once; further ones wait.
const LOOKUPS: usize = 16;

/// Limits and waits of a server. Memory is bounded by them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder: the server's key, the committee, certificates.
    pub data: PathBuf,
    /// Which committee the operator wants; by default that of the replicas connected at the first put.
    pub wanted: WantedCommittee,
    /// Found a committee from replicas on any machine, not from those on this one only.
    pub allow_open: bool,
    /// The most connections of strangers at once; fewer where the system lets this process open fewer files.
    pub max_links: usize,
    /// The most replicas that are no members, at once.
    pub max_standbys: usize,
    /// The most puts at once; further ones are refused as busy.
    pub max_puts: usize,
    /// The most bytes of reads in flight, over all clients.
    pub read_budget: usize,
    /// The most memory for messages that began to come and are not dealt with, over all clients.
    pub receive_budget: usize,
    /// What is queued for one replica, in chunks of 256 KiB; small blobs count by their bytes.
    pub replica_queue: usize,
    /// How long a put waits for a quorum to connect.
    pub quorum_wait: Duration,
    /// How long a client may be silent while it owes bytes.
    pub client_silence: Duration,
    /// How long a connection may take nothing of what the server has for it.
    pub reader_silence: Duration,
    /// The least that the body of an HTTP put must bring, in bytes a second, on average over `upload_window`: a slow modem's
    /// part. A byte now and then would hold a put and its place at every replica. Puts on one link share it.
    pub upload_rate: u64,
    /// Over how long that is measured; a put that begins slowly has so long to make it good.
    pub upload_window: Duration,
    /// The most gets over HTTP at once; further ones are refused as busy.
    pub max_downloads: usize,
    /// Origins whose pages may put and get, beside the server's own.
    pub allowed_origins: Vec<Origin>,
    /// For the phases of a put.
    pub deadlines: Deadlines,
    /// How blobs gather into batches.
    pub batching: BatchPolicy,
}

impl Config {
    /// The defaults, with this data folder.
    pub fn new(data: PathBuf) -> Self {
        Self {
            data,
            wanted: WantedCommittee::default(),
            allow_open: false,
            max_links: 1024,
            max_standbys: 256,
            max_puts: 256,
            read_budget: 32 << 20,
            receive_budget: 32 << 20,
            replica_queue: 32,
            quorum_wait: Duration::from_secs(3),
            client_silence: Duration::from_secs(30),
            reader_silence: Duration::from_secs(30),
            upload_rate: 1 << 10,
            upload_window: Duration::from_secs(30),
            max_downloads: 256,
            allowed_origins: Vec::new(),
            deadlines: Deadlines::default(),
            batching: BatchPolicy::default(),
        }
    }
}

/// Why a server cannot start or go on.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The server's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The committee that it remembers.
    #[error(transparent)]
    Committee(#[from] CommitteeFileError),
    /// The folder is another committee's.
    #[error(
        "{}: its committee contradicts this flag: {why}; leave the flag out, or name another folder with --data",
        .folder.display()
    )]
    AnotherCommittee {
        /// The data folder.
        folder: PathBuf,
        /// What contradicts.
        why: String,
    },
    /// The certificates.
    #[error("certificates: {0}")]
    Archive(#[from] crate::durable::DurableError),
    /// The listening socket.
    #[error("cannot accept connections: {0}")]
    Listen(#[from] io::Error),
}

/// What a server tells its operator.
#[derive(Debug, Clone)]
pub enum Event {
    /// A replica came, with its name and standing.
    Joined(String, &'static str, usize),
    /// A replica went.
    Left(String, String),
    /// The committee was founded.
    Formed(Arc<Committee>),
    /// What a founding waits for, or how one ended.
    Founding(String),
    /// A blob was certified.
    Certified(Box<vouch_core::certificate::Certificate>),
    /// A link was refused for a reason that its operator and this one should know.
    Refused(String),
    /// It had so many certificates to learn from the list of the replica of this name.
    Learned(String, usize),
    /// A put goes on without a member, or a member is not waited for any more, and why.
    LeftOut(String),
    /// Addresses that were held to their limits, in a summary now and then.
    Limited(String),
    /// Something failed that no client caused.
    Trouble(String),
}

/// Takes the server's events.
pub type Reporter = Arc<dyn Fn(Event) + Send + Sync>;

/// How to reach one connected replica.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaHandle {
    /// Told apart from an earlier link of the same replica.
    link: LinkId,
    /// Small messages that overtake data. Full means that the replica does not read: it is cut off.
    control: ByteBoundedQueue,
    data: ByteBoundedQueue,
    listing: Arc<Listing>,
}

impl ReplicaHandle {
    /// Queues a small message; `false` when the replica is gone or does not read.
    fn tell(&self, message: &Message) -> bool {
        self.control.try_send(&message.encode())
    }
}

/// The members that are connected, as of now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    committee: Option<Arc<Committee>>,
    members: BTreeMap<u16, ReplicaHandle>,
}

/// What all links share.
pub(crate) struct Shared {
    host: Host,
    config: Config,
    key: NodeSecretKey,
    /// The one place where a server decides over all links. Held for one call, never over an await.
    core: Mutex<ServerCore<ReplicaHandle>>,
    snapshot: Latest<Arc<Snapshot>>,
    founding: Mutex<ServerFounding>,
    /// Held while a founding that a replica shows is checked.
    checking: tokio::sync::Mutex<()>,
    /// Held while a committee is made durable, so that only one forms.
    forming: tokio::sync::Mutex<()>,
    routes: Routes,
    batcher: Batcher,
    archive: Archive,
    /// Held while a page of a member's list is verified: all members list much the same.
    listing: tokio::sync::Mutex<()>,
    /// Certificates asked for at members at once.
    lookups: Semaphore,
    guard: Guard,
    numbers: StreamNumbers,
    next_link: AtomicU32,
    reporter: Reporter,
    /// Links of another version of the protocol.
    other_versions: Notice,
    /// Lines about the health of members: one for each put would be a flood.
    health_lines: Notice,
    // keeps the folder locked
    data: DataDir,
}

/// A server that is ready to run.
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the data folder and everything in it.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn open(host: Host, config: Config, reporter: Reporter) -> Result<Self, ServerError> {
        let data = DataDir::open(host.disk(), &config.data)?;
        let key = open_or_create_node_key(&host, data.path())?;
        let founded = committee_file::load_founding(host.disk(), data.path())?;
        if let Some(founded) = &founded {
            config
                .wanted
                .allows(founded.record())
                .map_err(|why| ServerError::AnotherCommittee { folder: data.path().to_owned(), why })?;
        }
        let committee = founded.as_ref().map(|founded| founded.committee().clone());
        let (archive, replaced) = Archive::open(&host, data.path())?;
        let snapshot = Snapshot { committee: committee.clone(), members: BTreeMap::new() };
        let numbers = StreamNumbers::default();
        let chain = committee.clone().map(CommitteeChain::new);
        let core = ServerCore::new(chain, config.batching, config.deadlines.voting, numbers.clone());
        let members = committee.as_ref().map_or(config.wanted.size(), |committee| committee.record().n().into());
        let shared = Arc::new(Shared {
            guard: Guard::new(&host, &config, members),
            host,
            founding: Mutex::new(ServerFounding::new(config.wanted.clone(), founded)),
            config,
            key,
            core: Mutex::new(core),
            snapshot: Latest::new(Arc::new(snapshot)),
            checking: tokio::sync::Mutex::new(()),
            forming: tokio::sync::Mutex::new(()),
            routes: Routes::default(),
            batcher: Batcher::default(),
            archive,
            listing: tokio::sync::Mutex::new(()),
            lookups: Semaphore::new(LOOKUPS),
            numbers,
            next_link: AtomicU32::new(1),
            reporter,
            other_versions: Notice::default(),
            health_lines: Notice::default(),
            data,
        });
        if let Some(replaced) = replaced {
            shared.report(Event::Trouble(format!("{replaced}; certificates are learned from the replicas again")));
        }
        Ok(Self { shared })
    }

    /// The committee, once there is one.
    pub fn committee(&self) -> Option<Arc<Committee>> {
        self.shared.committee()
    }

    /// The server's link key.
    pub fn node_key(&self) -> vouch_core::link::NodeKey {
        self.shared.key.node_key()
    }

    /// Serves until `shutdown` completes.
    ///
    /// # Errors
    /// When the listening socket fails for good.
    pub async fn run(self, listener: Box<dyn Listener>, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { shared } = self;
        let batcher = shared.host.spawn(batcher::run(Arc::downgrade(&shared)));
        let founding = shared.host.spawn(founding::run(Arc::downgrade(&shared)));
        let served = http::serve(shared, listener, shutdown).await;
        batcher.abort();
        founding.abort();
        Ok(served?)
    }
}

impl Shared {
    fn committee(&self) -> Option<Arc<Committee>> {
        self.snapshot.get().committee.clone()
    }

    /// How many replicas may have something to say: before a committee is formed, those that are there.
    fn replicas(&self) -> usize {
        self.committee().map_or_else(|| self.core().roster().count(), |committee| committee.record().n().into()).max(16)
    }

    fn report(&self, event: Event) {
        (self.reporter)(event);
    }

    /// Says of a member, whose name comes before the text, what the operator should know; at most one such line in ten seconds.
    fn tell_of(&self, member: u16, text: &str) {
        let Some(committee) = self.committee() else { return };
        let text = format!("{} {text}", committee.record().name(member));
        if let Some(line) = self.health_lines.line(self.host.monotonic(), &text) {
            self.report(Event::LeftOut(line));
        }
    }

    /// Tells the operator, and the member itself, why a put or a batch goes on without it. The member may be the last to know
    /// that it is slow: its own log says nothing wrong.
    fn left_out(&self, stream: Stream, member: u16, code: Code, why: &str) {
        self.tell_of(member, why);
        let failed = Message::Failed(Failed::new(stream, code, why).with_subjects(vec![member]));
        if let Some(handle) = self.snapshot.get().members.get(&member) {
            // one that does not read is told when it joins again, or never
            handle.control.try_send_spare(&failed.encode());
        }
    }

    /// Takes note of what a member did wrong in a put or a get, and tells what is news.
    fn blame(self: &Arc<Self>, stream: Stream, member: u16, fault: Fault) {
        self.handle(ServerInput::Blamed { stream, member, fault });
    }

    /// A number for a put or a read, the same on every replica's link.
    fn stream(&self) -> Stream {
        self.numbers.next()
    }

    /// Lets everybody see who is connected now.
    fn publish(&self) {
        // held until the snapshot stands: an older one must not replace a newer one
        let core = self.core();
        let committee = core.roster().chain().map(|chain| chain.current().clone());
        let snapshot = Snapshot { committee, members: core.roster().members() };
        self.snapshot.replace(Arc::new(snapshot));
    }

    fn membership_text(membership: Membership) -> &'static str {
        match membership {
            Membership::Member(_) => "member",
            Membership::Candidate => "waiting for the committee to form",
            Membership::Standby => "standby: the committee is complete",
        }
    }
}

/// What a committee tolerates, for the operator.
pub fn tolerance(committee: &Committee) -> String {
    quorum::tolerance(committee.record().n())
}
