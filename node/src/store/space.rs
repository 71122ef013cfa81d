//! The space for blobs: the operator's quota, and the free disk space without a reserve for the index.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{StoreConfig, StoreError};
use crate::host::disk::Disk;
use crate::host::files::FileError;

/// Default reserve in bytes; on a small file system, a sixteenth of it instead.
const RESERVE: u64 = 64 << 20;
const RESERVE_SHARE: u64 = 16;

/// The free bytes that a store leaves on a file system of this size, unless it is configured otherwise.
pub fn default_reserve(total: u64) -> u64 {
    RESERVE.min(total / RESERVE_SHARE)
}

#[derive(Debug)]
pub(super) struct SpaceBudget {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    pub(super) quota: Option<u64>,
    reserve: u64,
    pending: Mutex<PendingBytes>,
}

/// Bytes reserved by puts in progress.
#[derive(Debug, Default)]
struct PendingBytes {
    /// Bytes that will be stored in addition to those stored now, if the puts succeed.
    added: u64,
    /// Bytes that were in `added` and were released since the start.
    settled: u64,
    /// Bytes that will be written to the disk and are not yet.
    unwritten: u64,
}

impl SpaceBudget {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, config: &StoreConfig) -> Result<Self, FileError> {
        let total = disk.space(&folder)?.total;
        let reserve = config.reserve.unwrap_or_else(|| default_reserve(total));
        Ok(Self { disk, folder, quota: config.quota, reserve, pending: Mutex::default() })
    }

    /// Free bytes of the disk, including the reserve.
    pub(super) fn free(&self) -> Result<u64, FileError> {
        Ok(self.disk.space(&self.folder)?.free)
    }

    /// An empty reservation.
    pub(super) fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation { budget: self.clone(), added: 0, unwritten: 0 }
    }

    /// All that is reserved.
    pub(super) fn reserved(&self) -> ReservedSpace {
        let pending = self.lock();
        ReservedSpace { added: pending.added, unwritten: pending.unwritten }
    }

    fn lock(&self) -> MutexGuard<'_, PendingBytes> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Space that puts in progress have reserved, without that of partial uploads that no put is adding to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReservedSpace {
    /// Bytes that will be stored in addition to those stored now.
    pub added: u64,
    /// Bytes that are not written yet.
    pub unwritten: u64,
}

/// The space that one put has reserved. Dropping it releases the space; drop it only after the blob counts as stored.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<SpaceBudget>,
    added: u64,
    unwritten: u64,
}

impl Reservation {
    /// Reserves space to write `written` more bytes. `added`: how many of them add to the stored bytes.
    pub(super) fn grow(
        &mut self,
        written: u64,
        added: u64,
        held: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        let budget = self.budget.clone();
        // Ask the index without the lock, because a commit may release a reservation meanwhile. Bytes released meanwhile may or may
        // not be in `held`; count them as if they were not.
        let settled = budget.lock().settled;
        let held = if budget.quota.is_some() && added > 0 { held()? } else { 0 };
        let mut pending = budget.lock();
        if let Some(quota) = budget.quota.filter(|_| added > 0) {
            let held = held.saturating_add(pending.added).saturating_add(pending.settled - settled);
            if held.saturating_add(added) > quota {
                return Err(StoreError::Quota { wanted: added, held, quota });
            }
        }
        let taken = pending.unwritten.saturating_add(budget.reserve);
        let free = budget.free()?.saturating_sub(taken);
        if written > free {
            return Err(StoreError::NoSpace { wanted: written, free, reserve: budget.reserve });
        }
        pending.added = pending.added.saturating_add(added);
        pending.unwritten = pending.unwritten.saturating_add(written);
        self.added = self.added.saturating_add(added);
        self.unwritten = self.unwritten.saturating_add(written);
        Ok(())
    }

    /// Reserves space for bytes that are already on the disk, without a check.
    pub(super) fn hold(&mut self, bytes: u64) {
        let mut pending = self.budget.lock();
        pending.added = pending.added.saturating_add(bytes);
        self.added = self.added.saturating_add(bytes);
    }

    /// Releases all but `bytes`, which are on the disk.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let mut pending = self.budget.lock();
        pending.added -= self.added.saturating_sub(bytes);
        self.added = self.added.min(bytes);
        pending.unwritten -= self.unwritten;
        self.unwritten = 0;
    }

    /// Notes that bytes were written: the disk's free space now excludes them.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.unwritten);
        self.unwritten -= bytes;
        self.budget.lock().unwritten -= bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut pending = self.budget.lock();
        pending.added -= self.added;
        pending.settled = pending.settled.saturating_add(self.added);
        pending.unwritten -= self.unwritten;
    }
}
