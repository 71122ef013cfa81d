//! How a replica runs.

use std::path::PathBuf;
use std::time::Duration;

use crate::host::objects::{Credentials, StoreUrl};
use crate::store;

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
