//! Room for blobs: what the operator allows, and what the disk has beside a reserve for the index.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Config, StoreError};
use crate::host::disk::Disk;
use crate::host::files::FileError;

/// Set aside unless the operator says otherwise, in bytes; of a small file system, a sixteenth instead.
const RESERVE: u64 = 64 << 20;
const RESERVE_SHARE: u64 = 16;

#[derive(Debug)]
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    pub(super) quota: Option<u64>,
    reserve: u64,
    coming: Mutex<Coming>,
}

/// Bytes of puts in progress.
#[derive(Debug, Default)]
struct Coming {
    /// That will be held beside what is held, if all goes well.
    added: u64,
    /// That were among those and are not any more, since the start.
    settled: u64,
    /// That will be written to the disk and were not yet.
    unwritten: u64,
}

impl Room {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, config: &Config) -> Result<Self, FileError> {
        let share = disk.space(&folder)?.total / RESERVE_SHARE;
        let reserve = config.reserve.unwrap_or_else(|| RESERVE.min(share));
        Ok(Self { disk, folder, quota: config.quota, reserve, coming: Mutex::default() })
    }

    /// The bytes free on the disk, the reserve among them.
    pub(super) fn free(&self) -> Result<u64, FileError> {
        Ok(self.disk.space(&self.folder)?.free)
    }

    /// Room for nothing yet.
    pub(super) fn none(self: &Arc<Self>) -> Reservation {
        Reservation { room: self.clone(), added: 0, unwritten: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that one put has taken; given back when dropped, which is to be after its blob counts as held.
#[derive(Debug)]
pub(super) struct Reservation {
    room: Arc<Room>,
    added: u64,
    unwritten: u64,
}

impl Reservation {
    /// Takes room to write so many more bytes, of which `added` will be held beside what is held now.
    pub(super) fn grow(
        &mut self,
        written: u64,
        added: u64,
        held: impl FnOnce() -> Result<u64, StoreError>,
    ) -> Result<(), StoreError> {
        let room = self.room.clone();
        // Asked without the lock: whoever commits gives room back while others wait for the index. What is given back
        // meanwhile may be held or not; it is counted as if it were not yet.
        let settled = room.lock().settled;
        let held = if room.quota.is_some() && added > 0 { held()? } else { 0 };
        let mut coming = room.lock();
        if let Some(quota) = room.quota.filter(|_| added > 0) {
            let held = held.saturating_add(coming.added).saturating_add(coming.settled - settled);
            if held.saturating_add(added) > quota {
                return Err(StoreError::Quota { wanted: added, held, quota });
            }
        }
        let taken = coming.unwritten.saturating_add(room.reserve);
        let free = room.free()?.saturating_sub(taken);
        if written > free {
            return Err(StoreError::NoSpace { wanted: written, free, reserve: room.reserve });
        }
        coming.added = coming.added.saturating_add(added);
        coming.unwritten = coming.unwritten.saturating_add(written);
        self.added = self.added.saturating_add(added);
        self.unwritten = self.unwritten.saturating_add(written);
        Ok(())
    }

    /// Takes room for what is there already, whether there is room for more or not.
    pub(super) fn hold(&mut self, bytes: u64) {
        let mut coming = self.room.lock();
        coming.added = coming.added.saturating_add(bytes);
        self.added = self.added.saturating_add(bytes);
    }

    /// Gives back all but what is there already.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let mut coming = self.room.lock();
        coming.added -= self.added.saturating_sub(bytes);
        self.added = self.added.min(bytes);
        coming.unwritten -= self.unwritten;
        self.unwritten = 0;
    }

    /// Notes that bytes were written: the disk counts them from now on.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let bytes = bytes.min(self.unwritten);
        self.unwritten -= bytes;
        self.room.lock().unwritten -= bytes;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut coming = self.room.lock();
        coming.added -= self.added;
        coming.settled = coming.settled.saturating_add(self.added);
        coming.unwritten -= self.unwritten;
    }
}
