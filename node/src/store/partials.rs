//! What came of large blobs whose puts were cut off: which there are, and whose.
//!
//! A put that offers a digest is verified block by block, so what came of it is right whoever sent it, and whoever puts
//! the same blob next goes on from there. One put at a time adds to it: a newcomer takes it over from one that is cut,
//! or silent, and where neither is the case keeps what it brings to itself.
//!
//! `partial/HEX-LENGTH.part` and `.part.obao` hold at least what the index has noted, durably; what is beyond is cut
//! off when it is taken up. No files get these names while the index has a note of others.

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
use super::part::Live;
use super::space::{Reservation, Room};
use super::{Inner, StoreError};
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;

/// How what came of puts that were cut off is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialConfig {
    /// Bytes of a put after which what came is made durable.
    pub checkpoint: u64,
    /// A put that took no byte for so long is overtaken by the next one of the same blob.
    pub silence: Duration,
    /// Seconds without a put after which it is removed.
    pub ttl: u64,
    /// The most blobs.
    pub most: usize,
}

impl Default for PartialConfig {
    fn default() -> Self {
        Self { checkpoint: 64 << 20, silence: Duration::from_secs(5), ttl: 24 * 3600, most: 1024 }
    }
}

/// Whoever feeds a put says with this that it is cut off, at once: the thread that writes learns it later, and a
/// newcomer need not wait for that.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<AtomicU8>);

impl Cut {
    const KEEP: u8 = 1;
    const DISCARD: u8 = 2;

    /// What came is to be kept.
    pub fn keep(&self) {
        // what was said before stays
        let _ = self.0.compare_exchange(0, Self::KEEP, Ordering::AcqRel, Ordering::Acquire);
    }

    /// What the put brought is to be removed.
    pub fn discard(&self) {
        self.0.store(Self::DISCARD, Ordering::Release);
    }

    /// Whether the put was cut off.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    pub(super) fn is_discard(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::DISCARD
    }
}

/// A blob as a put claims it: whoever claims a wrong length meets nobody who claims the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) digest: Digest,
    pub(super) length: u64,
}

/// Where the put that adds to it has what it writes; empty while it opens or finishes, and when it was overtaken.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) cut: Cut,
    live: Mutex<Option<Live>>,
}

impl Slot {
    pub(super) fn new(cut: Cut) -> Arc<Self> {
        Arc::new(Self { cut, live: Mutex::new(None) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Option<Live>>> {
        match self.live.try_lock() {
            Ok(live) => Some(live),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Nobody adds to it.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) durable: u64,
    pub(super) touched: u64,
    pub(super) room: Reservation,
}

#[derive(Debug)]
enum State {
    Idle(Idle),
    Busy(Arc<Slot>),
}

/// What a put finds.
pub(super) enum Found {
    Nothing,
    Idle(Idle),
    /// Taken over.
    Live(Box<Live>),
    /// Another put is at it.
    Busy,
}

#[derive(Debug)]
pub(super) struct Partials {
    host: Host,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) config: PartialConfig,
    /// A slot is never locked while this is.
    known: Mutex<HashMap<Key, State>>,
}

impl Partials {
    /// Takes up what was kept before, and removes every other file of the folder.
    pub(super) fn open(
        host: Host,
        folder: PathBuf,
        config: PartialConfig,
        index: &Index,
        room: &Arc<Room>,
    ) -> Result<Self, StoreError> {
        let disk = host.shared_disk();
        let names: HashSet<OsString> = disk.list(&folder)?.into_iter().collect();
        let partials = Self { host, disk, folder, config, known: Mutex::default() };
        let (rows, mut lost) = index.partials()?;
        let mut kept = HashSet::new();
        for row in rows {
            let key = Key { digest: row.digest, length: row.length };
            let files = names_of(key);
            let is_stored = index.holds(&key.digest, key.length)?;
            let is_there = files.iter().all(|name| names.contains(name));
            if is_stored || !is_there || TreeHasher::resume(&row.had).is_err() {
                lost.push((key.digest, key.length));
                continue;
            }
            kept.extend(files);
            let mut room = room.none();
            room.hold(row.had.length);
            let idle = Idle { durable: row.had.length, touched: row.touched, room };
            partials.lock().insert(key, State::Idle(idle));
        }
        for name in names.difference(&kept) {
            partials.disk.remove(&partials.folder.join(name))?;
        }
        index.forget_partials(&lost)?;
        Ok(partials)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn paths(&self, key: Key) -> (PathBuf, PathBuf) {
        let [data, outboard] = names_of(key);
        (self.folder.join(data), self.folder.join(outboard))
    }

    /// Makes a slot the one that adds to what there is, unless another put is at it.
    pub(super) fn claim(&self, key: Key, slot: &Arc<Slot>) -> Found {
        loop {
            let other = {
                let mut known = self.lock();
                match known.insert(key, State::Busy(slot.clone())) {
                    None => return Found::Nothing,
                    Some(State::Idle(idle)) => return Found::Idle(idle),
                    Some(State::Busy(other)) => {
                        known.insert(key, State::Busy(other.clone()));
                        other
                    }
                }
            };
            let is_cut = other.cut.is_set();
            // one that is cut may be making it durable: that is worth waiting for
            let Some(mut live) = (if is_cut { Some(other.lock()) } else { other.try_lock() }) else {
                return Found::Busy;
            };
            let is_silent = |live: &Live| self.host.monotonic().saturating_sub(live.heard) >= self.config.silence;
            if live.as_ref().is_some_and(|live| live.failed || !(is_cut || is_silent(live))) {
                return Found::Busy;
            }
            let mut known = self.lock();
            if !matches!(known.get(&key), Some(State::Busy(now)) if Arc::ptr_eq(now, &other)) {
                // it was put away meanwhile
                continue;
            }
            // an empty slot is being opened, or is finished
            let Some(live) = live.take() else { return Found::Busy };
            known.insert(key, State::Busy(slot.clone()));
            return Found::Live(Box::new(live));
        }
    }

    /// Ends what a slot had; nobody adds to it now.
    pub(super) fn rest(&self, key: Key, slot: &Arc<Slot>, idle: Idle) {
        let mut known = self.lock();
        if is_of(known.get(&key), slot) {
            known.insert(key, State::Idle(idle));
        }
    }

    /// Ends what a slot had; there is nothing.
    pub(super) fn release(&self, key: Key, slot: &Arc<Slot>) {
        let mut known = self.lock();
        if is_of(known.get(&key), slot) {
            known.remove(&key);
        }
    }

    /// How many nobody adds to, and their bytes.
    pub(super) fn idle(&self) -> (u64, u64) {
        let known = self.lock();
        let durable = known.values().filter_map(|state| match state {
            State::Idle(idle) => Some(idle.durable),
            State::Busy(_) => None,
        });
        durable.fold((0, 0), |(count, bytes), durable| (count + 1, bytes + durable))
    }

    pub(super) fn is_idle(&self, key: Key) -> bool {
        matches!(self.lock().get(&key), Some(State::Idle(_)))
    }

    /// Those that nobody adds to, with the second in which each was touched last.
    fn touched(&self) -> Vec<(u64, Key)> {
        let known = self.lock();
        let idle = known.iter().filter_map(|(key, state)| match state {
            State::Idle(idle) => Some((idle.touched, *key)),
            State::Busy(_) => None,
        });
        idle.collect()
    }

    fn oldest(&self) -> Option<Key> {
        self.touched().into_iter().min_by_key(|(touched, _)| *touched).map(|(_, key)| key)
    }

    /// Takes one out of those that nobody adds to; its owner keeps others away from the files.
    fn withdraw(self: &Arc<Self>, key: Key) -> Option<(Owner, Idle)> {
        let mut known = self.lock();
        if !matches!(known.get(&key), Some(State::Idle(_))) {
            return None;
        }
        let slot = Slot::new(Cut::default());
        let Some(State::Idle(idle)) = known.insert(key, State::Busy(slot.clone())) else { return None };
        Some((Owner { partials: self.clone(), key, slot }, idle))
    }
}

fn is_of(state: Option<&State>, slot: &Arc<Slot>) -> bool {
    matches!(state, Some(State::Busy(now)) if Arc::ptr_eq(now, slot))
}

fn names_of(Key { digest, length }: Key) -> [OsString; 2] {
    let name = format!("{}-{length}.part", digest.to_hex());
    [OsString::from(&name), OsString::from(name + OUTBOARD)]
}

/// Keeps others away from what a slot has, or had, until it is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) partials: Arc<Partials>,
    pub(super) key: Key,
    pub(super) slot: Arc<Slot>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.partials.release(self.key, &self.slot);
    }
}

impl Inner {
    /// Removes the files, and the note that there are any. Whoever calls it is the owner. Blocks.
    pub(super) fn erase_partial(&self, key: Key) -> Result<(), StoreError> {
        let (data, outboard) = self.partials.paths(key);
        for path in [data, outboard] {
            match self.disk.remove(&path) {
                Ok(()) | Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.index.forget_partials(&[(key.digest, key.length)])?)
    }

    /// Removes what nobody adds to. Blocks.
    pub(super) fn drop_partial(&self, key: Key) -> Result<(), StoreError> {
        match self.partials.withdraw(key) {
            Some((_owner, _idle)) => self.erase_partial(key),
            None => Ok(()),
        }
    }

    /// Removes the oldest of more than there may be. Blocks.
    pub(super) fn drop_surplus_partials(&self) -> Result<(), StoreError> {
        while self.partials.idle().0 > self.partials.config.most as u64 {
            let Some(oldest) = self.partials.oldest() else { break };
            self.drop_partial(oldest)?;
        }
        Ok(())
    }

    /// Removes what no put has touched for long, and what is stored by now. Blocks.
    pub(super) fn drop_old_partials(&self, now: u64) -> Result<(), StoreError> {
        for (touched, key) in self.partials.touched() {
            let is_old = now >= touched.saturating_add(self.partials.config.ttl);
            if is_old || self.index.holds(&key.digest, key.length)? {
                self.drop_partial(key)?;
            }
        }
        Ok(())
    }

    /// [`Reservation::grow`]; what was kept of puts that were cut off makes way, if that is enough. Blocks then.
    pub(super) fn make_room(&self, room: &mut Reservation, written: u64, added: u64) -> Result<(), StoreError> {
        loop {
            let Err(error) = room.grow(written, added, || self.held()) else { return Ok(()) };
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
