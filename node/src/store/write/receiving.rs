//! Blobs that are being received.

use std::sync::Arc;

use vouch_core::placement::Assignment;
use vouch_core::tree::{BLOCK, Parent};

use super::cancel::CancelToken;
use super::complete::{Complete, CompleteBlob, compare};
use super::open_partial::PartialKey;
use super::parts::UploadParts;
use super::private_upload::PrivateUpload;
use super::resumable_upload::ResumableUpload;
use crate::store::StoreError;
use crate::store::blob_check::BlobCheck;
use crate::store::reading::BlobReader;

/// A blob that is being received. Each piece of an offered blob is verified when it arrives. If this is dropped, an offered large blob
/// leaves a partial upload, unless the put was cancelled with [`CancelToken::discard`]; the bytes of any other blob are removed.
#[derive(Debug)]
pub struct Receiving {
    upload: Upload,
    damage: Option<StoreError>,
}

#[derive(Debug)]
enum Upload {
    /// The offered blob is already stored.
    AlreadyStored(Assignment),
    /// The bytes of this put alone.
    Private(Box<PrivateUpload>),
    /// A partial upload, which the next put can resume.
    Resumable(ResumableUpload),
}

impl Receiving {
    /// Begins a blob of unknown digest.
    pub(super) fn begin_unknown(parts: &Arc<UploadParts>) -> Result<Self, StoreError> {
        let upload = Upload::Private(Box::new(PrivateUpload::begin(parts.clone(), None)?));
        Ok(Self { upload, damage: None })
    }

    /// Begins an offered blob. Confirms a stored one first, because the replica may vote for it. If it is damaged, it is received again.
    pub(super) fn begin_offered(
        parts: &Arc<UploadParts>,
        reader: &BlobReader,
        offer: &Assignment,
        cancel: &CancelToken,
    ) -> Result<Self, StoreError> {
        parts.index.check()?;
        let damage = match reader.confirm(offer)? {
            BlobCheck::Right => return Ok(Self { upload: Upload::AlreadyStored(*offer), damage: None }),
            BlobCheck::Damaged(error) => Some(error),
            BlobCheck::Missing => None,
        };
        let resumable = match offer.length > BLOCK as u64 {
            true => ResumableUpload::begin(parts, PartialKey::of(offer), cancel)?,
            false => None,
        };
        let upload = match resumable {
            Some(upload) => Upload::Resumable(upload),
            None => Upload::Private(Box::new(PrivateUpload::begin(parts.clone(), Some(offer))?)),
        };
        Ok(Self { upload, damage })
    }

    /// The damage of the blob, if it was stored and is damaged.
    pub fn damage(&self) -> Option<&StoreError> {
        self.damage.as_ref()
    }

    /// The resume offset: the length of a stored blob, or the end of the last complete block of a partial upload.
    pub fn offset(&self) -> u64 {
        match &self.upload {
            Upload::AlreadyStored(offer) => offer.length,
            Upload::Private(_) => 0,
            Upload::Resumable(upload) => upload.had(),
        }
    }

    /// Takes the slice at an offset: of an offered blob a block, or the rest. It is verified if the blob was offered. Bytes that are
    /// already here are skipped. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::NotABlock`], [`StoreError::Slice`], [`StoreError::Overtaken`];
    /// [`StoreError::LengthDiffers`] as soon as there are more bytes than offered; [`StoreError::NoSpace`] and
    /// [`StoreError::Quota`] if nothing was offered; see [`StoreError`]. An error ends the put.
    pub fn take(mut self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<Self, StoreError> {
        self.upload = match self.upload {
            Upload::AlreadyStored(offer) => {
                let (expected, got) = (offer.length, offset.saturating_add(bytes.len() as u64));
                if got > expected {
                    return Err(StoreError::LengthDiffers { expected, got });
                }
                Upload::AlreadyStored(offer)
            }
            Upload::Private(upload) => Upload::Private(Box::new(upload.take(offset, bytes, proof)?)),
            Upload::Resumable(upload) => Upload::Resumable(upload.take(offset, bytes, proof)?),
        };
        Ok(self)
    }

    /// Compares the blob with the assignment and makes it durable. Call [`Store::enter`](crate::store::Store::enter) next.
    /// Blocks until the disk has synced.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`], [`StoreError::Overtaken`]; see [`StoreError`].
    pub fn finish(self, assignment: &Assignment) -> Result<Complete, StoreError> {
        match self.upload {
            Upload::AlreadyStored(offer) => {
                compare(offer.length, offer.digest, assignment)?;
                Ok(Complete::new(assignment, CompleteBlob::AlreadyStored))
            }
            Upload::Private(upload) => upload.finish(assignment),
            Upload::Resumable(upload) => upload.finish(assignment),
        }
    }
}
