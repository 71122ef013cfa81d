//! A partial upload that a put adds to: its files, and the state of the hash tree.

use std::time::Duration;

use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;
use vouch_core::tree::{BLOCK, Parent, Suspended, TreeHasher};

use crate::bugs::{self, Bug};
use crate::host::files::FileError;
use crate::store::StoreError;
use crate::store::blobs::{OUTBOARD_PIECE, Spool, SpoolFolder};
use crate::store::checked_index::CheckedIndex;
use crate::store::index::PartialRow;
use crate::store::large_blobs::{LargeBlobs, PublishedBlob};
use crate::store::space::Reservation;

/// The digest and the length that a put claims. Puts that claim different lengths have different partial uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct PartialKey {
    pub(in super::super) digest: Digest,
    pub(in super::super) length: u64,
}

impl PartialKey {
    pub(in super::super) fn of(assignment: &Assignment) -> Self {
        Self { digest: assignment.digest, length: assignment.length }
    }

    /// The name of its spool. While the index has a record of the upload, no other files get this name.
    pub(in super::super) fn spool_name(&self) -> String {
        format!("{}-{}.part", self.digest.to_hex(), self.length)
    }
}

/// The files of a partial upload durably hold at least the bytes that the index records. Bytes beyond are cut off when the upload is
/// resumed.
#[derive(Debug)]
pub(super) struct OpenPartial {
    key: PartialKey,
    spool: Spool,
    hasher: TreeHasher,
    /// The end of the outboard that is not written yet.
    parents: Vec<u8>,
    /// The state of the hasher after the last complete block. The next checkpoint records it.
    mark: Suspended,
    /// Number of bytes that the index records as durable.
    durable: u64,
    /// No more bytes are recorded: a write failed, so the content after the durable bytes is unknown, or the upload was complete.
    is_ended: bool,
    /// When bytes last arrived, on the monotonic clock.
    heard: Duration,
    reserved: Reservation,
}

impl OpenPartial {
    /// Begins an empty one. No files may have its names. `now` is monotonic.
    pub(super) fn create(
        folder: &SpoolFolder,
        key: PartialKey,
        reserved: Reservation,
        now: Duration,
    ) -> Result<Self, FileError> {
        let spool = folder.create_as(&key.spool_name())?;
        Ok(Self::new(key, (spool, TreeHasher::new(), Suspended::default()), reserved, now))
    }

    fn new(
        key: PartialKey,
        (spool, hasher, mark): (Spool, TreeHasher, Suspended),
        reserved: Reservation,
        now: Duration,
    ) -> Self {
        let durable = mark.length;
        Self { key, spool, hasher, parents: Vec::new(), mark, durable, is_ended: false, heard: now, reserved }
    }

    /// Opens the durable bytes. Returns the reservation if they are not as they were left.
    pub(super) fn reopen(
        (index, folder): (&CheckedIndex, &SpoolFolder),
        (key, durable): (PartialKey, u64),
        reserved: Reservation,
        now: Duration,
    ) -> Result<Self, Reservation> {
        let open = || {
            let row = index.partial(&key.digest, key.length).ok()??;
            let hasher = TreeHasher::resume(&row.had).ok().filter(|hasher| hasher.length() == durable)?;
            let lengths = (row.had.length, row.had.outboard_size());
            let spool = folder.reopen(&key.spool_name(), lengths).ok()?;
            Some((spool, hasher, row.had))
        };
        match open() {
            Some(opened) => Ok(Self::new(key, opened, reserved, now)),
            None => Err(reserved),
        }
    }

    /// Number of bytes that were taken.
    pub(super) fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Number of bytes that are durable, and recorded in the index.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Number of bytes in complete blocks that no checkpoint has recorded.
    pub(super) fn unrecorded(&self) -> u64 {
        self.mark.length - self.durable
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// When bytes last arrived, on the monotonic clock.
    pub(super) fn last_activity(&self) -> Duration {
        self.heard
    }

    /// Notes that the put was heard from. `now` is monotonic.
    pub(super) fn record_activity(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Verifies and writes the next block. Skips a block that is already there.
    pub(super) fn take(&mut self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<(), StoreError> {
        let key = self.key;
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
        self.is_ended |= written.is_err();
        Ok(written?)
    }

    fn write_parents(&mut self) -> Result<(), FileError> {
        self.spool.write_outboard(&self.parents)?;
        self.parents.clear();
        Ok(())
    }

    /// Makes the blocks so far durable: first the bytes and the files' names, then the record in the index. `touched` is in seconds
    /// since 1970.
    pub(super) fn checkpoint(
        &mut self,
        index: &CheckedIndex,
        folder: &SpoolFolder,
        touched: u64,
    ) -> Result<(), StoreError> {
        index.check()?;
        if self.mark.length == 0 {
            return Ok(());
        }
        if self.mark.length > self.durable {
            let synced = self.sync(folder);
            self.is_ended |= synced.is_err();
            synced.map_err(|error| index.failed(error))?;
        }
        let PartialKey { digest, length } = self.key;
        index.note_partial(PartialRow { digest, length, touched, had: self.mark.clone() })?;
        self.durable = self.mark.length;
        self.spool.set_kept(true);
        Ok(())
    }

    fn sync(&mut self, folder: &SpoolFolder) -> Result<(), FileError> {
        self.write_parents()?;
        if !bugs::has(Bug::PartWithoutSync) {
            self.spool.sync()?;
        }
        // after the first checkpoint, the names are durable
        if self.durable == 0 { folder.sync() } else { Ok(()) }
    }

    /// The digest of the bytes, of which no more may come.
    pub(super) fn digest(&mut self) -> Digest {
        let parents = &mut self.parents;
        self.hasher.clone().finish(&mut |parent: &Parent| parents.extend_from_slice(&parent.0))
    }

    /// Makes the complete blob durable under its digest.
    pub(super) fn publish(&mut self, blobs: &LargeBlobs, digest: &Digest) -> Result<PublishedBlob, StoreError> {
        self.write_parents()?;
        self.spool.set_kept(false);
        blobs.publish(&mut self.spool, digest)
    }

    /// Records no more bytes.
    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    /// Gives up the files, and returns the reserved space.
    pub(super) fn into_reserved(self) -> Reservation {
        self.reserved
    }

    /// Removes the files, as far as they did not get other names.
    pub(super) fn discard(mut self) {
        self.spool.set_kept(false);
    }
}
