//! A put of a large blob that resumes a partial upload, or leaves one.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::receipt::Receipt;
use vouch_core::tree::{BLOCK, Parent, Suspended, TreeHasher};

use super::blobs::Spool;
use super::incoming::{Complete, EntryGuard, OUTBOARD_PIECE, compare};
use super::index::PartialRow;
use super::partials::{CancelToken, FoundPartial, IdlePartial, PartialKey, PartialOwner, WriterSlot};
use super::space::Reservation;
use super::{OpenStore, StoreError};
use crate::bugs::{self, Bug};
use crate::host::files::FileError;

/// A partial upload that is being written.
#[derive(Debug)]
pub(super) struct OpenPartial {
    spool: Spool,
    hasher: TreeHasher,
    /// The end of the outboard that is not written yet.
    parents: Vec<u8>,
    /// The state of the hasher after the last complete block. The next checkpoint records it.
    mark: Suspended,
    /// Number of bytes that the index records as durable.
    durable: u64,
    /// A write failed, so the content after the durable bytes is unknown.
    pub(super) failed: bool,
    /// When bytes last arrived, on the monotonic clock.
    pub(super) heard: Duration,
    reserved: Reservation,
}

impl OpenPartial {
    fn new(spool: Spool, hasher: TreeHasher, mark: Suspended, reserved: Reservation, heard: Duration) -> Self {
        let durable = mark.length;
        Self { spool, hasher, parents: Vec::new(), mark, durable, failed: false, heard, reserved }
    }

    /// Begins an empty one. Removes files that have its names.
    fn create(inner: &OpenStore, key: PartialKey, reserved: Reservation) -> Result<Self, StoreError> {
        inner.erase_partial(key)?;
        let spool = Spool::create_at(&inner.disk, inner.partials.paths(key))?;
        Ok(Self::new(spool, TreeHasher::new(), Suspended::default(), reserved, inner.host.monotonic()))
    }

    /// Opens the durable bytes, if they are as they were left.
    fn reopen(inner: &OpenStore, key: PartialKey, durable: u64) -> Option<(Spool, TreeHasher, Suspended)> {
        let row = inner.index.partial(&key.digest, key.length).ok()??;
        let hasher = TreeHasher::resume(&row.had).ok().filter(|hasher| hasher.length() == durable)?;
        let lengths = (row.had.length, row.had.outboard_size());
        let spool = Spool::reopen(&inner.disk, inner.partials.paths(key), lengths).ok()?;
        Some((spool, hasher, row.had))
    }

    /// `now` is monotonic.
    fn take(
        &mut self,
        key: PartialKey,
        offset: u64,
        bytes: &[u8],
        proof: &[Parent],
        now: Duration,
    ) -> Result<(), StoreError> {
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
        self.reserved.wrote(size);
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

    /// Makes the blocks so far durable: first the bytes and the files' names, then the record in the index.
    fn checkpoint(&mut self, inner: &OpenStore, key: PartialKey) -> Result<(), StoreError> {
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
        let PartialKey { digest, length } = key;
        inner.index.note_partial(PartialRow { digest, length, touched, had: self.mark.clone() })?;
        self.durable = self.mark.length;
        self.spool.set_kept(true);
        Ok(())
    }
}

/// One put that writes a partial upload. Dropping it makes the upload durable for the next put. The drop blocks meanwhile.
#[derive(Debug)]
pub(super) struct PartialWriter {
    inner: Arc<OpenStore>,
    key: PartialKey,
    slot: Arc<WriterSlot>,
    /// The resume offset.
    had: u64,
    owner: Option<PartialOwner>,
}

impl PartialWriter {
    /// Resumes a partial upload, or begins one. `None` if another put is adding to it.
    pub(super) fn begin(
        inner: &Arc<OpenStore>,
        key: PartialKey,
        cut: &CancelToken,
    ) -> Result<Option<Self>, StoreError> {
        let slot = WriterSlot::new(cut.clone());
        let found = inner.partials.claim(key, &slot);
        if matches!(found, FoundPartial::Busy) {
            return Ok(None);
        }
        let owner = PartialOwner { partials: inner.partials.clone(), key, slot: slot.clone() };
        let live = match found {
            FoundPartial::Busy => return Ok(None),
            FoundPartial::Open(live) => OpenPartial { heard: inner.host.monotonic(), ..*live },
            FoundPartial::Idle(idle) => Self::reopen(inner, key, &slot, idle)?,
            FoundPartial::Nothing => {
                let mut reserved = inner.space.reservation();
                inner.make_room(&mut reserved, key.length, key.length)?;
                OpenPartial::create(inner, key, reserved)?
            }
        };
        let had = live.hasher.length();
        *slot.lock() = Some(live);
        Ok(Some(Self { inner: inner.clone(), key, slot, had, owner: Some(owner) }))
    }

    fn reopen(
        inner: &Arc<OpenStore>,
        key: PartialKey,
        slot: &Arc<WriterSlot>,
        mut idle: IdlePartial,
    ) -> Result<OpenPartial, StoreError> {
        let missing = key.length.saturating_sub(idle.durable);
        if let Err(error) = inner.make_room(&mut idle.reserved, missing, missing) {
            inner.partials.rest(key, slot, idle);
            return Err(error);
        }
        if let Some((spool, hasher, had)) = OpenPartial::reopen(inner, key, idle.durable) {
            return Ok(OpenPartial::new(spool, hasher, had, idle.reserved, inner.host.monotonic()));
        }
        inner.make_room(&mut idle.reserved, idle.durable, 0)?;
        OpenPartial::create(inner, key, idle.reserved)
    }

    /// The resume offset: number of bytes that need not be sent.
    pub(super) fn had(&self) -> u64 {
        self.had
    }

    /// Verifies and writes the next block. Skips a block that is already there.
    pub(super) fn take(&mut self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<(), StoreError> {
        let mut slot = self.slot.lock();
        let live = slot.as_mut().ok_or(StoreError::Overtaken { digest: self.key.digest })?;
        live.take(self.key, offset, bytes, proof, self.inner.host.monotonic())?;
        if live.mark.length - live.durable >= self.inner.partials.config.checkpoint {
            live.checkpoint(&self.inner, self.key)?;
        }
        Ok(())
    }

    /// Makes the complete blob durable under its name.
    pub(super) fn finish(mut self, receipt: &Receipt) -> Result<Complete, StoreError> {
        let (inner, key) = (self.inner.clone(), self.key);
        inner.check()?;
        let mut slot = self.slot.lock();
        let live = slot.as_mut().ok_or(StoreError::Overtaken { digest: key.digest })?;
        compare(live.hasher.length(), key.digest, receipt)?;
        if live.hasher.length() != key.length {
            return Err(StoreError::LengthDiffers { expected: key.length, got: live.hasher.length() });
        }
        // From here on, no other put can take it over.
        let Some(mut live) = slot.take() else { return Err(StoreError::Overtaken { digest: key.digest }) };
        drop(slot);
        let parents = &mut live.parents;
        let digest = live.hasher.clone().finish(&mut |parent: &Parent| parents.extend_from_slice(&parent.0));
        // Each block was verified, so this fails only if the recorded state of an earlier put was wrong.
        let is_right = compare(key.length, digest, receipt);
        let claim = inner.claims.claim(digest);
        let finished = is_right.and_then(|()| {
            live.write_parents()?;
            live.spool.set_kept(false);
            inner.blobs.finish(&mut live.spool, &digest).map_err(|error| inner.failed(error))
        });
        match finished {
            Ok(()) => {
                let owner = self.owner.take();
                let guard = EntryGuard { _claim: Some(claim), _reserved: live.reserved, _owner: owner };
                let version = inner.version_of_files(&digest)?;
                Ok(Complete { receipt: *receipt, bytes: None, version, guard })
            }
            Err(error @ StoreError::File(FileError::Elsewhere(_))) => {
                // The local files are complete. Keep them, so that a retry need not send the bytes again.
                let kept = live.checkpoint(&inner, key);
                live.failed = true;
                *self.slot.lock() = Some(live);
                kept.and(Err(error))
            }
            Err(error) => {
                live.spool.set_kept(false);
                drop(live);
                inner.erase_partial(key).and(Err(error))
            }
        }
    }

    /// Makes the partial upload durable, or removes it, and releases it for the next put.
    fn release(&self) -> Result<(), StoreError> {
        let (inner, key) = (&self.inner, self.key);
        // Hold the lock until all is done: a put that comes at once waits for it instead of starting at 0.
        let mut slot = self.slot.lock();
        let Some(live) = slot.as_mut() else { return Ok(()) };
        let is_unwanted = self.slot.cancel.is_discard() && self.had == 0;
        let is_wanted = !is_unwanted && !matches!(inner.index.holds(&key.digest, key.length), Ok(true));
        let noted = if is_wanted && !live.failed { live.checkpoint(inner, key) } else { Ok(()) };
        let Some(mut live) = slot.take() else { return Ok(()) };
        if is_wanted && live.durable > 0 {
            live.reserved.shrink(live.durable);
            let idle =
                IdlePartial { durable: live.durable, touched: inner.host.unix_seconds(), reserved: live.reserved };
            inner.partials.rest(key, &self.slot, idle);
            drop(slot);
            return noted.and_then(|()| inner.drop_surplus_partials());
        }
        live.spool.set_kept(false);
        drop(live);
        let erased = inner.erase_partial(key);
        inner.partials.release(key, &self.slot);
        noted.and(erased)
    }
}

impl Drop for PartialWriter {
    fn drop(&mut self) {
        // A drop cannot report an error. A final failure is recorded in the store.
        let _ = self.release();
    }
}
