//! The configuration of a server.

use std::path::PathBuf;
use std::time::Duration;

use vouch_core::founding::WantedCommittee;
use vouch_node_core::server::batch::BatchPolicy;
use vouch_node_core::server::founding::JoinPolicy;
use vouch_node_core::server::link_puts::UploadRate;
use vouch_node_core::server::put::{Deadlines, PutPolicy};

use super::origin::Origin;
use super::proxies::ProxyAddress;
use crate::tls::CertificateFiles;

/// The configuration of a server. Its limits bound the server's memory.
#[derive(Debug, Clone)]
pub struct ServerConfig {
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
    /// Certificate and key, if the port speaks TLS.
    pub tls: Option<CertificateFiles>,
    /// Whether replicas' links are bound to their TLS connections. Not if a proxy ends these.
    pub binds_links: bool,
    /// Proxies that say for whom they pass on a request, in `X-Forwarded-For` and `X-Forwarded-Proto`.
    pub trusted_proxies: Vec<ProxyAddress>,
    /// Origins whose pages may put and get, in addition to the server's own.
    pub allowed_origins: Vec<Origin>,
    /// The deadlines of a put's phases.
    pub deadlines: Deadlines,
    /// Whether each put must name a token, also while the log lets anyone put: strangers can reach this server.
    pub needs_tokens: bool,
    /// How receipts are gathered into batches.
    pub batching: BatchPolicy,
    /// How long a server that is asked to stop finishes the puts in progress. Zero: it stops at once.
    pub stop_timeout: Duration,
}

impl ServerConfig {
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
            tls: None,
            binds_links: true,
            trusted_proxies: Vec::new(),
            allowed_origins: Vec::new(),
            deadlines: Deadlines::default(),
            needs_tokens: false,
            batching: BatchPolicy::default(),
            stop_timeout: Duration::ZERO,
        }
    }

    /// The replicas that this server admits.
    pub(super) fn join_policy(&self) -> JoinPolicy {
        JoinPolicy { wanted: self.wanted.clone(), allow_open: self.allow_open }
    }

    pub(super) fn put_policy(&self) -> PutPolicy {
        let Self { quorum_wait, client_silence, deadlines, needs_tokens, .. } = *self;
        PutPolicy { quorum_wait, client_silence, deadlines, needs_tokens }
    }

    pub(super) fn rate(&self) -> UploadRate {
        UploadRate { bytes_per_second: self.upload_rate, window: self.upload_window }
    }
}
