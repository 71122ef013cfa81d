//! What strangers may hold of this server. Members, who proved their node key, are held to none of it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vouch_core::message::MAX_CHUNK;
use vouch_node_core::budgets::{AddressBuckets, LimitReport, PeerAddress};

use super::Config;
use crate::budgets::{Full, Party, Permit, Pool, Rules};
use crate::host::{Host, resources};
use crate::link::Allowance;

/// Files that are open beside connections: databases, the listening socket, what the runtime needs.
const FILES: u64 = 64;
/// Connections that were told to go and are not closed yet. While there are more, none is accepted.
pub(super) const CLOSING: u64 = 64;
/// Connections kept free for members, at least; a committee has twice its number, for links that replace older ones.
const FOR_MEMBERS: u64 = 32;
/// Joins of replicas that are no members, from one address: so many at once, and then one every so often. Each costs a pairing.
const JOINS: u32 = 128;
const JOIN_EVERY: Duration = Duration::from_millis(250);
/// Joins of such replicas that the operator is told one by one, of one address.
const TOLD: u32 = 64;
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Bytes that wait for a reader that takes none for so long may be had by another reader of the same address.
const READER_IS_STALE: Duration = Duration::from_secs(2);
/// An unfinished message, or a put that brings nothing, gives way after so long to another one of the same address.
const SENDER_IS_STALE: Duration = Duration::from_secs(10);

/// The budgets of one server.
pub(crate) struct Guard {
    host: Host,
    pub(super) connections: Arc<Pool>,
    pub(super) puts: Arc<Pool>,
    pub(super) downloads: Arc<Pool>,
    pub(super) reads: Arc<Pool>,
    messages: Arc<Pool>,
    replicas: Arc<Pool>,
    joins: Mutex<AddressBuckets>,
    told: Mutex<AddressBuckets>,
    limits: Arc<Mutex<LimitReport>>,
    rate: u64,
    window: Duration,
}

/// One connection and what it is counted as.
pub(crate) struct Connection {
    party: Arc<Party>,
    /// Its place among the connections of strangers.
    place: Mutex<Option<Permit>>,
    connections: Arc<Pool>,
    reads: Arc<Pool>,
    messages: Arc<Pool>,
}

impl Guard {
    /// The budgets that a configuration sets, for a committee of so many members.
    pub(super) fn new(host: &Host, config: &Config, members: u64) -> Self {
        let limits = Arc::new(Mutex::new(LimitReport::default()));
        let pool = |limit: u64, limit_of_one, stale_after, cut_off, refused| {
            let rules = Rules { limit: limit.max(1), limit_of_one, stale_after, cut_off, refused };
            Pool::new(host.clone(), rules, limits.clone())
        };
        let all = |limit: u64, stale_after, cut_off, refused| pool(limit, limit.max(1), stale_after, cut_off, refused);
        // where one address could hold everything for as long as a deadline, it may hold three quarters
        let most = |limit: u64, least: u64, stale_after, cut_off, refused| {
            pool(limit.max(least), (limit / 4 * 3).max(least), stale_after, cut_off, refused)
        };
        let chunk = MAX_CHUNK as u64;
        // a founding needs all its candidates at once
        let replicas = (config.max_standbys as u64).max(config.wanted.size());
        Self {
            connections: all(connections(config, members), Duration::ZERO, "connections closed", "connections refused"),
            puts: all(config.max_puts as u64, SENDER_IS_STALE, "puts ended", "puts refused"),
            downloads: all(config.max_downloads as u64, READER_IS_STALE, "downloads cut off", "downloads refused"),
            reads: most(config.read_budget as u64, chunk, READER_IS_STALE, "readers cut off", "reads refused"),
            messages: most(
                config.receive_budget as u64,
                link_messages(2),
                SENDER_IS_STALE,
                "unfinished messages cut off",
                "messages refused",
            ),
            replicas: all(replicas, Duration::MAX, "standbys cut off", "standbys refused"),
            joins: Mutex::new(AddressBuckets::new(JOINS, JOIN_EVERY)),
            told: Mutex::new(AddressBuckets::new(TOLD, TELL_EVERY)),
            host: host.clone(),
            limits,
            rate: config.upload_rate,
            window: config.upload_window,
        }
    }

    /// A place for a new connection, if need be another one's.
    pub(super) fn accept(&self, address: IpAddr) -> Result<Arc<Connection>, Full> {
        let party = Party::new(address.into());
        let place = self.connections.claim(&party, 1)?;
        let (connections, reads, messages) = (self.connections.clone(), self.reads.clone(), self.messages.clone());
        Ok(Arc::new(Connection { party, place: Mutex::new(Some(place)), connections, reads, messages }))
    }

    /// What the link over a connection is held to.
    pub(super) fn allowance(&self, connection: &Connection) -> Allowance {
        Allowance {
            host: self.host.clone(),
            party: connection.party.clone(),
            messages: self.messages.clone(),
            connections: self.connections.clone(),
            reads: self.reads.clone(),
            rate: self.rate,
            window: self.window,
        }
    }

    /// Whether a replica that is no member may join: not too often, and not too many.
    pub(super) fn join(&self, connection: &Connection) -> Result<Permit, Full> {
        let source = connection.source();
        let may = self.joins.lock().unwrap_or_else(PoisonError::into_inner).take(source, self.host.monotonic());
        if !may {
            self.note(source, "joins refused");
            return Err(Full);
        }
        self.replicas.claim(&connection.party, 1)
    }

    /// Whether the operator is told of one more replica that is no member.
    pub(super) fn may_tell(&self, connection: &Connection) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take(connection.source(), self.host.monotonic())
    }

    /// Something happened that the operator is told about in a summary.
    pub(super) fn note(&self, source: PeerAddress, what: &'static str) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).note(source, what);
    }

    /// A summary of what was limited, when one is due.
    pub(super) fn report(&self) -> Option<String> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).report(self.host.monotonic())
    }
}

/// Memory for so many messages of a link.
const fn link_messages(count: u64) -> u64 {
    count * Allowance::MESSAGE
}

/// Connections for strangers: as many as the configuration says, and as the system lets this process open beside its files, those
/// that are being closed, and the members' links.
fn connections(config: &Config, members: u64) -> u64 {
    let kept = FILES + CLOSING + FOR_MEMBERS.max(2 * members);
    let possible = resources::open_files().map_or(u64::MAX, |files| files.saturating_sub(kept).max(files / 4));
    possible.min(config.max_links as u64)
}

impl Connection {
    /// Its address.
    pub(crate) fn source(&self) -> PeerAddress {
        self.party.source()
    }

    /// Who reads over it are counted for.
    pub(crate) fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// Completes when it has to be closed, for somebody else needs its place.
    pub(crate) async fn until_cut_off(&self) {
        self.party.until_cut_off().await;
    }

    /// It has to be closed.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.party.is_cut_off()
    }

    /// Something came, or was taken, that counts.
    pub(crate) fn progress(&self) {
        self.connections.progress(&self.party);
        self.reads.progress(&self.party);
    }

    /// Memory for a piece of a request's body, once there is some. Its sender is not at fault for how long it is held: what is
    /// waited for from then on is the server.
    pub(super) async fn memory_for_piece(&self) -> Permit {
        let permit = self.messages.clone().take(self.party.clone(), Allowance::MESSAGE).await;
        self.messages.waits_for_us(&self.party);
        permit
    }

    /// The other end proved that it is a member: it takes no place of a stranger's any more, and gives way to nobody.
    pub(super) fn exempt(&self) {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(place);
    }
}
