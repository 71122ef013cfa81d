//! Partial uploads: which exist, and which put adds to each.
//!
//! A put that offers a digest is verified block by block, so its partial upload is right no matter who sent it, and any later put of
//! the same blob resumes there. One put at a time adds to it. The next put takes it over if the earlier one was cancelled
//! or is silent; otherwise the next put writes to files of its own.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::tree::{Parent, TreeHasher};

use super::cancel::CancelToken;
use super::open_partial::{OpenPartial, PartialKey};
use super::writer_slot::{SlotState, WriterSlot};
use crate::host::Host;
use crate::store::StoreError;
use crate::store::blobs::SpoolFolder;
use crate::store::checked_index::CheckedIndex;
use crate::store::config::PartialConfig;
use crate::store::space::{Reservation, SpaceBudget};

/// A partial upload that no put is adding to.
#[derive(Debug)]
pub(super) struct IdlePartial {
    /// Number of durable bytes.
    pub(super) durable: u64,
    /// When a put last left it, in seconds since 1970.
    touched: u64,
    pub(super) reserved: Reservation,
}

#[derive(Debug)]
enum PartialState {
    Idle(IdlePartial),
    Owned(Arc<WriterSlot>),
}

/// What a put finds when it becomes the owner of a partial upload.
pub(super) enum FoundPartial {
    Nothing,
    Idle(IdlePartial),
    /// Taken over from another put.
    Open(Box<OpenPartial>),
}

/// The partial uploads of a store.
#[derive(Debug)]
pub(in super::super) struct PartialUploads {
    host: Host,
    index: Arc<CheckedIndex>,
    folder: Arc<SpoolFolder>,
    config: PartialConfig,
    /// Never lock a slot while this is locked: that could deadlock.
    known: Mutex<HashMap<PartialKey, PartialState>>,
}

impl PartialUploads {
    /// Loads the durable partial uploads, removes every other file in the folder, and the oldest uploads beyond the maximum number.
    pub(in super::super) fn open(
        host: Host,
        index: Arc<CheckedIndex>,
        folder: Arc<SpoolFolder>,
        config: PartialConfig,
        space: &Arc<SpaceBudget>,
    ) -> Result<Self, StoreError> {
        let names: HashSet<OsString> = folder.files()?.into_iter().collect();
        let (rows, mut lost) = index.partials()?;
        let (mut known, mut kept) = (HashMap::new(), HashSet::new());
        for row in rows {
            let key = PartialKey { digest: row.digest, length: row.length };
            let files = SpoolFolder::files_of(&key.spool_name());
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
            known.insert(key, PartialState::Idle(idle));
        }
        for name in names.difference(&kept) {
            folder.remove_file(name)?;
        }
        index.forget_partials(&lost)?;
        let uploads = Self { host, index, folder, config, known: Mutex::new(known) };
        uploads.drop_surplus()?;
        Ok(uploads)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PartialKey, PartialState>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a slot the owner of a partial upload. `None` if another put is adding to it.
    pub(super) fn claim(&self, key: PartialKey, slot: &Arc<WriterSlot>) -> Option<FoundPartial> {
        loop {
            let other = {
                let mut known = self.lock();
                match known.insert(key, PartialState::Owned(slot.clone())) {
                    None => return Some(FoundPartial::Nothing),
                    Some(PartialState::Idle(idle)) => return Some(FoundPartial::Idle(idle)),
                    Some(PartialState::Owned(other)) => {
                        known.insert(key, PartialState::Owned(other.clone()));
                        other
                    }
                }
            };
            let is_cancelled = other.cancel.is_cancelled();
            // A cancelled put may be making the upload durable. Wait for that.
            let mut state = if is_cancelled { other.lock() } else { other.try_lock()? };
            if let SlotState::Open(open) = &*state
                && (open.is_ended() || !(is_cancelled || self.is_silent(open)))
            {
                return None;
            }
            let mut known = self.lock();
            if !is_owned_by(known.get(&key), &other) {
                // the other put released it meanwhile
                continue;
            }
            let open = state.leave()?;
            known.insert(key, PartialState::Owned(slot.clone()));
            return Some(FoundPartial::Open(open));
        }
    }

    fn is_silent(&self, open: &OpenPartial) -> bool {
        self.host.monotonic().saturating_sub(open.last_activity()) >= self.config.silence
    }

    /// The record of a partial upload that a put leaves now. Closes its files, and releases the space for the missing bytes.
    pub(super) fn suspended(&self, open: OpenPartial) -> IdlePartial {
        let durable = open.durable();
        let mut reserved = open.into_reserved();
        reserved.shrink(durable);
        IdlePartial { durable, touched: self.host.unix_seconds(), reserved }
    }

    /// Ends a slot's hold on a partial upload, which becomes idle.
    pub(super) fn rest(&self, key: PartialKey, slot: &Arc<WriterSlot>, idle: IdlePartial) {
        let mut known = self.lock();
        if is_owned_by(known.get(&key), slot) {
            known.insert(key, PartialState::Idle(idle));
        }
    }

    /// Ends a slot's hold on a partial upload, which no longer exists.
    pub(super) fn release(&self, key: PartialKey, slot: &Arc<WriterSlot>) {
        let mut known = self.lock();
        if is_owned_by(known.get(&key), slot) {
            known.remove(&key);
        }
    }

    /// The number of idle partial uploads, and their bytes.
    pub(in super::super) fn idle(&self) -> (u64, u64) {
        let known = self.lock();
        let durable = known.values().filter_map(|state| match state {
            PartialState::Idle(idle) => Some(idle.durable),
            PartialState::Owned(_) => None,
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
            PartialState::Owned(_) => None,
        });
        idle.collect()
    }

    pub(super) fn oldest(&self) -> Option<PartialKey> {
        self.touched().into_iter().min_by_key(|(touched, _)| *touched).map(|(_, key)| key)
    }

    /// Begins an empty partial upload. Only its owner may call this. Blocks.
    pub(super) fn create(&self, key: PartialKey, reserved: Reservation) -> Result<OpenPartial, StoreError> {
        self.erase(key)?;
        Ok(OpenPartial::create(&self.folder, key, reserved, self.host.monotonic())?)
    }

    /// Opens the durable bytes of a partial upload. Returns the reservation if they are not as they were left. Only its owner may call
    /// this. Blocks.
    pub(super) fn reopen(&self, key: PartialKey, idle: IdlePartial) -> Result<OpenPartial, Reservation> {
        let IdlePartial { durable, reserved, .. } = idle;
        OpenPartial::reopen((&self.index, &self.folder), (key, durable), reserved, self.host.monotonic())
    }

    /// Verifies and writes the next block, and makes the blocks durable from time to time. Blocks.
    pub(super) fn take(
        &self,
        open: &mut OpenPartial,
        offset: u64,
        bytes: &[u8],
        proof: &[Parent],
    ) -> Result<(), StoreError> {
        open.record_activity(self.host.monotonic());
        open.take(offset, bytes, proof)?;
        if open.unrecorded() >= self.config.checkpoint { self.checkpoint(open) } else { Ok(()) }
    }

    /// Makes the blocks so far durable. Blocks.
    pub(super) fn checkpoint(&self, open: &mut OpenPartial) -> Result<(), StoreError> {
        open.checkpoint(&self.index, &self.folder, self.host.unix_seconds())
    }

    /// Whether the whole blob is stored.
    pub(super) fn is_stored(&self, key: PartialKey) -> Result<bool, StoreError> {
        Ok(self.index.holds(&key.digest, key.length)?)
    }

    /// Removes a partial upload's files and its record. Only its owner may call this. Blocks.
    pub(super) fn erase(&self, key: PartialKey) -> Result<(), StoreError> {
        self.folder.remove(&key.spool_name())?;
        Ok(self.index.forget_partials(&[(key.digest, key.length)])?)
    }

    /// Removes a partial upload if it is idle. Blocks.
    pub(super) fn drop_idle(&self, key: PartialKey) -> Result<(), StoreError> {
        let slot = WriterSlot::new(CancelToken::default());
        let Some(_reserved) = self.withdraw(key, &slot) else { return Ok(()) };
        let erased = self.erase(key);
        self.release(key, &slot);
        erased
    }

    /// Makes a slot the owner of a partial upload that was idle. No put uses its files meanwhile.
    fn withdraw(&self, key: PartialKey, slot: &Arc<WriterSlot>) -> Option<IdlePartial> {
        let mut known = self.lock();
        let state = known.get_mut(&key).filter(|state| matches!(state, PartialState::Idle(_)))?;
        match std::mem::replace(state, PartialState::Owned(slot.clone())) {
            PartialState::Idle(idle) => Some(idle),
            PartialState::Owned(_) => None,
        }
    }

    /// Removes the oldest partial uploads beyond the maximum number. Blocks.
    pub(super) fn drop_surplus(&self) -> Result<(), StoreError> {
        while self.idle().0 > self.config.most as u64 {
            let Some(oldest) = self.oldest() else { break };
            self.drop_idle(oldest)?;
        }
        Ok(())
    }

    /// Removes partial uploads that no put has touched for the TTL, those of blobs that are stored, and records of uploads that no longer
    /// exist. Blocks.
    pub(in super::super) fn drop_old(&self, now: u64) -> Result<(), StoreError> {
        self.drop_stray_records()?;
        for (touched, key) in self.touched() {
            let is_old = now >= touched.saturating_add(self.config.ttl);
            if is_old || self.is_stored(key)? {
                self.drop_idle(key)?;
            }
        }
        Ok(())
    }

    /// Removes records without a partial upload: a blob was complete, so its files got other names, and was not entered.
    fn drop_stray_records(&self) -> Result<(), StoreError> {
        let (rows, malformed) = self.index.partials()?;
        let keys = rows.into_iter().map(|row| (row.digest, row.length)).chain(malformed);
        for (digest, length) in keys {
            let (key, slot) = (PartialKey { digest, length }, WriterSlot::new(CancelToken::default()));
            match self.lock().entry(key) {
                // own the key meanwhile, so that no put begins the upload again
                Entry::Vacant(vacant) => drop(vacant.insert(PartialState::Owned(slot.clone()))),
                Entry::Occupied(_) => continue,
            }
            let erased = self.erase(key);
            self.release(key, &slot);
            erased?;
        }
        Ok(())
    }
}

fn is_owned_by(state: Option<&PartialState>, slot: &Arc<WriterSlot>) -> bool {
    matches!(state, Some(PartialState::Owned(now)) if Arc::ptr_eq(now, slot))
}
