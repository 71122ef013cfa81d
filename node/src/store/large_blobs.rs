//! The large blobs under their names, and which of them no sweep may remove.

use std::sync::Arc;

use vouch_core::digest::Digest;

use super::StoreError;
use super::blobs::{BlobStore, OpenBlob, Spool};
use super::checked_index::CheckedIndex;
use super::claims::{Claim, Claims};
use super::verified::Version;
use crate::host::files::FileError;

/// The large blobs of a store. One that is neither in the index nor claimed belongs to nobody, and the next sweep removes it.
#[derive(Debug)]
pub(super) struct LargeBlobs {
    place: BlobStore,
    claims: Claims,
    index: Arc<CheckedIndex>,
}

/// A blob that is durable under its name, and claimed until this is dropped.
#[derive(Debug)]
pub(super) struct PublishedBlob {
    /// The version of its files, which were just verified. `None` for objects, of which it would cost a request.
    pub(super) version: Option<Box<Version>>,
    pub(super) _claim: Claim,
}

impl LargeBlobs {
    pub(super) fn new(place: BlobStore, index: Arc<CheckedIndex>) -> Self {
        Self { place, claims: Claims::default(), index }
    }

    #[cfg(test)]
    pub(super) fn place(&self) -> &BlobStore {
        &self.place
    }

    /// Claims a blob, so that no sweep removes it.
    pub(super) fn claim(&self, digest: Digest) -> Claim {
        self.claims.claim(digest)
    }

    /// Claims a blob and makes it durable under its digest. Replaces an earlier copy. A failed sync is final.
    pub(super) fn publish(&self, spool: &mut Spool, digest: &Digest) -> Result<PublishedBlob, StoreError> {
        // from before the files get their names
        let claim = self.claim(*digest);
        self.place.finish(spool, digest).map_err(|error| self.index.failed(error))?;
        let version = match &self.place {
            BlobStore::Files(_) => {
                let version = self.place.version(digest)?;
                Some(Box::new(version.ok_or(StoreError::NotHeld { digest: *digest })?))
            }
            BlobStore::Remote(_) => None,
        };
        Ok(PublishedBlob { version, _claim: claim })
    }

    /// See [`BlobStore::open`].
    pub(super) fn open(&self, digest: &Digest, length: u64) -> Result<OpenBlob, FileError> {
        self.place.open(digest, length)
    }

    /// See [`BlobStore::version`].
    pub(super) fn version(&self, digest: &Digest) -> Result<Option<Version>, FileError> {
        self.place.version(digest)
    }

    /// Removes the files of a blob, unless it is stored or a put of it is about to enter it.
    pub(super) fn remove_unless_entered(&self, digest: &Digest) -> Result<(), StoreError> {
        let entered = || Ok::<_, StoreError>(self.index.entry(digest)?.is_some_and(|entry| entry.in_files()));
        // check without the lock first: most files have an entry
        if entered()? {
            return Ok(());
        }
        self.claims.unless_claimed(digest, || if entered()? { Ok(()) } else { Ok(self.place.remove(digest)?) })
    }

    /// Removes all files that belong to no blob, of digests that begin with this byte.
    pub(super) fn sweep(&self, first: u8) -> Result<(), StoreError> {
        let digests = self.place.list(first)?;
        digests.iter().try_for_each(|digest| self.remove_unless_entered(digest))
    }
}
