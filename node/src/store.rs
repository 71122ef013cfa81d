//! A replica's blobs, and the index of the blobs that are *stored*.
//!
//! A blob of at most 64 KiB is kept in the index itself. The bytes of a larger one are written to a temporary file, and its outboard
//! to another. Both files are synced and renamed, the folder is synced, and the index is committed last. So the index never
//! names a blob that a loss of power could take away, and a file without an entry only wastes space. A blob's
//! entry records its duty: until when it must be kept.

use std::path::Path;
use std::sync::Arc;

use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

use crate::durable::Replaced;
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;

mod anchor;
mod blob_check;
mod blobs;
mod blocking;
mod certificates;
mod checked_index;
mod claims;
mod collecting;
mod config;
mod confirming;
mod error;
mod index;
mod journal;
mod large_blobs;
mod reading;
mod settling;
mod space;
#[cfg(test)]
mod tests;
mod usage;
mod verified;
mod write;

pub(crate) use blocking::blocking;
pub(crate) use collecting::check_grace;
pub use collecting::{Collected, GRACE};
pub use config::{BlobLocation, MAX_SMALL, PartialConfig, StoreConfig};
pub use confirming::Confirmed;
pub use error::StoreError;
pub use index::Entry;
pub(crate) use index::INDEX;
pub use journal::{Journalled, Promise};
pub use reading::Slice;
pub use settling::SETTLING;
pub use space::{ReservedSpace, default_reserve};
pub use usage::Usage;
pub use write::{CancelToken, Complete, PrivateUpload, Receiving};

use anchor::Anchor;
use blobs::{BlobStore, FileBlobs, RemoteBlobs, SpoolFolder};
use checked_index::CheckedIndex;
use index::Index;
use large_blobs::LargeBlobs;
use reading::BlobReader;
use space::SpaceBudget;
use verified::VerifiedBlobs;
use write::{PartialUploads, UploadParts, UploadSpace};

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

/// The parts of a store. Each module is given those that it uses.
#[derive(Debug)]
struct OpenStore {
    host: Host,
    index: Arc<CheckedIndex>,
    blobs: Arc<LargeBlobs>,
    reader: Arc<BlobReader>,
    uploads: Arc<UploadParts>,
    partials: Arc<PartialUploads>,
    space: Arc<SpaceBudget>,
    replaced: Option<Replaced>,
}

impl Store {
    /// Opens the store in a folder that no other process uses, or creates it. Removes unfinished files, except durable partial
    /// uploads.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(host: &Host, folder: &Path, config: &StoreConfig) -> Result<Self, StoreError> {
        let disk = host.shared_disk();
        let files = match &config.place {
            BlobLocation::Beside | BlobLocation::Elsewhere(_) => folder,
            BlobLocation::Folder(files) => files,
        };
        let (partial, in_files) = (files.join("partial"), files.join("blobs"));
        let make = || {
            disk.create_folders(std::slice::from_ref(&partial), blobs::FOLDER_MODE)?;
            Ok::<_, FileError>(match &config.place {
                BlobLocation::Beside | BlobLocation::Folder(_) => {
                    BlobStore::Files(FileBlobs::create(disk.clone(), in_files.clone())?)
                }
                BlobLocation::Elsewhere(objects) => BlobStore::Remote(RemoteBlobs::new(objects.clone())),
            })
        };
        // The folders of blobs are created before the index. If the index exists and they do not, do not create them: the disk may
        // not be mounted.
        let (blobs, (index, replaced)) = if disk.exists(&folder.join(INDEX))? {
            let (index, replaced) = Index::open(host, &folder.join(INDEX))?;
            if !matches!(config.place, BlobLocation::Elsewhere(_)) {
                anchor::check_folder(&*disk, &in_files, &index)?;
            }
            (make()?, (index, replaced))
        } else {
            (make()?, Index::open(host, &folder.join(INDEX))?)
        };
        let anchor = Anchor::settle(host, &blobs, &index)?;
        let space = Arc::new(SpaceBudget::new(disk.clone(), files.to_owned(), config)?);
        let index = Arc::new(CheckedIndex::new(index, anchor));
        let folder = Arc::new(SpoolFolder::new(disk, partial));
        let partials =
            Arc::new(PartialUploads::open(host.clone(), index.clone(), folder.clone(), config.partials, &space)?);
        let blobs = Arc::new(LargeBlobs::new(blobs, index.clone()));
        let verified = VerifiedBlobs::new(host.clone());
        let reader = Arc::new(BlobReader { index: index.clone(), blobs: blobs.clone(), verified });
        let uploads = Arc::new(UploadParts {
            host: host.clone(),
            index: index.clone(),
            blobs: blobs.clone(),
            folder,
            partials: partials.clone(),
            space: UploadSpace::new(space.clone(), index.clone(), partials.clone()),
        });
        let inner = OpenStore { host: host.clone(), index, blobs, reader, uploads, partials, space, replaced };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The damaged index that was replaced when the store was opened, if it was. The store then holds nothing until repair fetches it.
    pub fn replaced(&self) -> Option<&Replaced> {
        self.inner.replaced.as_ref()
    }

    /// The length of a blob, if it is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn length_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.index.entry(digest)?.map(|entry| entry.length))
    }

    /// Whether the bytes of an assignment are stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn holds(&self, assignment: &Assignment) -> Result<bool, StoreError> {
        Ok(assignment.is_held(self.length_of(&assignment.digest)?))
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
        self.inner.reader.read(digest, offset, length)
    }

    /// Records the duty to keep every blob of a batch until its assignment expires, all in one commit, or without a commit if
    /// every duty is already recorded that far. An earlier duty is never shortened.
    ///
    /// Returns the indices of the assignments whose blob is not stored or has another length. If there are any, nothing
    /// was changed; otherwise, the duties are durable.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep(&self, assignments: &[Assignment]) -> Result<Vec<u16>, StoreError> {
        Ok(match self.inner.index.change(index::keep(assignments, Vec::new(), None)).await? {
            index::Kept::All(_) => Vec::new(),
            index::Kept::Lacking(lacking) => lacking,
        })
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
