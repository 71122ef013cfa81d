//! The server: accepts replicas and clients, forwards puts, and aggregates votes. It is untrusted, signs no statement, and keeps no blob.

mod access_board;
mod archive;
mod certificate_files;
mod certificate_lists;
mod client;
mod client_link;
mod client_put;
mod cluster_view;
mod config;
mod core_performer;
mod ending;
mod endorse;
mod epochs;
mod founding;
mod get_performer;
mod guard;
mod http;
mod load;
mod log;
mod member_links;
mod member_queues;
mod metrics_source;
mod origin;
mod proxies;
mod put_performer;
mod replica_link;
mod replica_requests;
mod reply_routing;
mod reports;
mod time_relay;
mod waiting_puts;
mod welcome;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
pub use vouch_core::founding::WantedCommittee;
use vouch_core::founding_protocol::ServerFounding;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::message::MAX_CHUNK;
use vouch_core::quorum;
pub use vouch_node_core::server::batch::BatchPolicy;
use vouch_node_core::server::log_heads::LogHeadsInput;
pub use vouch_node_core::server::put::Deadlines;
use vouch_node_core::server::{ServerCore, StreamNumbers};

use crate::committee_file::{self, CommitteeFileError};
use crate::data_dir::{DataDir, DataDirError};
use crate::epoch_files::{self, EpochFileError};
use crate::host::Host;
use crate::host::net::Listener;
use crate::keys::{KeyError, open_or_create_node_key};
use crate::metrics::{MetricsSource, ServerCounters};
use crate::notices::Notice;
use crate::pulse::{Pulse, PulseAnswers, pulse};
use crate::tls::{ServerTls, TlsError};
use access_board::AccessBoard;
use certificate_lists::CertificateLists;
use client_link::ClientLinkContext;
use cluster_view::ClusterView;
pub use config::ServerConfig;
use core_performer::CorePerformer;
use ending::Ending;
use epochs::ServerEpochs;
use founding::ServerFoundings;
use get_performer::GetService;
use guard::Guard;
pub use guard::wanted_open_files;
use http::{BlobContext, CertificateContext, LogContext, PortContext, RequestContext};
pub use load::{ServerGauge, ServerLoad};
use log::ServerLog;
use member_links::MemberLinks;
use metrics_source::ServerMetrics;
pub use origin::{Origin, OriginError};
pub use proxies::{ProxyAddress, ProxyAddressError};
use put_performer::PutService;
use replica_link::ReplicaLinkContext;
use reports::ServerReports;
pub use reports::{Event, ServerReporter};
use welcome::HandshakeContext;

/// Interval between checks of deadlines.
const TICK: Duration = Duration::from_millis(20);

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
    /// The saved later committees cannot be used.
    #[error(transparent)]
    Epochs(#[from] EpochFileError),
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
    /// The certificate and key of TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listening socket.
    #[error("cannot accept connections: {0}")]
    Listen(#[from] io::Error),
}

/// A server that is ready to run.
pub struct Server {
    port: Arc<PortContext>,
    core: Arc<CorePerformer>,
    foundings: Arc<ServerFoundings>,
    members: MemberLinks,
    guard: Arc<Guard>,
    node_key: NodeKey,
    log: Arc<ServerLog>,
    log_inputs: mpsc::Receiver<LogHeadsInput>,
    tls: Option<Arc<ServerTls>>,
    reports: Arc<ServerReports>,
    metrics: Arc<ServerMetrics>,
    pulse: (Pulse, PulseAnswers),
}

impl Server {
    /// Opens the data folder and its databases.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub fn open(host: Host, config: ServerConfig, reporter: ServerReporter) -> Result<Self, ServerError> {
        let folder = Arc::new(DataDir::open(host.disk(), &config.data)?);
        let key = open_or_create_node_key(&host, folder.path())?;
        let tls = config.tls.clone().map(|files| ServerTls::open(&host, files)).transpose()?.map(Arc::new);
        let founded = committee_file::load_founding(host.disk(), folder.path())?;
        if let Some(founded) = &founded {
            config
                .wanted
                .allows(founded.record())
                .map_err(|why| ServerError::AnotherCommittee { folder: folder.path().to_owned(), why })?;
        }
        let genesis = founded.as_ref().map(|founded| CommitteeChain::new(founded.committee().clone()));
        let chain = epoch_files::load(host.disk(), folder.path(), genesis)?;
        let n = chain.as_ref().map_or(config.wanted.size(), |chain| chain.current().record().n().into());
        let reports = Arc::new(ServerReports::new(host.clone(), reporter));
        let members = MemberLinks::new(host.clone(), chain.clone(), StreamNumbers::default());
        let (certificates, replaced) = CertificateLists::open(members.clone(), reports.clone(), folder.clone())?;
        let certificates = Arc::new(certificates);
        if let Some(replaced) = replaced {
            reports.report(Event::Trouble(format!("{replaced}; certificates are learned from the replicas again")));
        }
        let core = ServerCore::new(chain, config.batching, config.deadlines.voting, members.numbers().clone());
        let core = Arc::new(CorePerformer::new(core, members.clone(), certificates.clone(), reports.clone()));
        let founding = ServerFounding::new(config.wanted.clone(), founded);
        let epochs = ServerEpochs::new(core.clone(), members.clone(), reports.clone(), folder.clone());
        let epochs = Arc::new(epochs);
        let foundings = ServerFoundings::new(founding, core.clone(), members.clone(), reports.clone(), folder);
        let foundings = Arc::new(foundings);
        let guard = Arc::new(Guard::new(&host, &config, n));
        let (log, log_inputs) = ServerLog::new(members.clone(), core.clone());
        let (counters, ending) = (ServerCounters::default(), Arc::new(Ending::new()));
        let parts = ServerParts {
            host,
            core,
            members,
            foundings,
            epochs,
            certificates,
            guard,
            reports,
            log,
            access: Arc::default(),
            tls,
            counters,
            ending,
        };
        Ok(parts.server(key, config, log_inputs))
    }

    /// The committees; `None` before the founding.
    pub fn chain(&self) -> Option<CommitteeChain> {
        self.members.chain()
    }

    /// The server's node key.
    pub fn node_key(&self) -> NodeKey {
        self.node_key
    }

    /// The TLS of its port, if there is any.
    pub fn tls(&self) -> Option<&ServerTls> {
        self.tls.as_deref()
    }

    /// The same, for other listeners: its certificate is replaced while the server runs.
    pub fn shared_tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.clone()
    }

    /// Its metrics, which can be read while it runs.
    pub fn metrics(&self) -> Arc<dyn MetricsSource> {
        self.metrics.clone()
    }

    /// Shows, while the server runs, that it accepts connections.
    pub fn pulse(&self) -> Pulse {
        self.pulse.0.clone()
    }

    /// Serves until `shutdown` completes; then finishes the puts in progress, as long as the configuration says.
    ///
    /// # Errors
    /// The listening socket fails permanently.
    pub async fn run(self, listener: Box<dyn Listener>, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let host = self.members.host();
        let settling = host.spawn(core_performer::settle_when_due(Arc::downgrade(&self.core)));
        let founding = host.spawn(founding::run(Arc::downgrade(&self.foundings)));
        let certifying = host.spawn(log::certify_heads(Arc::downgrade(&self.log), self.log_inputs));
        let reloading = self.tls.map(|tls| host.spawn(certificate_files::follow(host.clone(), tls, self.reports)));
        let served = http::serve(self.port.clone(), listener, shutdown, self.pulse.1).await;
        settling.abort();
        founding.abort();
        certifying.abort();
        reloading.inspect(|task| task.abort());
        Ok(served?)
    }
}

/// The parts of a server. Each module is given only those that it uses.
struct ServerParts {
    host: Host,
    core: Arc<CorePerformer>,
    members: MemberLinks,
    foundings: Arc<ServerFoundings>,
    epochs: Arc<ServerEpochs>,
    certificates: Arc<CertificateLists>,
    guard: Arc<Guard>,
    reports: Arc<ServerReports>,
    log: Arc<ServerLog>,
    access: Arc<AccessBoard>,
    tls: Option<Arc<ServerTls>>,
    counters: ServerCounters,
    ending: Arc<Ending>,
}

impl ServerParts {
    fn server(self, key: NodeSecretKey, config: ServerConfig, log_inputs: mpsc::Receiver<LogHeadsInput>) -> Server {
        let node_key = key.node_key();
        let view = self.view(node_key, &config);
        let metrics = Arc::new(ServerMetrics::new(view.clone(), &self.guard, self.counters.clone(), &config.wanted));
        let gets = GetService {
            host: self.host.clone(),
            members: self.members.clone(),
            reads: self.guard.reads.clone(),
            counters: self.counters.clone(),
        };
        let puts = Arc::new(PutService {
            host: self.host.clone(),
            core: self.core.clone(),
            members: self.members.clone(),
            foundings: self.foundings.clone(),
            certificates: self.certificates.clone(),
            places: self.guard.puts.clone(),
            counters: self.counters.clone(),
            policy: config.put_policy(),
            rate: config.rate(),
        });
        let port = PortContext {
            host: self.host.clone(),
            guard: self.guard.clone(),
            reports: self.reports.clone(),
            counters: self.counters.clone(),
            reader_silence: config.reader_silence,
            stop_timeout: config.stop_timeout,
            ending: self.ending.clone(),
            tls: self.tls.clone(),
            handshakes: self.handshakes(key, config.binds_links),
            client_links: self.client_links(puts.clone(), gets.clone()),
            replica_links: self.replica_links(&config),
            requests: self.requests(puts, gets, view, config),
        };
        let Self { core, members, foundings, guard, log, tls, reports, .. } = self;
        let (port, pulse) = (Arc::new(port), pulse());
        Server { port, core, foundings, members, guard, node_key, log, log_inputs, tls, reports, metrics, pulse }
    }

    fn view(&self, node_key: NodeKey, config: &ServerConfig) -> ClusterView {
        ClusterView {
            core: self.core.clone(),
            members: self.members.clone(),
            foundings: self.foundings.clone(),
            log: self.log.clone(),
            access: self.access.clone(),
            needs_tokens: config.needs_tokens,
            node_key,
            wanted_replicas: config.wanted.replicas,
        }
    }

    fn handshakes(&self, key: NodeSecretKey, binds_links: bool) -> HandshakeContext {
        HandshakeContext {
            host: self.host.clone(),
            key,
            binds_links,
            members: self.members.clone(),
            foundings: self.foundings.clone(),
            reports: self.reports.clone(),
            ending: self.ending.clone(),
            other_versions: Notice::default(),
        }
    }

    fn client_links(&self, puts: Arc<PutService>, gets: GetService) -> ClientLinkContext {
        let (host, core, members) = (self.host.clone(), self.core.clone(), self.members.clone());
        ClientLinkContext { host, core, members, puts, gets, ending: self.ending.clone() }
    }

    fn replica_links(&self, config: &ServerConfig) -> ReplicaLinkContext {
        ReplicaLinkContext {
            host: self.host.clone(),
            core: self.core.clone(),
            members: self.members.clone(),
            foundings: self.foundings.clone(),
            epochs: self.epochs.clone(),
            certificates: self.certificates.clone(),
            guard: self.guard.clone(),
            reports: self.reports.clone(),
            joins: config.join_policy(),
            log: self.log.clone(),
            access: self.access.clone(),
            data_queue: config.replica_queue * MAX_CHUNK,
            next_link: AtomicU32::new(1),
        }
    }

    fn requests(
        &self,
        puts: Arc<PutService>,
        gets: GetService,
        cluster: ClusterView,
        config: ServerConfig,
    ) -> RequestContext {
        RequestContext {
            host: self.host.clone(),
            ending: self.ending.clone(),
            allowed_origins: config.allowed_origins,
            puts,
            blobs: BlobContext {
                core: self.core.clone(),
                gets,
                certificates: self.certificates.clone(),
                reports: self.reports.clone(),
                downloads: self.guard.downloads.clone(),
            },
            certificates: CertificateContext {
                members: self.members.clone(),
                certificates: self.certificates.clone(),
                reports: self.reports.clone(),
            },
            cluster,
            log: LogContext {
                host: self.host.clone(),
                members: self.members.clone(),
                log: self.log.clone(),
                reads: self.guard.downloads.clone(),
                submissions: self.guard.puts.clone(),
            },
        }
    }
}

/// The committee's fault tolerance, for the operator.
pub fn tolerance(committee: &Committee) -> String {
    quorum::tolerance(committee.record().n())
}
