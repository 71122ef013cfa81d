//! The server's budgets for unauthenticated peers. Members, which have proved their node keys, are exempt.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::header::HeaderMap;
use vouch_core::message::MAX_CHUNK;
use vouch_node_core::budgets::{AddressBuckets, LimitReport, PeerAddress};

use super::config::ServerConfig;
use super::proxies::{Forwarded, TrustedProxies};
use crate::budgets::{Full, Party, Permit, Pool, Rules};
use crate::host::{Host, resources};
use crate::link::Allowance;

/// Number of file descriptors reserved for other uses than connections: databases, the listening socket, the runtime.
const FILES: u64 = 64;
/// Maximum number of evicted connections that are not closed yet. Beyond it, no connection is accepted.
pub(super) const CLOSING: u64 = 64;
/// Minimum number of connections reserved for members. A committee has two per member, because a new link replaces an older one.
const FOR_MEMBERS: u64 = 32;
/// Token bucket for joins of non-members, per address: a burst, and then one per interval. Each join costs a pairing.
const JOINS: u32 = 128;
const JOIN_EVERY: Duration = Duration::from_millis(250);
const JOINS_REFUSED: &str = "joins refused";
/// Token bucket for log lines about joins of non-members, per address.
const TOLD: u32 = 64;
const TELL_EVERY: Duration = Duration::from_secs(5);
/// A reader that takes no bytes for this long gives way to another reader of the same address.
const READER_IS_STALE: Duration = Duration::from_secs(2);
/// A sender of an unfinished message, or of a put without progress, gives way after this long to another one of the same address.
const SENDER_IS_STALE: Duration = Duration::from_secs(10);

/// The budgets of one server.
pub(crate) struct Guard {
    host: Host,
    pub(super) connections: Arc<Pool>,
    pub(super) puts: Arc<Pool>,
    pub(super) downloads: Arc<Pool>,
    pub(super) reads: Arc<Pool>,
    pub(super) messages: Arc<Pool>,
    replicas: Arc<Pool>,
    joins: Mutex<AddressBuckets>,
    told: Mutex<AddressBuckets>,
    limits: Arc<Mutex<LimitReport>>,
    rate: u64,
    window: Duration,
    proxies: TrustedProxies,
}

/// A connection, and the address that its budgets count for.
pub(crate) struct Connection {
    address: IpAddr,
    party: Arc<Party>,
    /// The connection's permit; `None` for a member, which is exempt.
    place: Mutex<Option<Permit>>,
    connections: Arc<Pool>,
    reads: Arc<Pool>,
    messages: Arc<Pool>,
}

impl Guard {
    /// The budgets of this configuration, for a committee of `members`.
    pub(super) fn new(host: &Host, config: &ServerConfig, members: u64) -> Self {
        let limits = Arc::new(Mutex::new(LimitReport::default()));
        let pool = |limit: u64, limit_of_one, stale_after, cut_off, refused| {
            let rules = Rules { limit: limit.max(1), limit_of_one, stale_after, cut_off, refused };
            Pool::new(host.clone(), rules, limits.clone())
        };
        let all = |limit: u64, stale_after, cut_off, refused| pool(limit, limit.max(1), stale_after, cut_off, refused);
        // One address may hold three quarters: otherwise it could block all others until a deadline.
        let most = |limit: u64, least: u64, stale_after, cut_off, refused| {
            pool(limit.max(least), (limit / 4 * 3).max(least), stale_after, cut_off, refused)
        };
        limits.lock().unwrap_or_else(PoisonError::into_inner).expect(JOINS_REFUSED);
        let chunk = MAX_CHUNK as u64;
        // A founding needs all its candidates connected at once.
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
            proxies: TrustedProxies::new(config.trusted_proxies.clone()),
        }
    }

    /// Admits a new connection, and evicts another one if necessary. One of a trusted proxy takes no place: its clients do.
    pub(super) fn accept(&self, address: IpAddr) -> Result<Arc<Connection>, Full> {
        let party = Party::new(address.into());
        let place = match self.proxies.include(address) {
            true => None,
            false => Some(self.connections.claim(&party, 1)?),
        };
        Ok(self.connection(address, party, place))
    }

    /// Admits a client of a trusted proxy for as long as its request is served, and evicts another one if necessary.
    fn accept_client(&self, address: IpAddr) -> Result<Arc<Connection>, Full> {
        let party = Party::new(address.into());
        let place = self.connections.claim(&party, 1)?;
        Ok(self.connection(address, party, Some(place)))
    }

    fn connection(&self, address: IpAddr, party: Arc<Party>, place: Option<Permit>) -> Arc<Connection> {
        let (connections, reads, messages) = (self.connections.clone(), self.reads.clone(), self.messages.clone());
        Arc::new(Connection { address, party, place: Mutex::new(place), connections, reads, messages })
    }

    /// What a trusted proxy says about a request on this connection, and the place of the client: a new one if the request before was of
    /// another client. `None` if the connection is of nobody whose word counts.
    pub(super) fn forwarded(
        &self,
        accepted: &Connection,
        before: &Arc<Connection>,
        headers: &HeaderMap,
    ) -> Option<Result<(Forwarded, Arc<Connection>), Full>> {
        if !self.proxies.include(accepted.address) {
            return None;
        }
        let forwarded = self.proxies.forwarded(headers);
        // A proxy that does not name the client is itself one.
        let client = forwarded.client.unwrap_or(accepted.address);
        // The accepted connection itself has no place that counts.
        let is_same = before.address == client && !std::ptr::eq(accepted, &**before);
        let place = if is_same { Ok(before.clone()) } else { self.accept_client(client) };
        Some(place.map(|place| (forwarded, place)))
    }

    /// The limits of the link over a connection.
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

    /// Admits a replica that is not a member. Their rate and number are limited.
    pub(super) fn join(&self, connection: &Connection) -> Result<Permit, Full> {
        let source = connection.source();
        let may = self.joins.lock().unwrap_or_else(PoisonError::into_inner).take(source, self.host.monotonic());
        if !may {
            self.note(source, JOINS_REFUSED);
            return Err(Full);
        }
        self.replicas.claim(&connection.party, 1)
    }

    /// Whether one more join of a non-member is logged.
    pub(super) fn may_tell(&self, connection: &Connection) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).take(connection.source(), self.host.monotonic())
    }

    /// Counts an event for the operator's summary.
    pub(super) fn note(&self, source: PeerAddress, what: &'static str) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).note(source, what);
    }

    /// What is held of each budget that non-members share, and its limit.
    pub(super) fn used(&self) -> Vec<(&'static str, u64, u64)> {
        let budgets = [
            ("connections", &self.connections),
            ("puts", &self.puts),
            ("downloads", &self.downloads),
            ("reads", &self.reads),
            ("messages", &self.messages),
            ("standbys", &self.replicas),
        ];
        budgets.map(|(name, pool)| (name, pool.held(), pool.limit())).into()
    }

    /// The number of refusals and cut-offs of each kind since the start.
    pub(super) fn limited(&self) -> BTreeMap<&'static str, u64> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).totals().clone()
    }

    /// The summary of limited addresses, if one is due.
    pub(super) fn report(&self) -> Option<String> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).report(self.host.monotonic())
    }
}

/// Memory for `count` messages of maximum size.
const fn link_messages(count: u64) -> u64 {
    count * Allowance::MESSAGE
}

/// The number of open files and sockets with which a server takes as many connections as it is configured for, in a small committee.
pub fn wanted_open_files(config: &ServerConfig) -> u64 {
    FILES + CLOSING + FOR_MEMBERS + config.max_links as u64
}

/// Maximum number of connections for non-members: the configured number, but no more than the process's limit of file descriptors allows
/// besides its files, the connections being closed, and the members' links.
fn connections(config: &ServerConfig, members: u64) -> u64 {
    let kept = FILES + CLOSING + FOR_MEMBERS.max(2 * members);
    let possible = resources::open_files().map_or(u64::MAX, |files| files.saturating_sub(kept).max(files / 4));
    possible.min(config.max_links as u64)
}

impl Connection {
    /// The peer's address.
    pub(crate) fn source(&self) -> PeerAddress {
        self.party.source()
    }

    /// The party that the connection's reads are counted for.
    pub(crate) fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// Completes when the connection is evicted.
    pub(crate) async fn until_cut_off(&self) {
        self.party.until_cut_off().await;
    }

    /// Evicts the connection.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.party.is_cut_off()
    }

    /// Records progress: bytes were received or sent.
    pub(crate) fn progress(&self) {
        self.connections.progress(&self.party);
        self.reads.progress(&self.party);
    }

    /// Waits for memory for a piece of a request's body. The sender cannot be evicted for the time that the piece is held: from then on it
    /// waits for the server.
    pub(super) async fn memory_for_piece(&self) -> Permit {
        let permit = self.messages.clone().take(self.party.clone(), Allowance::MESSAGE).await;
        self.messages.waits_for_us(&self.party);
        permit
    }

    /// The peer has proved that it is a member: release its permit, and never evict it.
    pub(super) fn exempt(&self) {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(place);
    }
}
