//! A put of a large blob that adds to what came before, and leaves what it brought.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::receipt::Receipt;
use vouch_core::tree::{BLOCK, Parent, Suspended, TreeHasher};

use super::blobs::Spool;
use super::incoming::{Complete, Guard, OUTBOARD_PIECE, compare};
use super::index::PartialRow;
use super::partials::{Cut, Found, Idle, Key, Owner, Slot};
use super::space::Reservation;
use super::{Inner, StoreError};
use crate::bugs::{self, Bug};
use crate::host::files::FileError;

/// What is being written.
#[derive(Debug)]
pub(super) struct Live {
    spool: Spool,
    hasher: TreeHasher,
    /// The end of the outboard that is not written yet.
    parents: Vec<u8>,
    /// After the last block that is not the blob's end.
    mark: Suspended,
    /// Bytes that the index has noted.
    durable: u64,
    /// A write failed: what is beyond those is not known.
    pub(super) failed: bool,
    /// When bytes came last, on the monotonic clock.
    pub(super) heard: Duration,
    room: Reservation,
}

impl Live {
    fn new(spool: Spool, hasher: TreeHasher, mark: Suspended, room: Reservation, heard: Duration) -> Self {
        let durable = mark.length;
        Self { spool, hasher, parents: Vec::new(), mark, durable, failed: false, heard, room }
    }

    /// From nothing; whatever has the names goes first.
    fn create(inner: &Inner, key: Key, room: Reservation) -> Result<Self, StoreError> {
        inner.erase_partial(key)?;
        let spool = Spool::create_at(&inner.disk, inner.partials.paths(key))?;
        Ok(Self::new(spool, TreeHasher::new(), Suspended::default(), room, inner.host.monotonic()))
    }

    /// From what is durable, if it is as it was left.
    fn reopen(inner: &Inner, key: Key, durable: u64) -> Option<(Spool, TreeHasher, Suspended)> {
        let row = inner.index.partial(&key.digest, key.length).ok()??;
        let hasher = TreeHasher::resume(&row.had).ok().filter(|hasher| hasher.length() == durable)?;
        let lengths = (row.had.length, row.had.outboard_size());
        let spool = Spool::reopen(&inner.disk, inner.partials.paths(key), lengths).ok()?;
        Some((spool, hasher, row.had))
    }

    /// `now` is monotonic.
    fn take(&mut self, key: Key, offset: u64, bytes: &[u8], proof: &[Parent], now: Duration) -> Result<(), StoreError> {
        self.heard = now;
        let (had, size) = (self.hasher.length(), bytes.len() as u64);
        let end = offset.saturating_add(size);
        if end <= had {
            return Ok(());
        }
        if offset != had {
            return Err(StoreError::OutOfOrder { expected: had, got: offset });
        }
        if end > key.length {
            return Err(StoreError::LengthDiffers { expected: key.length, got: end });
        }
        if end < key.length && size != BLOCK as u64 {
            return Err(StoreError::NotABlock { offset, got: size });
        }
        let parents = &mut self.parents;
        let mut keep = |parent: &Parent| parents.extend_from_slice(&parent.0);
        self.hasher.update_verified((&key.digest, key.length), bytes, proof, &mut keep)?;
        if end < key.length
            && let Some(mark) = self.hasher.suspend(&mut keep)
        {
            self.mark = mark;
        }
        let written = self.spool.write(bytes);
        self.room.wrote(size);
        let written = written.and_then(|()| match self.parents.len() >= OUTBOARD_PIECE {
            true => self.write_parents(),
            false => Ok(()),
        });
        self.failed |= written.is_err();
        Ok(written?)
    }

    fn write_parents(&mut self) -> Result<(), FileError> {
        self.spool.write_outboard(&self.parents)?;
        self.parents.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), FileError> {
        if bugs::has(Bug::PartWithoutSync) { Ok(()) } else { self.spool.sync() }
    }

    /// Makes the blocks so far durable: first their bytes and the files' names, then the note that they are there.
    fn checkpoint(&mut self, inner: &Inner, key: Key) -> Result<(), StoreError> {
        inner.check()?;
        if self.mark.length == 0 {
            return Ok(());
        }
        if self.mark.length > self.durable {
            let synced = self.write_parents().and_then(|()| self.sync()).and_then(|()| match self.durable {
                0 => inner.disk.sync_folder(&inner.partials.folder),
                _ => Ok(()),
            });
            self.failed |= synced.is_err();
            synced.map_err(|error| inner.failed(error))?;
        }
        let touched = inner.host.unix_seconds();
        let Key { digest, length } = key;
        inner.index.note_partial(PartialRow { digest, length, touched, had: self.mark.clone() })?;
        self.durable = self.mark.length;
        self.spool.stay(true);
        Ok(())
    }
}

/// One put's hold on what comes of a large blob. Dropping it leaves that to the next put, durably; it blocks then.
#[derive(Debug)]
pub(super) struct Part {
    inner: Arc<Inner>,
    key: Key,
    slot: Arc<Slot>,
    /// What was there already.
    had: u64,
    owner: Option<Owner>,
}

impl Part {
    /// Goes on with what there is; `None` when another put is at it.
    pub(super) fn begin(inner: &Arc<Inner>, key: Key, cut: &Cut) -> Result<Option<Self>, StoreError> {
        let slot = Slot::new(cut.clone());
        let found = inner.partials.claim(key, &slot);
        if matches!(found, Found::Busy) {
            return Ok(None);
        }
        let owner = Owner { partials: inner.partials.clone(), key, slot: slot.clone() };
        let live = match found {
            Found::Busy => return Ok(None),
            Found::Live(live) => Live { heard: inner.host.monotonic(), ..*live },
            Found::Idle(idle) => Self::take_up(inner, key, &slot, idle)?,
            Found::Nothing => {
                let mut room = inner.room.none();
                inner.make_room(&mut room, key.length, key.length)?;
                Live::create(inner, key, room)?
            }
        };
        let had = live.hasher.length();
        *slot.lock() = Some(live);
        Ok(Some(Self { inner: inner.clone(), key, slot, had, owner: Some(owner) }))
    }

    fn take_up(inner: &Arc<Inner>, key: Key, slot: &Arc<Slot>, mut idle: Idle) -> Result<Live, StoreError> {
        let missing = key.length.saturating_sub(idle.durable);
        if let Err(error) = inner.make_room(&mut idle.room, missing, missing) {
            inner.partials.rest(key, slot, idle);
            return Err(error);
        }
        if let Some((spool, hasher, had)) = Live::reopen(inner, key, idle.durable) {
            return Ok(Live::new(spool, hasher, had, idle.room, inner.host.monotonic()));
        }
        inner.make_room(&mut idle.room, idle.durable, 0)?;
        Live::create(inner, key, idle.room)
    }

    /// The bytes that are there.
    pub(super) fn had(&self) -> u64 {
        self.had
    }

    /// Takes the next block, or passes over one that is there, once it is verified.
    pub(super) fn take(&mut self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<(), StoreError> {
        let mut slot = self.slot.lock();
        let live = slot.as_mut().ok_or(StoreError::Overtaken { digest: self.key.digest })?;
        live.take(self.key, offset, bytes, proof, self.inner.host.monotonic())?;
        if live.mark.length - live.durable >= self.inner.partials.config.checkpoint {
            live.checkpoint(&self.inner, self.key)?;
        }
        Ok(())
    }

    /// Makes the whole blob durable under its name.
    pub(super) fn finish(mut self, receipt: &Receipt) -> Result<Complete, StoreError> {
        let (inner, key) = (self.inner.clone(), self.key);
        inner.check()?;
        let mut slot = self.slot.lock();
        let live = slot.as_mut().ok_or(StoreError::Overtaken { digest: key.digest })?;
        compare(live.hasher.length(), key.digest, receipt)?;
        if live.hasher.length() != key.length {
            return Err(StoreError::LengthDiffers { expected: key.length, got: live.hasher.length() });
        }
        // nobody takes it over now
        let Some(mut live) = slot.take() else { return Err(StoreError::Overtaken { digest: key.digest }) };
        drop(slot);
        let parents = &mut live.parents;
        let digest = live.hasher.clone().finish(&mut |parent: &Parent| parents.extend_from_slice(&parent.0));
        // each block was verified: then what was noted of those before was not true
        let is_right = compare(key.length, digest, receipt);
        let claim = inner.claims.claim(digest);
        let finished = is_right.and_then(|()| {
            live.write_parents()?;
            live.spool.stay(false);
            inner.blobs.finish(&mut live.spool, &digest).map_err(|error| inner.failed(error))
        });
        match finished {
            Ok(()) => {
                let owner = self.owner.take();
                let guard = Guard { _claim: Some(claim), _room: live.room, _owner: owner };
                let version = inner.version_of_files(&digest)?;
                Ok(Complete { receipt: *receipt, bytes: None, version, guard })
            }
            Err(error @ StoreError::File(FileError::Elsewhere(_))) => {
                // the files are whole, and need not come again when that store is there again
                let kept = live.checkpoint(&inner, key);
                live.failed = true;
                *self.slot.lock() = Some(live);
                kept.and(Err(error))
            }
            Err(error) => {
                live.spool.stay(false);
                drop(live);
                inner.erase_partial(key).and(Err(error))
            }
        }
    }

    /// Makes what came durable, or removes it, and lets the next put have it.
    fn put_away(&self) -> Result<(), StoreError> {
        let (inner, key) = (&self.inner, self.key);
        // kept until all is done: the next put of a client that comes back at once waits for it
        let mut slot = self.slot.lock();
        let Some(live) = slot.as_mut() else { return Ok(()) };
        let is_unwanted = self.slot.cut.is_discard() && self.had == 0;
        let is_wanted = !is_unwanted && !matches!(inner.index.holds(&key.digest, key.length), Ok(true));
        let noted = if is_wanted && !live.failed { live.checkpoint(inner, key) } else { Ok(()) };
        let Some(mut live) = slot.take() else { return Ok(()) };
        if is_wanted && live.durable > 0 {
            live.room.shrink(live.durable);
            let idle = Idle { durable: live.durable, touched: inner.host.unix_seconds(), room: live.room };
            inner.partials.rest(key, &self.slot, idle);
            drop(slot);
            return noted.and_then(|()| inner.drop_surplus_partials());
        }
        live.spool.stay(false);
        drop(live);
        let erased = inner.erase_partial(key);
        inner.partials.release(key, &self.slot);
        noted.and(erased)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // nobody is left to be told; a failure that is final is the store's, and shows in its state
        let _ = self.put_away();
    }
}
