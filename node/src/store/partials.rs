//! Partial uploads: which exist, and which put adds to each.
//!
//! A put that offers a digest is verified block by block, so its partial upload is right no matter who sent it, and any later put of
//! the same blob resumes there. One put at a time adds to it. The next put takes it over if the earlier one was cancelled
//! or is silent; otherwise the next put writes to files of its own.
//!
//! `partial/HEX-LENGTH.part` and `.part.obao` durably hold at least the bytes that the index records. Bytes beyond are cut
//! off when the upload is resumed. While the index has a record, no other files get these names.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use vouch_core::digest::Digest;
use vouch_core::tree::TreeHasher;

use super::blobs::OUTBOARD;
use super::index::Index;
use super::partial_writer::OpenPartial;
use super::space::{Reservation, SpaceBudget};
use super::{OpenStore, StoreError};
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;

/// How partial uploads are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialConfig {
    /// Number of bytes after which a put makes its partial upload durable.
    pub checkpoint: u64,
    /// A put that received no byte for this long loses its partial upload to the next put of the same blob.
    pub silence: Duration,
    /// Seconds without a put after which a partial upload is removed.
    pub ttl: u64,
    /// Maximum number of partial uploads.
    pub most: usize,
}

impl Default for PartialConfig {
    fn default() -> Self {
        Self { checkpoint: 64 << 20, silence: Duration::from_secs(5), ttl: 24 * 3600, most: 1024 }
    }
}

/// Tells at once that a put is cancelled. The writing thread learns it later, and the next put of the blob need not wait for that.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicU8>);

impl CancelToken {
    const KEEP: u8 = 1;
    const DISCARD: u8 = 2;

    /// Cancels the put and keeps its partial upload.
    pub fn keep(&self) {
        // an earlier discard wins
        let _ = self.0.compare_exchange(0, Self::KEEP, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Cancels the put and removes the bytes that it brought.
    pub fn discard(&self) {
        self.0.store(Self::DISCARD, Ordering::Release);
    }

    /// Whether the put was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    pub(super) fn is_discard(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DISCARD
    }
}

/// The digest and the length that a put claims. Puts that claim different lengths have different partial uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PartialKey {
    pub(super) digest: Digest,
    pub(super) length: u64,
}

/// Holds the open partial upload of the put that adds to it. Empty while that put opens or finishes it, and after another took it over.
#[derive(Debug)]
pub(super) struct WriterSlot {
    pub(super) cancel: CancelToken,
    live: Mutex<Option<OpenPartial>>,
}

impl WriterSlot {
    pub(super) fn new(cancel: CancelToken) -> Arc<Self> {
        Arc::new(Self { cancel, live: Mutex::new(None) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<OpenPartial>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<OpenPartial>>> {
        match self.live.try_lock() {
            Ok(live) => Some(live),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A partial upload that no put is adding to.
#[derive(Debug)]
pub(super) struct IdlePartial {
    /// Number of durable bytes.
    pub(super) durable: u64,
    /// When a put last left it, in seconds since 1970.
    pub(super) touched: u64,
    pub(super) reserved: Reservation,
}

#[derive(Debug)]
enum PartialState {
    Idle(IdlePartial),
    Busy(Arc<WriterSlot>),
}

/// What a put finds when it begins.
pub(super) enum FoundPartial {
    Nothing,
    Idle(IdlePartial),
    /// Taken over from another put.
    Open(Box<OpenPartial>),
    /// Another put is adding to it.
    Busy,
}

#[derive(Debug)]
pub(super) struct Partials {
    host: Host,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) config: PartialConfig,
    /// Never lock a slot while this is locked: that could deadlock.
    known: Mutex<HashMap<PartialKey, PartialState>>,
}

impl Partials {
    /// Loads the durable partial uploads, and removes every other file in the folder.
    pub(super) fn open(
        host: Host,
        folder: PathBuf,
        config: PartialConfig,
        index: &Index,
        space: &Arc<SpaceBudget>,
    ) -> Result<Self, StoreError> {
        let disk = host.shared_disk();
        let names: HashSet<OsString> = disk.list(&folder)?.into_iter().collect();
        let partials = Self { host, disk, folder, config, known: Mutex::default() };
        let (rows, mut lost) = index.partials()?;
        let mut kept = HashSet::new();
        for row in rows {
            let key = PartialKey { digest: row.digest, length: row.length };
            let files = names_of(key);
            let is_stored = index.holds(&key.digest, key.length)?;
            let has_files = files.iter().all(|name| names.contains(name));
            if is_stored || !has_files || TreeHasher::resume(&row.had).is_err() {
                lost.push((key.digest, key.length));
                continue;
            }
            kept.extend(files);
            let mut reserved = space.reservation();
            reserved.hold(row.had.length);
            let idle = IdlePartial { durable: row.had.length, touched: row.touched, reserved };
            partials.lock().insert(key, PartialState::Idle(idle));
        }
        for name in names.difference(&kept) {
            partials.disk.remove(&partials.folder.join(name))?;
        }
        index.forget_partials(&lost)?;
        Ok(partials)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartialKey, PartialState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn paths(&self, key: PartialKey) -> (PathBuf, PathBuf) {
        let [data, outboard] = names_of(key);
        (self.folder.join(data), self.folder.join(outboard))
    }

    /// Makes a slot the writer of a partial upload, unless another put is adding to it.
    pub(super) fn claim(&self, key: PartialKey, slot: &Arc<WriterSlot>) -> FoundPartial {
        loop {
            let other = {
                let mut known = self.lock();
                match known.insert(key, PartialState::Busy(slot.clone())) {
                    None => return FoundPartial::Nothing,
                    Some(PartialState::Idle(idle)) => return FoundPartial::Idle(idle),
                    Some(PartialState::Busy(other)) => {
                        known.insert(key, PartialState::Busy(other.clone()));
                        other
                    }
                }
            };
            let is_cancelled = other.cancel.is_cancelled();
            // A cancelled put may be making the upload durable. Wait for that.
            let Some(mut live) = (if is_cancelled { Some(other.lock()) } else { other.try_lock() }) else {
                return FoundPartial::Busy;
            };
            let is_silent =
                |live: &OpenPartial| self.host.monotonic().saturating_sub(live.heard) >= self.config.silence;
            if live.as_ref().is_some_and(|live| live.failed || !(is_cancelled || is_silent(live))) {
                return FoundPartial::Busy;
            }
            let mut known = self.lock();
            if !matches!(known.get(&key), Some(PartialState::Busy(now)) if Arc::ptr_eq(now, &other)) {
                // the other put released it meanwhile
                continue;
            }
            // an empty slot: the other put is opening or finishing it
            let Some(live) = live.take() else { return FoundPartial::Busy };
            known.insert(key, PartialState::Busy(slot.clone()));
            return FoundPartial::Open(Box::new(live));
        }
    }

    /// Ends a slot's hold on a partial upload, which becomes idle.
    pub(super) fn rest(&self, key: PartialKey, slot: &Arc<WriterSlot>, idle: IdlePartial) {
        let mut known = self.lock();
        if is_of(known.get(&key), slot) {
            known.insert(key, PartialState::Idle(idle));
        }
    }

    /// Ends a slot's hold on a partial upload, which no longer exists.
    pub(super) fn release(&self, key: PartialKey, slot: &Arc<WriterSlot>) {
        let mut known = self.lock();
        if is_of(known.get(&key), slot) {
            known.remove(&key);
        }
    }

    /// The number of idle partial uploads, and their bytes.
    pub(super) fn idle(&self) -> (u64, u64) {
        let known = self.lock();
        let durable = known.values().filter_map(|state| match state {
            PartialState::Idle(idle) => Some(idle.durable),
            PartialState::Busy(_) => None,
        });
        durable.fold((0, 0), |(count, bytes), durable| (count + 1, bytes + durable))
    }

    pub(super) fn is_idle(&self, key: PartialKey) -> bool {
        matches!(self.lock().get(&key), Some(PartialState::Idle(_)))
    }

    /// The idle partial uploads, each with the second in which a put last left it.
    fn touched(&self) -> Vec<(u64, PartialKey)> {
        let known = self.lock();
        let idle = known.iter().filter_map(|(key, state)| match state {
            PartialState::Idle(idle) => Some((idle.touched, *key)),
            PartialState::Busy(_) => None,
        });
        idle.collect()
    }

    fn oldest(&self) -> Option<PartialKey> {
        self.touched().into_iter().min_by_key(|(touched, _)| *touched).map(|(_, key)| key)
    }

    /// Takes an idle partial upload out. While the returned owner lives, no put uses its files.
    fn withdraw(self: &Arc<Self>, key: PartialKey) -> Option<(PartialOwner, IdlePartial)> {
        let mut known = self.lock();
        if !matches!(known.get(&key), Some(PartialState::Idle(_))) {
            return None;
        }
        let slot = WriterSlot::new(CancelToken::default());
        let Some(PartialState::Idle(idle)) = known.insert(key, PartialState::Busy(slot.clone())) else { return None };
        Some((PartialOwner { partials: self.clone(), key, slot }, idle))
    }
}

fn is_of(state: Option<&PartialState>, slot: &Arc<WriterSlot>) -> bool {
    matches!(state, Some(PartialState::Busy(now)) if Arc::ptr_eq(now, slot))
}

fn names_of(PartialKey { digest, length }: PartialKey) -> [OsString; 2] {
    let name = format!("{}-{length}.part", digest.to_hex());
    [OsString::from(&name), OsString::from(name + OUTBOARD)]
}

/// Keeps a partial upload's files for one slot until it is dropped.
#[derive(Debug)]
pub(super) struct PartialOwner {
    pub(super) partials: Arc<Partials>,
    pub(super) key: PartialKey,
    pub(super) slot: Arc<WriterSlot>,
}

impl Drop for PartialOwner {
    fn drop(&mut self) {
        self.partials.release(self.key, &self.slot);
    }
}

impl OpenStore {
    /// Removes a partial upload's files and its record. Only its owner may call this. Blocks.
    pub(super) fn erase_partial(&self, key: PartialKey) -> Result<(), StoreError> {
        let (data, outboard) = self.partials.paths(key);
        for path in [data, outboard] {
            match self.disk.remove(&path) {
                Ok(()) | Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.index.forget_partials(&[(key.digest, key.length)])?)
    }

    /// Removes a partial upload if it is idle. Blocks.
    pub(super) fn drop_partial(&self, key: PartialKey) -> Result<(), StoreError> {
        match self.partials.withdraw(key) {
            Some((_owner, _idle)) => self.erase_partial(key),
            None => Ok(()),
        }
    }

    /// Removes the oldest partial uploads beyond the maximum number. Blocks.
    pub(super) fn drop_surplus_partials(&self) -> Result<(), StoreError> {
        while self.partials.idle().0 > self.partials.config.most as u64 {
            let Some(oldest) = self.partials.oldest() else { break };
            self.drop_partial(oldest)?;
        }
        Ok(())
    }

    /// Removes partial uploads that no put has touched for the TTL, and those of blobs that are stored. Blocks.
    pub(super) fn drop_old_partials(&self, now: u64) -> Result<(), StoreError> {
        for (touched, key) in self.partials.touched() {
            let is_old = now >= touched.saturating_add(self.partials.config.ttl);
            if is_old || self.index.holds(&key.digest, key.length)? {
                self.drop_partial(key)?;
            }
        }
        Ok(())
    }

    /// Grows a reservation as [`Reservation::grow`] does. If necessary and sufficient, evicts partial uploads, the oldest first, and
    /// blocks meanwhile.
    pub(super) fn make_room(&self, reserved: &mut Reservation, written: u64, added: u64) -> Result<(), StoreError> {
        loop {
            let Err(error) = reserved.grow(written, added, || self.held()) else { return Ok(()) };
            let lacking = match &error {
                StoreError::Quota { wanted, held, quota } => held.saturating_add(*wanted).saturating_sub(*quota),
                StoreError::NoSpace { wanted, free, .. } => wanted.saturating_sub(*free),
                _ => return Err(error),
            };
            let (_, kept) = self.partials.idle();
            match self.partials.oldest() {
                Some(oldest) if kept >= lacking => self.drop_partial(oldest)?,
                _ => return Err(error),
            }
        }
    }
}
