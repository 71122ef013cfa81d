//! The server: accepts replicas and clients, forwards puts, and aggregates votes. It is untrusted, signs no statement, and keeps no blob.

mod archive;
mod batcher;
mod byte_bounded_queue;
mod certificate_lists;
mod client;
mod client_link;
mod client_put;
mod endorse;
mod founding;
mod get_performer;
mod guard;
mod http;
mod load;
mod member_links;
mod member_queues;
mod outputs;
mod put_performer;
mod replica_link;
mod replica_requests;
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
use batcher::Batcher;
use byte_bounded_queue::ByteBoundedQueue;
use certificate_lists::CertificateLists;
use guard::Guard;
pub use http::{Origin, OriginError};
pub use load::{ServerGauge, ServerLoad};
use member_links::MemberLinks;
use routes::Routes;

/// Interval between checks of deadlines.
const TICK: Duration = Duration::from_millis(20);

/// The configuration of a server. Its limits bound the server's memory.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder: the server's key, the committee, certificates.
    pub data: PathBuf,
    /// The committee that the operator wants; by default the replicas connected at the first put.
    pub wanted: WantedCommittee,
    /// Accept replicas from any machine as founding members, not only from this one.
    pub allow_open: bool,
    /// Maximum number of connections of non-members; lower if the limit of open files requires it.
    pub max_links: usize,
    /// Maximum number of connected replicas that are not members.
    pub max_standbys: usize,
    /// Maximum number of puts in progress. Further ones are refused as busy.
    pub max_puts: usize,
    /// Maximum size in bytes of the reads in flight, over all clients.
    pub read_budget: usize,
    /// Maximum memory in bytes for messages that are being received or handled, over all clients.
    pub receive_budget: usize,
    /// Size of one replica's queue, in chunks of 256 KiB. Small blobs count by their bytes.
    pub replica_queue: usize,
    /// How long a put waits for a quorum to connect.
    pub quorum_wait: Duration,
    /// How long a client may be silent while it owes bytes.
    pub client_silence: Duration,
    /// How long a connection may take no bytes while the server has some to send.
    pub reader_silence: Duration,
    /// Minimum upload rate in bytes per second, on average over `upload_window`, of an HTTP body or of a link, whose puts share it. Otherwise
    /// a byte now and then would hold a put and its place at every replica.
    pub upload_rate: u64,
    /// The window of the upload rate. A put that begins slowly can catch up within it.
    pub upload_window: Duration,
    /// Maximum number of gets over HTTP in progress. Further ones are refused as busy.
    pub max_downloads: usize,
    /// Origins whose pages may put and get, in addition to the server's own.
    pub allowed_origins: Vec<Origin>,
    /// The deadlines of a put's phases.
    pub deadlines: Deadlines,
    /// How receipts are gathered into batches.
    pub batching: BatchPolicy,
}

impl Config {
    /// The default configuration with this data folder.
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

/// Why a server cannot start or continue.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] DataDirError),
    /// The server's node key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The saved committee cannot be used.
    #[error(transparent)]
    Committee(#[from] CommitteeFileError),
    /// The saved committee is not the one that the operator wants.
    #[error(
        "{}: its committee contradicts this flag: {why}; leave the flag out, or name another folder with --data",
        .folder.display()
    )]
    AnotherCommittee {
        /// The data folder.
        folder: PathBuf,
        /// The contradiction.
        why: String,
    },
    /// The certificates.
    #[error("certificates: {0}")]
    Archive(#[from] crate::durable::DurableError),
    /// The listening socket.
    #[error("cannot accept connections: {0}")]
    Listen(#[from] io::Error),
}

/// An event for a server's log.
#[derive(Debug, Clone)]
pub enum Event {
    /// A replica has joined. Its name, its membership, and the number of connected replicas.
    Joined(String, &'static str, usize),
    /// A replica has left.
    Left(String, String),
    /// The committee was founded.
    Formed(Arc<Committee>),
    /// What a founding waits for, or why it ended.
    Founding(String),
    /// A blob was certified.
    Certified(Box<vouch_core::certificate::Certificate>),
    /// A link was refused for a reason that concerns the operators of both ends.
    Refused(String),
    /// The server learned certificates from a member's list. Their number, and the member's name.
    Learned(String, usize),
    /// A put continued without a member, or no longer waits for it. The reason.
    LeftOut(String),
    /// A summary of the addresses that were limited.
    Limited(String),
    /// A failure that no client caused.
    Trouble(String),
}

/// Receives the server's events.
pub type Reporter = Arc<dyn Fn(Event) + Send + Sync>;

/// The handle of a connected replica.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaHandle {
    /// Distinguishes the link from earlier ones of the same replica.
    link: LinkId,
    /// Control messages, which overtake data. If this queue is full, the replica does not read, and the link is closed.
    control: ByteBoundedQueue,
    data: ByteBoundedQueue,
}

impl ReplicaHandle {
    /// Queues a control message. `false` if the replica has disconnected or does not read.
    fn tell(&self, message: &Message) -> bool {
        self.control.try_send(&message.encode())
    }
}

/// The committee and the connected members at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    committee: Option<Arc<Committee>>,
    members: BTreeMap<u16, ReplicaHandle>,
}

/// The state that all links share.
pub(crate) struct Shared {
    host: Host,
    config: Config,
    key: NodeSecretKey,
    /// The core, which decides for all links. Locked for one call, never across an await.
    core: Mutex<ServerCore<ReplicaHandle>>,
    snapshot: Arc<Latest<Arc<Snapshot>>>,
    founding: Mutex<ServerFounding>,
    /// Locked while a founding that a replica shows is verified.
    checking: tokio::sync::Mutex<()>,
    /// Locked while a committee is made durable, so that only one is adopted.
    forming: tokio::sync::Mutex<()>,
    routes: Routes,
    batcher: Batcher,
    certificates: Arc<CertificateLists>,
    guard: Guard,
    numbers: StreamNumbers,
    next_link: AtomicU32,
    reporter: Reporter,
    /// Limits the log lines about links of other protocol versions.
    other_versions: Notice,
    /// Limits the log lines about members' health: otherwise each put would write one.
    health_lines: Notice,
    // Keeps the folder locked.
    data: DataDir,
}

/// A server that is ready to run.
pub struct Server {
    shared: Arc<Shared>,
}

impl Server {
    /// Opens the data folder and its databases.
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
        let snapshot = Snapshot { committee: committee.clone(), members: BTreeMap::new() };
        let snapshot = Arc::new(Latest::new(Arc::new(snapshot)));
        let (numbers, routes) = (StreamNumbers::default(), Routes::default());
        let links = MemberLinks::new(host.clone(), snapshot.clone(), numbers.clone(), routes.clone());
        let (certificates, replaced) = CertificateLists::open(links, data.path(), reporter.clone())?;
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
            snapshot,
            checking: tokio::sync::Mutex::new(()),
            forming: tokio::sync::Mutex::new(()),
            routes,
            batcher: Batcher::default(),
            certificates: Arc::new(certificates),
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

    /// The committee; `None` before the founding.
    pub fn committee(&self) -> Option<Arc<Committee>> {
        self.shared.committee()
    }

    /// The server's node key.
    pub fn node_key(&self) -> vouch_core::link::NodeKey {
        self.shared.key.node_key()
    }

    /// Serves until `shutdown` completes.
    ///
    /// # Errors
    /// The listening socket fails permanently.
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

    /// Maximum number of replicas that may send replies: the committee's members or, before the founding, the connected replicas.
    fn replicas(&self) -> usize {
        self.committee().map_or_else(|| self.core().roster().count(), |committee| committee.record().n().into()).max(16)
    }

    fn report(&self, event: Event) {
        (self.reporter)(event);
    }

    /// Reports a text about a member to the operator, after the member's name; at most one such line in ten seconds.
    fn tell_of(&self, member: u16, text: &str) {
        let Some(committee) = self.committee() else { return };
        let text = format!("{} {text}", committee.record().name(member));
        if let Some(line) = self.health_lines.line(self.host.monotonic(), &text) {
            self.report(Event::LeftOut(line));
        }
    }

    /// Reports to the operator and to the member why a put or a batch continues without it. A slow member's own log shows nothing wrong.
    fn left_out(&self, stream: Stream, member: u16, code: Code, why: &str) {
        self.tell_of(member, why);
        let failed = Message::Failed(Failed::new(stream, code, why).with_subjects(vec![member]));
        if let Some(handle) = self.snapshot.get().members.get(&member) {
            // A member that does not read gets no message.
            handle.control.try_send_spare(&failed.encode());
        }
    }

    /// Records a member's fault in a put or a get, and reports a new one.
    fn blame(self: &Arc<Self>, stream: Stream, member: u16, fault: Fault) {
        self.handle(ServerInput::Blamed { stream, member, fault });
    }

    /// A stream number for a put or a read, the same on every replica's link.
    fn stream(&self) -> Stream {
        self.numbers.next()
    }

    /// Publishes the connected members.
    fn publish(&self) {
        // Keep the lock until the snapshot is published: an older one must not replace a newer one.
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

/// The committee's fault tolerance, for the operator.
pub fn tolerance(committee: &Committee) -> String {
    quorum::tolerance(committee.record().n())
}
