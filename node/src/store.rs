//! A replica's blobs, and the index of the blobs that are *stored*.
//!
//! A blob of at most 64 KiB is kept in the index itself. The bytes of a larger one are written to a temporary file, and its outboard
//! to another. Both files are synced and renamed, the folder is synced, and the index is committed last. So the index never
//! names a blob that a loss of power could take away, and a file without an entry only wastes space. A blob's
//! entry records its duty: until when it must be kept.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redb::WriteTransaction;
use vouch_core::digest::Digest;
use vouch_core::receipt::Receipt;

use crate::durable::Replaced;
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;

mod adopting;
mod anchor;
mod blobs;
mod certificates;
mod claims;
mod collecting;
mod config;
mod confirming;
mod error;
mod incoming;
mod index;
mod journal;
mod offered;
mod partial_writer;
mod partials;
mod reading;
mod settling;
mod space;
#[cfg(test)]
mod tests;
mod usage;
mod verified;

pub use collecting::{Collected, GRACE};
pub(crate) use collecting::{blocking, check_grace};
pub use config::{Config, Place};
pub use confirming::Confirmed;
pub use error::StoreError;
pub use incoming::{Complete, Incoming};
pub use index::Entry;
pub use journal::{Journalled, Promise};
pub use offered::{Finished, Offered};
pub use partials::{CancelToken, PartialConfig};
pub use reading::Slice;
pub use settling::SETTLING;
pub use space::ReservedSpace;
pub use usage::Usage;

use anchor::Anchor;
use blobs::{BlobStore, FileBlobs, RemoteBlobs, Spools};
use claims::Claims;
use incoming::{EntryGuard, compare};
use index::{Index, NewBlob};
use partials::{PartialKey, Partials};
use space::SpaceBudget;
use verified::VerifiedBlobs;

/// The index's file name.
pub(crate) const INDEX: &str = "index.redb";

/// Maximum size in bytes of a blob that is kept in the index.
pub const MAX_SMALL: u64 = 64 << 10;

/// Whether a folder holds a store.
pub fn is_in(disk: &dyn Disk, folder: &Path) -> bool {
    matches!(disk.exists(&folder.join(INDEX)), Ok(true))
}

/// A damaged blob, which is to be fetched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// The blob's digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// When its duty ends, in seconds since 1970.
    pub keep_until: u64,
}

/// The blobs of one replica. A clone is another handle to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<OpenStore>,
}

#[derive(Debug)]
struct OpenStore {
    host: Host,
    disk: Arc<dyn Disk>,
    spools: Spools,
    blobs: BlobStore,
    index: Index,
    replaced: Option<Replaced>,
    claims: Claims,
    partials: Arc<Partials>,
    space: Arc<SpaceBudget>,
    anchor: Anchor,
    verified: VerifiedBlobs,
    /// The first failed sync of a file or folder. The index records its own.
    broken: OnceLock<FileError>,
}

impl Store {
    /// Opens the store in a folder that no other process uses, or creates it. Removes unfinished files, except durable partial
    /// uploads.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(host: &Host, folder: &Path, config: &Config) -> Result<Self, StoreError> {
        let disk = host.shared_disk();
        let files = match &config.place {
            Place::Beside | Place::Elsewhere(_) => folder,
            Place::Folder(files) => files,
        };
        let (partial, in_files) = (files.join("partial"), files.join("blobs"));
        let make = || {
            disk.create_folders(std::slice::from_ref(&partial), blobs::FOLDER_MODE)?;
            Ok::<_, FileError>(match &config.place {
                Place::Beside | Place::Folder(_) => {
                    BlobStore::Files(FileBlobs::create(disk.clone(), in_files.clone())?)
                }
                Place::Elsewhere(objects) => BlobStore::Remote(RemoteBlobs::new(objects.clone())),
            })
        };
        // The folders of blobs are created before the index. If the index exists and they do not, do not create them: the disk may
        // not be mounted.
        let (blobs, (index, replaced)) = if disk.exists(&folder.join(INDEX))? {
            let (index, replaced) = Index::open(host, &folder.join(INDEX))?;
            if !matches!(config.place, Place::Elsewhere(_)) {
                anchor::check_folder(&*disk, &in_files, &index)?;
            }
            (make()?, (index, replaced))
        } else {
            (make()?, Index::open(host, &folder.join(INDEX))?)
        };
        let anchor = Anchor::settle(host, &blobs, &index)?;
        let space = Arc::new(SpaceBudget::new(disk.clone(), files.to_owned(), config)?);
        let partials = Partials::open(host.clone(), partial.clone(), config.partials, &index, &space)?;
        let inner = OpenStore {
            host: host.clone(),
            spools: Spools::new(disk.clone(), partial),
            disk,
            blobs,
            index,
            replaced,
            claims: Claims::default(),
            partials: Arc::new(partials),
            space,
            anchor,
            verified: VerifiedBlobs::new(host.clone()),
            broken: OnceLock::new(),
        };
        inner.drop_surplus_partials()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The damaged index that was replaced when the store was opened, if it was. The store then holds nothing until repair fetches it.
    pub fn replaced(&self) -> Option<&Replaced> {
        self.inner.replaced.as_ref()
    }

    /// Begins a blob. If a receipt is offered, space for all of it is reserved when this returns.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub fn begin(&self, offer: Option<&Receipt>) -> Result<Incoming, StoreError> {
        Incoming::begin(self.inner.clone(), offer)
    }

    /// Begins an offered blob, or resumes its partial upload. Space for the rest is reserved when this returns. Blocks until the
    /// disk has answered.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub fn resume(&self, offer: &Receipt, cancel: &CancelToken) -> Result<Offered, StoreError> {
        Offered::begin(&self.inner, offer, cancel)
    }

    /// Enters an offered blob into the index like [`record`](Self::record), or prolongs its duty if it was already stored.
    ///
    /// # Errors
    /// [`StoreError::NotHeld`] if it was stored and no longer is; see [`StoreError`].
    pub async fn enter(&self, blob: Finished) -> Result<(), StoreError> {
        match blob {
            Finished::New(complete) => self.record(complete).await,
            Finished::Held(receipt) => match self.keep(&[receipt]).await?.is_empty() {
                true => Ok(()),
                false => Err(StoreError::NotHeld { digest: receipt.digest }),
            },
        }
    }

    /// Enters a blob into the index, with the duty to keep it until its receipt expires. The blob is *stored* when this
    /// returns. An earlier duty is never shortened.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&self, blob: Complete) -> Result<(), StoreError> {
        self.record_checked(blob.receipt, move |_| Ok(blob)).await
    }

    /// See [`record`](Self::record). The committing thread calls `complete`, after it checked that the store is in its place.
    async fn record_checked(
        &self,
        receipt: Receipt,
        complete: impl FnOnce(&OpenStore) -> Result<Complete, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let (inner, stored_at) = (self.inner.clone(), self.inner.host.unix_seconds());
        let check = move || {
            inner.check()?;
            complete(&inner)
        };
        let record = move |complete, transaction: &WriteTransaction| {
            let Complete { receipt, bytes, version, guard } = complete;
            index::record(NewBlob::of(&receipt, stored_at, bytes), (guard, version))(transaction)
        };
        // the guard is held until the entry is durable
        let (guard, version) = self.inner.index.0.commit_checked(check, record).await??;
        drop(guard);
        match version {
            // before a vote, the version is compared with the files
            Some(version) => self.inner.verified.note_read(receipt.digest, *version),
            None => self.inner.verified.note_fresh(&receipt),
        }
        let key = PartialKey { digest: receipt.digest, length: receipt.length };
        if self.inner.partials.is_idle(key) {
            // The blob arrived without it, so the partial upload is of no use.
            let inner = self.inner.clone();
            collecting::blocking(&self.inner.host, move || inner.drop_partial(key)).await?;
        }
        Ok(())
    }

    /// Compares a blob of at most [`MAX_SMALL`] bytes with its receipt and stores it, with its duty, in one commit.
    ///
    /// # Errors
    /// [`StoreError::NotSmall`], [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`],
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub async fn put_small(&self, receipt: &Receipt, bytes: Bytes) -> Result<(), StoreError> {
        let receipt = *receipt;
        // the committing thread hashes it: a thread of its own for so few bytes costs more than their hash
        self.record_checked(receipt, move |inner| inner.admit_small(&receipt, bytes)).await
    }

    /// Stores a blob whose files exist although the index does not name them: the index was lost, and the receipt of a certificate proves
    /// that they must be kept. `false` if the files are missing or wrong.
    ///
    /// # Errors
    /// [`StoreError::Quota`]; see [`StoreError`].
    pub async fn adopt(&self, receipt: &Receipt) -> Result<bool, StoreError> {
        let (inner, receipt) = (self.inner.clone(), *receipt);
        match collecting::blocking(&self.inner.host, move || adopting::adopt(&inner, &receipt)).await? {
            Some(complete) => self.record(complete).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// The length of a blob, if it is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn length_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.index.entry(digest)?.map(|entry| entry.length))
    }

    /// When the duty of a blob ends, in seconds since 1970, if the blob is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn keep_until(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.index.entry(digest)?.map(|entry| entry.keep_until))
    }

    /// Reads and verifies a part of a stored blob, and returns it with its proof. `offset` is a multiple of 16 KiB; `length` is, too,
    /// or ends with the blob. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::BeyondTheEnd`], [`StoreError::Misaligned`], [`StoreError::Damaged`];
    /// see [`StoreError`].
    pub fn read(&self, digest: &Digest, offset: u64, length: u32) -> Result<Slice, StoreError> {
        self.inner.read(digest, offset, length)
    }

    /// Records the duty to keep every blob of a batch until its receipt expires, all in one commit, or without a commit if
    /// every duty is already recorded that far. An earlier duty is never shortened.
    ///
    /// Returns the indices of the receipts whose blob is not stored or has another length. If there are any, nothing
    /// was changed; otherwise, the duties are durable.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep(&self, receipts: &[Receipt]) -> Result<Vec<u16>, StoreError> {
        self.inner.change(index::keep(receipts, None)).await
    }

    /// The stored blobs after one, in the order of their digests, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn blobs_from(&self, after: Option<Digest>, limit: usize) -> Result<Vec<(Digest, Entry)>, StoreError> {
        Ok(self.inner.index.entries_after(after, limit)?)
    }

    /// The damaged blobs after one, in the order of their digests, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn damaged_from(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Damaged>, StoreError> {
        let rows = self.inner.index.damaged_after(after, limit)?;
        Ok(rows.into_iter().map(|(digest, length, keep_until)| Damaged { digest, length, keep_until }).collect())
    }
}

impl OpenStore {
    /// Size of all stored blobs in bytes.
    fn held(&self) -> Result<u64, StoreError> {
        let totals = self.index.totals()?;
        Ok(totals.small.1.saturating_add(totals.large.1))
    }

    /// Changes the index on its committing thread, which first checks that the store is usable and still in its place.
    async fn change<T: Send + 'static>(self: &Arc<Self>, change: impl index::Change<T>) -> Result<T, StoreError> {
        let inner = self.clone();
        self.index.0.commit_checked(move || inner.check(), |(), transaction| change(transaction)).await?
    }

    /// Compares a blob of at most [`MAX_SMALL`] bytes with its receipt, and reserves space for it. Blocks until the disk has answered.
    fn admit_small(&self, receipt: &Receipt, bytes: Bytes) -> Result<Complete, StoreError> {
        let length = bytes.len() as u64;
        if length > MAX_SMALL {
            return Err(StoreError::NotSmall { limit: MAX_SMALL, got: length });
        }
        compare(length, Digest::of(&bytes), receipt)?;
        let mut reserved = self.space.reservation();
        // a stored blob needs no more space
        if self.index.entry(&receipt.digest)?.is_none() {
            self.make_room(&mut reserved, length, length)?;
        }
        let guard = EntryGuard { _claim: None, _reserved: reserved, _owner: None };
        Ok(Complete { receipt: *receipt, bytes: Some(bytes), version: None, guard })
    }

    /// Checks that the store is usable and still in its place. Blocks until the disk has answered.
    fn check(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            Some(cause) => Err(StoreError::Broken { cause: cause.clone() }),
            None => self.anchor.check(&self.index),
        }
    }

    /// Converts a file's error, for `map_err`. A failed sync poisons the store: later writes are refused.
    fn failed(&self, error: FileError) -> StoreError {
        if error.is_failed_sync() {
            StoreError::Broken { cause: self.broken.get_or_init(|| error).clone() }
        } else {
            error.into()
        }
    }
}
