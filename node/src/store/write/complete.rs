//! The states of a put after its last byte: complete, then stored.

use std::sync::Arc;

use bytes::Bytes;
use redb::WriteTransaction;
use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

use super::partial_owner::PartialOwner;
use crate::store::StoreError;
use crate::store::checked_index::CheckedIndex;
use crate::store::index::{self, Kept, NewBlob};
use crate::store::large_blobs::PublishedBlob;
use crate::store::space::Reservation;
use crate::store::verified::Version;

/// A blob that was compared with its assignment and is not in the index yet. If it is large, its files are durable.
#[derive(Debug)]
#[must_use = "a blob is stored only once it is entered"]
pub struct Complete {
    assignment: Assignment,
    blob: CompleteBlob,
}

/// What a complete blob holds until its entry is committed.
#[derive(Debug)]
pub(super) enum CompleteBlob {
    /// The bytes, which go into the index.
    Small { bytes: Bytes, _reserved: Reservation },
    /// The claim on durable files.
    Large {
        published: PublishedBlob,
        _reserved: Reservation,
        /// Set if the blob was a partial upload: no other put uses its names.
        _owner: Option<PartialOwner>,
    },
    /// Nothing: the blob was stored before the put began, and only its duty is prolonged.
    AlreadyStored,
}

impl Complete {
    /// The caller has compared the blob with the assignment.
    pub(super) fn new(assignment: &Assignment, blob: CompleteBlob) -> Self {
        Self { assignment: *assignment, blob }
    }

    /// Enters the blob into the index, or prolongs its duty if it was already stored. It is *stored* when this returns. `now` is in
    /// seconds since 1970.
    pub(super) async fn commit(self, index: &Arc<CheckedIndex>, now: u64) -> Result<Stored, StoreError> {
        let Self { assignment, blob } = self;
        match blob {
            CompleteBlob::AlreadyStored => match index.change(index::keep(&[assignment], Vec::new(), None)).await? {
                Kept::All(_) => Ok(Stored { assignment, blob }),
                Kept::Lacking(_) => Err(StoreError::NotHeld { digest: assignment.digest }),
            },
            blob => Self::commit_with(move || Ok(Self { assignment, blob }), index, now).await,
        }
    }

    /// Enters a blob that the committing thread completes. An earlier duty is never shortened.
    pub(super) async fn commit_with(
        complete: impl FnOnce() -> Result<Self, StoreError> + Send + 'static,
        index: &Arc<CheckedIndex>,
        now: u64,
    ) -> Result<Stored, StoreError> {
        let record = move |Self { assignment, blob }: Self, transaction: &WriteTransaction| {
            let bytes = match &blob {
                CompleteBlob::Small { bytes, .. } => Some(bytes.clone()),
                CompleteBlob::Large { .. } | CompleteBlob::AlreadyStored => None,
            };
            // what the blob holds is released after the commit
            index::record(NewBlob::of(&assignment, now, bytes), Stored { assignment, blob })(transaction)
        };
        index.change_with(complete, record).await
    }
}

/// A blob whose entry is committed, with its duty.
#[derive(Debug)]
pub(super) struct Stored {
    assignment: Assignment,
    /// Released when this is dropped.
    blob: CompleteBlob,
}

/// What is known of the bytes of a blob that was just stored.
pub(super) enum StoredBytes {
    /// They arrived with this put, into the index or an object store.
    Arrived,
    /// They are in files that were just verified.
    InFiles(Version),
    /// They were here before.
    Earlier,
}

impl Stored {
    pub(super) fn assignment(&self) -> Assignment {
        self.assignment
    }

    /// Releases what the put held.
    pub(super) fn release(self) -> StoredBytes {
        match self.blob {
            CompleteBlob::AlreadyStored => StoredBytes::Earlier,
            CompleteBlob::Large { published: PublishedBlob { version: Some(version), .. }, .. } => {
                StoredBytes::InFiles(*version)
            }
            CompleteBlob::Large { .. } | CompleteBlob::Small { .. } => StoredBytes::Arrived,
        }
    }
}

/// Compares a blob with its assignment.
pub(super) fn compare(length: u64, digest: Digest, assignment: &Assignment) -> Result<(), StoreError> {
    if length != assignment.length {
        return Err(StoreError::LengthDiffers { expected: assignment.length, got: length });
    }
    if digest != assignment.digest {
        return Err(StoreError::DigestDiffers { expected: assignment.digest, got: digest });
    }
    Ok(())
}
