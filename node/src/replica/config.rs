//! The configuration of a replica.

use std::path::PathBuf;
use std::time::Duration;

use vouch_core::bls::VoteKey;
use vouch_core::peer_frame::MemberAddress;

use crate::host::objects::{Credentials, StoreUrl};
use crate::store;

/// Interval between collections of expired blobs.
const COLLECT_EVERY: Duration = Duration::from_secs(300);
/// Bytes per second: a disk of 8 TB is read in twelve days.
const SCRUB_RATE: u64 = 8 << 20;
const SCRUB_PAUSE: Duration = Duration::from_secs(3600);
const REPAIR_EVERY: Duration = Duration::from_secs(300);
/// Bytes per second. Puts and gets use the rest of the link.
const REPAIR_RATE: u64 = 64 << 20;

/// The data folder of a replica.
#[derive(Debug, Clone)]
pub enum Data {
    /// This folder.
    Folder(PathBuf),
    /// The first free `replica-N` under this folder.
    FirstFree(PathBuf),
}

/// The configuration of a replica.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// The data folder.
    pub data: Data,
    /// The replica's name for people; the folder's name by default.
    pub name: Option<String>,
    /// The operator of the clusters that this replica helps to found; without one, only those without an operator.
    pub operator: Option<VoteKey>,
    /// Abandon an incomplete founding, and create new keys.
    pub abandon_founding: bool,
    /// Vote in the log again without what was signed before, in a committee that tolerates no fault.
    pub recover_log: bool,
    /// Follow the cluster's log before the replica is a member, and do what joining needs.
    pub joins: bool,
    /// Approve every change in which nodes only join: on one machine, everybody is its owner.
    pub takes_joiners: bool,
    /// Addresses of servers, `host:port`.
    pub servers: Vec<String>,
    /// Where to accept connections of other members, `host:port`. `None`: nowhere; frames are relayed by servers.
    pub listen: Option<String>,
    /// The address that other members dial; the one listened on by default.
    pub advertise: Option<MemberAddress>,
    /// Maximum number of puts received at once over one link.
    pub max_incoming: usize,
    /// The store's limits. Its place follows from `location`.
    pub store: store::StoreConfig,
    /// The place of the large blobs; `None`: the remembered one, or beside the index for a new replica.
    pub location: Option<StoreUrl>,
    /// The credentials for an object store.
    pub credentials: Credentials,
    /// Interval between collections of expired blobs.
    pub collect_every: Duration,
    /// Running time for which the wall clock must have said *expired* before a blob is deleted.
    pub settling: Duration,
    /// Seconds between a blob's expiry and its deletion; more than twice the clock tolerance.
    pub grace: u64,
    /// Maximum rate of scrubbing, in bytes per second.
    pub scrub_rate: u64,
    /// Pause between two scrub passes.
    pub scrub_pause: Duration,
    /// Interval between readings of the lists for repair, which also begins with a link or when damage is found.
    pub repair_every: Duration,
    /// Maximum rate of fetching for repair, in bytes per second.
    pub repair_rate: u64,
    /// How long a replica that is asked to stop finishes the puts in progress. Zero: it stops at once.
    pub stop_timeout: Duration,
}

impl ReplicaConfig {
    /// The default configuration.
    pub fn new(data: Data, servers: Vec<String>) -> Self {
        Self {
            data,
            name: None,
            operator: None,
            abandon_founding: false,
            recover_log: false,
            joins: false,
            takes_joiners: false,
            servers,
            listen: None,
            advertise: None,
            max_incoming: 384,
            store: store::StoreConfig::default(),
            location: None,
            credentials: Credentials::default(),
            collect_every: COLLECT_EVERY,
            settling: store::SETTLING,
            grace: store::GRACE,
            scrub_rate: SCRUB_RATE,
            scrub_pause: SCRUB_PAUSE,
            repair_every: REPAIR_EVERY,
            repair_rate: REPAIR_RATE,
            stop_timeout: Duration::ZERO,
        }
    }
}
