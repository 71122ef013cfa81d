//! The write path: a put goes from *receiving* over *complete* to *stored*. Each state is a type. A transition consumes the state before
//! it, so no failed put goes on, and no blob is entered that was not compared with its assignment.
//!
//! | state | type | it holds | durable in it |
//! |---|---|---|---|
//! | receiving, in memory | [`PrivateUpload`] | up to 64 KiB, reserved space | nothing |
//! | receiving, private files | [`PrivateUpload`] | a spool, the hash tree, reserved space | nothing: the store removes unnamed spools when it opens |
//! | receiving, partial upload | `ResumableUpload`, with a `PartialOwner` | a named spool, the hash tree, reserved space, and the slot from which the next put may take all of it over | the blocks up to the last checkpoint, then their record in the index |
//! | receiving, already stored | [`Receiving`] | nothing | the blob |
//! | idle partial upload | `IdlePartial`, of no put | the space of its durable bytes | the blocks that its record names |
//! | complete, small | [`Complete`] | the bytes, reserved space | nothing |
//! | complete, large | [`Complete`] | the claim on its files, reserved space, the names of the partial upload that it was | bytes and outboard under the digest; no entry |
//! | stored | `Stored` | the same until it is released | the entry, with its duty |
//!
//! | from | what happens | to |
//! |---|---|---|
//! | – | nothing is offered, or the offer is small, or another put adds to the partial upload | private, in memory |
//! | private, in memory | there are more than 64 KiB | private files |
//! | – | a large blob is offered, and nothing is left of earlier puts | partial upload: empty, not durable |
//! | idle partial upload | a put offers the blob | partial upload; an empty one if the files are not as they were left |
//! | partial upload | the next put finds that this one is cancelled or silent | overtaken: the next put has it, and this one fails |
//! | – | the offered blob is stored, and its bytes are right | already stored |
//! | private, memory or files | a piece is refused, a write fails, or the put is dropped | nothing: files and space are released |
//! | partial upload | a piece is refused, or the put is dropped | idle, after a checkpoint; removed if it has no complete block, if the blob is stored meanwhile, or if the client gave up a put that began it |
//! | partial upload | a write fails | idle as of the last checkpoint; removed if there was none |
//! | idle partial upload | it is too old, one too many, or space is needed | nothing |
//! | receiving, any | the bytes are compared with the assignment; a large blob is synced, named, and its folder synced | complete |
//! | receiving, private | they differ, or a sync fails | nothing; the failed sync poisons the store |
//! | partial upload | the assignment differs from what was offered, or bytes are missing | idle, as if dropped |
//! | partial upload | the digest of all bytes is wrong, or a sync fails | removed: what an earlier put recorded was wrong, or the disk lost it |
//! | partial upload | the object store fails | idle: the bytes need not be sent again |
//! | complete | the entry is committed | stored; the record of the partial upload goes in the same commit |
//! | complete | it is dropped, or the commit fails | nothing: files without an entry are swept, and so is the record of the partial upload |
//! | files without an entry | the certificate of their blob is known, and they are right | complete |
//!
//! The modules depend on each other in one direction: `receiving`, then `private_upload` and `resumable_upload`, then `complete`, then
//! `partial_owner`, `upload_space`, `partial_uploads`, `writer_slot`, `open_partial`.

use bytes::Bytes;
use vouch_core::placement::Assignment;

use super::{Store, StoreError, blocking};

mod adopting;
mod cancel;
mod complete;
mod open_partial;
mod partial_owner;
mod partial_uploads;
mod parts;
mod private_upload;
mod receiving;
mod resumable_upload;
mod small;
mod upload_space;
mod writer_slot;

pub use cancel::CancelToken;
pub use complete::Complete;
pub(super) use partial_uploads::PartialUploads;
pub(super) use parts::UploadParts;
pub use private_upload::PrivateUpload;
pub use receiving::Receiving;
pub(super) use upload_space::UploadSpace;

#[cfg(test)]
pub(super) use open_partial::PartialKey;

use complete::{Stored, StoredBytes};

impl Store {
    /// Begins a blob whose bytes are verified at the end. If an assignment is offered, space for all of it is reserved when this returns.
    /// Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub fn begin(&self, offer: Option<&Assignment>) -> Result<PrivateUpload, StoreError> {
        PrivateUpload::begin(self.inner.uploads.clone(), offer)
    }

    /// Begins the blob of a put. If it is offered, resumes its partial upload, and space for the rest is reserved when this returns.
    /// Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub fn receive(&self, offer: Option<&Assignment>, cancel: &CancelToken) -> Result<Receiving, StoreError> {
        let uploads = &self.inner.uploads;
        match offer {
            None => Receiving::begin_unknown(uploads),
            Some(offer) => Receiving::begin_offered(uploads, &self.inner.reader, offer, cancel),
        }
    }

    /// Enters a blob into the index, with the duty to keep it until its assignment expires. The blob is *stored* when this
    /// returns. An earlier duty is never shortened.
    ///
    /// # Errors
    /// [`StoreError::NotHeld`] if it was stored when the put began and no longer is; see [`StoreError`].
    pub async fn enter(&self, blob: Complete) -> Result<(), StoreError> {
        let stored = blob.commit(&self.inner.index, self.inner.host.unix_seconds()).await?;
        self.settle(stored).await
    }

    /// Compares a blob of at most [`MAX_SMALL`](super::MAX_SMALL) bytes with its assignment and stores it, with its duty, in one commit.
    ///
    /// # Errors
    /// [`StoreError::NotSmall`], [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`],
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub async fn put_small(&self, assignment: &Assignment, bytes: Bytes) -> Result<(), StoreError> {
        let (assignment, uploads) = (*assignment, self.inner.uploads.clone());
        // the committing thread hashes it: a thread of its own for so few bytes costs more than their hash
        let complete = move || small::complete_small(&uploads, &assignment, bytes);
        let now = self.inner.host.unix_seconds();
        let stored = Complete::commit_with(complete, &self.inner.index, now).await?;
        self.settle(stored).await
    }

    /// Stores a blob whose files exist although the index does not name them: the index was lost, and the receipt of a certificate proves
    /// that they must be kept. `false` if the files are missing or wrong.
    ///
    /// # Errors
    /// [`StoreError::Quota`]; see [`StoreError`].
    pub async fn adopt(&self, assignment: &Assignment) -> Result<bool, StoreError> {
        let (uploads, assignment) = (self.inner.uploads.clone(), *assignment);
        match blocking(&self.inner.host, move || adopting::adopt(&uploads, &assignment)).await? {
            Some(complete) => self.enter(complete).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Releases what the put of a stored blob held, notes what is known of its bytes, and removes a partial upload of no more use.
    async fn settle(&self, stored: Stored) -> Result<(), StoreError> {
        let (assignment, verified) = (stored.assignment(), &self.inner.reader.verified);
        match stored.release() {
            // before a vote, the version is compared with the files
            StoredBytes::InFiles(version) => verified.note_read(assignment.digest, version),
            StoredBytes::Arrived => verified.note_fresh(&assignment),
            StoredBytes::Earlier => return Ok(()),
        }
        let (partials, key) = (&self.inner.partials, open_partial::PartialKey::of(&assignment));
        if partials.is_idle(key) {
            // The blob arrived without it, so the partial upload is of no use.
            let partials = partials.clone();
            blocking(&self.inner.host, move || partials.drop_idle(key)).await?;
        }
        Ok(())
    }
}
