//! What a replica holds for puts in progress: nothing, when there are none.

use std::sync::{Arc, Weak};

use super::{Replica, Shared};
use crate::store::ReservedSpace;

/// What is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaLoad {
    /// Puts that are being received.
    pub receiving: usize,
    /// Space that puts in progress have reserved.
    pub reserved: ReservedSpace,
}

/// Reads the load of a replica that runs.
#[derive(Debug, Clone)]
pub struct ReplicaGauge(Weak<Shared>);

impl Replica {
    /// A gauge of this replica, which can be read while it runs.
    pub fn gauge(&self) -> ReplicaGauge {
        ReplicaGauge(Arc::downgrade(&self.shared))
    }
}

impl ReplicaGauge {
    /// What is held now; `None` once the replica has ended.
    pub fn read(&self) -> Option<ReplicaLoad> {
        let shared = self.0.upgrade()?;
        // each put that is being received has a read guard, which shares the lock
        let receiving = Arc::strong_count(&shared.receiving) - 1;
        Some(ReplicaLoad { receiving, reserved: shared.store.reserved() })
    }
}
