//! What a server holds for requests in progress. It must be nothing once there are none.

use std::sync::{Arc, Weak};

use super::Server;
use super::guard::Guard;
use super::reply_routing::Routes;

/// What is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerLoad {
    /// Puts in progress.
    pub puts: u64,
    /// Gets in progress.
    pub downloads: u64,
    /// Bytes that wait for readers.
    pub reads: u64,
    /// Bytes of messages and pieces of bodies that are not processed yet.
    pub messages: u64,
    /// Requests to replicas without an answer.
    pub requests: usize,
}

/// Reads the load of a server that runs.
#[derive(Debug, Clone)]
pub struct ServerGauge {
    guard: Weak<Guard>,
    routes: Routes,
}

impl Server {
    /// A gauge of this server, which can be read while it runs.
    pub fn gauge(&self) -> ServerGauge {
        ServerGauge { guard: Arc::downgrade(&self.guard), routes: self.members.routes().clone() }
    }
}

impl Server {
    /// Says on one line, while the server runs, what it does.
    pub fn summary(&self) -> impl Fn() -> String + use<> {
        let (guard, members) = (Arc::downgrade(&self.guard), self.members.clone());
        move || {
            let puts = guard.upgrade().map_or(0, |guard| guard.puts.held());
            let snapshot = members.snapshot();
            match &snapshot.chain {
                None => "waiting for replicas to found a committee".to_owned(),
                Some(chain) => {
                    let (connected, n) = (snapshot.members.len(), chain.current().record().n());
                    format!("{connected} of {n} members connected, {puts} puts in progress")
                }
            }
        }
    }
}

impl ServerGauge {
    /// What is held now; `None` once the server has ended.
    pub fn read(&self) -> Option<ServerLoad> {
        let guard = self.guard.upgrade()?;
        Some(ServerLoad {
            puts: guard.puts.held(),
            downloads: guard.downloads.held(),
            reads: guard.reads.held(),
            messages: guard.messages.held(),
            requests: self.routes.len(),
        })
    }
}
