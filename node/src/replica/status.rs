//! What a replica says of itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::clock_watch::ClockStatus;
use super::repair::Repair;
use super::scrub::Scrubbed;
use super::store::Usage;
use super::{Event, Shared};

/// Everything that an operator wants to see at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name in the committee.
    pub name: String,
    /// Its link key, base58.
    pub node_key: String,
    /// Its cluster, base58, once it is a member of one.
    pub cluster: Option<String>,
    /// Its position in the committee, from 0.
    pub member: Option<u16>,
    /// Its servers.
    pub servers: Vec<ServerLink>,
    /// What it holds; `None` when its index cannot be read.
    pub usage: Option<Usage>,
    /// Why its index cannot be read, if that is so.
    pub index_failed: Option<String>,
    /// Why it stores and votes no more, if that is so.
    pub storage_failed: Option<String>,
    /// What is known of its wall clock.
    pub clock: ClockStatus,
    /// What scrubbing found since it started.
    pub scrubbed: Scrubbed,
    /// What is being fetched from the other replicas.
    pub repair: Repair,
}

/// A link to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLink {
    /// `host:port`.
    pub address: String,
    /// Whether the link is up.
    pub connected: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// The state of the links, by address, as the events tell it.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<BTreeMap<String, Option<String>>>);

impl Links {
    /// None of the servers is connected yet.
    pub(super) fn new(addresses: &[String]) -> Self {
        let not_yet = |address: &String| (address.clone(), Some("not connected yet".to_owned()));
        Self(Mutex::new(addresses.iter().map(not_yet).collect()))
    }

    /// Takes note of what an event says about a link.
    pub(super) fn hear(&self, event: &Event) {
        let (address, reason) = match event {
            Event::Connected(address) => (address, None),
            Event::Disconnected(address, why) => (address, Some(why.clone())),
            _ => return,
        };
        // a panic elsewhere leaves the map whole: every change is one call
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone(), reason);
    }

    fn show(&self) -> Vec<ServerLink> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |(address, reason): (&String, &Option<String>)| ServerLink {
            address: address.clone(),
            connected: reason.is_none(),
            reason: reason.clone(),
        };
        links.iter().map(show).collect()
    }
}

impl Shared {
    /// What this replica says of itself now.
    pub(super) fn status(&self) -> Status {
        let committee = self.committee();
        let (usage, index_failed) = match self.store.usage() {
            Ok(usage) => (Some(usage), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Status {
            name: self.name.as_str().to_owned(),
            node_key: self.keys.node.node_key().to_string(),
            cluster: committee.as_ref().map(|committee| committee.cluster().to_string()),
            member: committee.as_ref().and_then(|committee| self.position(committee)),
            servers: self.links.show(),
            usage,
            index_failed,
            storage_failed: self.store.failure(),
            clock: self.clock.status(),
            scrubbed: self.scrubber.so_far(),
            repair: self.repairer.so_far(),
        }
    }
}
