//! The state of the links to the servers, derived from the replica's events.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vouch_core::message::ReplicaStatus;
use vouch_node_core::replica::Event;

/// A link to one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerLink {
    /// `host:port`.
    pub address: String,
    /// Whether the link is up.
    pub connected: bool,
    /// Why it is down.
    pub reason: Option<String>,
    /// Whether the server counts this replica as a member: it gets puts, and its votes count.
    pub counted: bool,
    /// What the server is waiting for, or why it does not count this replica.
    pub standing: Option<String>,
}

/// The state of every link, by the server's address.
#[derive(Debug, Default)]
pub(super) struct ServerLinks(Mutex<BTreeMap<String, LinkState>>);

#[derive(Debug, Clone)]
enum LinkState {
    /// Down, and why.
    Down(String),
    /// Up. The replica's status at the server and the reason, once the server sent them.
    Up(Option<(ReplicaStatus, String)>),
}

impl ServerLinks {
    /// No server is connected yet.
    pub(super) fn new(addresses: &[String]) -> Self {
        let not_yet = |address: &String| (address.clone(), LinkState::Down("not connected yet".to_owned()));
        Self(Mutex::new(addresses.iter().map(not_yet).collect()))
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<String, LinkState>> {
        // Recover from poisoning: every change is one call, so the map is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the state of a link that the event is about.
    pub(super) fn record(&self, event: &Event) {
        let (address, link) = match event {
            Event::Connected(address) => (address, LinkState::Up(None)),
            Event::Disconnected(address, why) => (address, LinkState::Down(why.clone())),
            Event::RefusedForGood(address, why) => {
                (address, LinkState::Down(format!("refused for good, tried again every minute: {why}")))
            }
            Event::ReplicaStatus(address, status, detail) => (address, LinkState::Up(Some((*status, detail.clone())))),
            _ => return,
        };
        self.links().insert(address.clone(), link);
    }

    /// Whether a server counts this replica as a member now.
    pub(super) fn is_counted(&self) -> bool {
        self.links().values().any(|link| matches!(link, LinkState::Up(Some((ReplicaStatus::Member, _)))))
    }

    /// The links, for the operator.
    pub(super) fn status(&self) -> Vec<ServerLink> {
        let status = |(address, link): (&String, &LinkState)| ServerLink {
            address: address.clone(),
            connected: matches!(link, LinkState::Up(_)),
            reason: match link {
                LinkState::Down(why) => Some(why.clone()),
                LinkState::Up(_) => None,
            },
            counted: matches!(link, LinkState::Up(Some((ReplicaStatus::Member, _)))),
            standing: match link {
                LinkState::Up(Some((_, detail))) if !detail.is_empty() => Some(detail.clone()),
                LinkState::Up(Some((ReplicaStatus::Waiting, _))) => Some("it has no committee yet".into()),
                _ => None,
            },
        };
        self.links().iter().map(status).collect()
    }
}
