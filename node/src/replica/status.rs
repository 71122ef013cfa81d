//! What a replica says of itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use vouch_core::committee::Committee;
use vouch_core::message::ReplicaStatus;

use super::clock_watch::ClockStatus;
use super::repair::Repair;
use super::scrub::Scrubbed;
pub use super::signing::Votes;
use super::{Event, Shared};
use crate::store::Usage;

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
    /// The founding that it accepted and that is not complete, in words.
    pub founding: Option<String>,
    /// Why it signs nothing now; none where it does.
    pub signs_nothing: Option<String>,
    /// Its votes.
    pub votes: Votes,
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
    /// Whether this replica is a member to the server: puts go to it, and its votes count.
    pub counted: bool,
    /// What the server says that it waits for, or why it does not count this replica.
    pub standing: Option<String>,
}

/// The state of the links, by address, as the events tell it.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<BTreeMap<String, Link>>);

#[derive(Debug, Clone)]
enum Link {
    /// Down, and why.
    Down(String),
    /// Up; what the server said that this replica is to it.
    Up(Option<(ReplicaStatus, String)>),
}

impl Links {
    /// None of the servers is connected yet.
    pub(super) fn new(addresses: &[String]) -> Self {
        let not_yet = |address: &String| (address.clone(), Link::Down("not connected yet".to_owned()));
        Self(Mutex::new(addresses.iter().map(not_yet).collect()))
    }

    /// Takes note of what an event says about a link.
    pub(super) fn hear(&self, event: &Event) {
        let (address, link) = match event {
            Event::Connected(address) => (address, Link::Up(None)),
            Event::Disconnected(address, why) => (address, Link::Down(why.clone())),
            Event::RefusedForGood(address, why) => {
                (address, Link::Down(format!("refused for good, tried again every minute: {why}")))
            }
            Event::ReplicaStatus(address, status, detail) => (address, Link::Up(Some((*status, detail.clone())))),
            _ => return,
        };
        // a panic elsewhere leaves the map whole: every change is one call
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone(), link);
    }

    /// Whether a server counts this replica as a member now.
    fn is_counted(&self) -> bool {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.values().any(|link| matches!(link, Link::Up(Some((ReplicaStatus::Member, _)))))
    }

    fn show(&self) -> Vec<ServerLink> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |(address, link): (&String, &Link)| ServerLink {
            address: address.clone(),
            connected: matches!(link, Link::Up(_)),
            reason: match link {
                Link::Down(why) => Some(why.clone()),
                Link::Up(_) => None,
            },
            counted: matches!(link, Link::Up(Some((ReplicaStatus::Member, _)))),
            standing: match link {
                Link::Up(Some((_, detail))) if !detail.is_empty() => Some(detail.clone()),
                Link::Up(Some((ReplicaStatus::Waiting, _))) => Some("it has no committee yet".into()),
                _ => None,
            },
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
        let (storage_failed, clock) = (self.store.failure(), self.clock.status());
        let signs_nothing =
            self.signs_nothing(committee.as_deref(), index_failed.as_ref(), storage_failed.as_ref(), &clock);
        Status {
            name: self.name.as_str().to_owned(),
            node_key: self.keys.node.node_key().to_string(),
            cluster: committee.as_ref().map(|committee| committee.cluster().to_string()),
            member: committee.as_ref().and_then(|committee| self.position(committee)),
            founding: self.foundings.under_way().map(|(n, accepted)| {
                format!("accepted a founding of {n} members; {accepted} of them are known to have accepted")
            }),
            signs_nothing,
            votes: self.signing.so_far(),
            servers: self.links.show(),
            usage,
            index_failed,
            storage_failed,
            clock,
            scrubbed: self.scrubber.so_far(),
            repair: self.repairer.so_far(self.host.unix_seconds()),
        }
    }

    /// Why this replica signs nothing now, the first reason that holds. A further one gets its line here.
    fn signs_nothing(
        &self,
        committee: Option<&Committee>,
        index_failed: Option<&String>,
        storage_failed: Option<&String>,
        clock: &ClockStatus,
    ) -> Option<String> {
        let Some(committee) = committee else {
            return Some("it is in no committee yet".into());
        };
        if self.position(committee).is_none() {
            return Some("it is no member of its committee".into());
        }
        if let Some(why) = index_failed {
            return Some(format!("its index cannot be read: {why}"));
        }
        if let Some(why) = storage_failed {
            return Some(format!("its storage failed: {why}"));
        }
        if let Some(why) = &clock.reason {
            return Some(format!("its clock is in doubt: {why}"));
        }
        (!self.links.is_counted()).then(|| "no server is connected that counts it as a member".into())
    }
}
