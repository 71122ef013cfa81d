//! What a replica holds for puts in progress. It must be nothing once there are none.

use std::sync::{Arc, Weak};

use super::Replica;
use super::link::LinkContext;
use crate::store::ReservedSpace;

/// What a replica holds for puts in progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaLoad {
    /// Puts that are being received.
    pub receiving: usize,
    /// Space that puts in progress have reserved.
    pub reserved: ReservedSpace,
}

/// Reads the load of a running replica.
#[derive(Debug, Clone)]
pub struct ReplicaGauge(Weak<LinkContext>);

impl Replica {
    /// A gauge of this replica, which can be read while it runs.
    pub fn gauge(&self) -> ReplicaGauge {
        ReplicaGauge(Arc::downgrade(&self.link))
    }
}

impl Replica {
    /// Says on one line, while the replica runs, what it does.
    pub fn summary(&self) -> impl Fn() -> String + use<> {
        let (reports, receiving) = (self.link.reports.clone(), self.link.receiving.clone());
        move || {
            let servers = reports.links.status();
            let connected = servers.iter().filter(|server| server.connected).count();
            format!("connected to {connected} of {} servers, {} puts in progress", servers.len(), receiving.count())
        }
    }
}

impl ReplicaGauge {
    /// What is held now; `None` once the replica has ended.
    pub fn read(&self) -> Option<ReplicaLoad> {
        let context = self.0.upgrade()?;
        Some(ReplicaLoad { receiving: context.receiving.count(), reserved: context.storage.store.reserved() })
    }
}
