//! A put whose bytes belong to it alone.
//!
//! Bytes are hashed as they arrive. Up to [`MAX_SMALL`] of them are kept in memory, for the index. With one more, they are written to
//! a file, and the outboard to another as it grows.

use std::sync::Arc;

use vouch_core::placement::Assignment;
use vouch_core::tree::{Parent, TreeHasher};

use super::complete::{Complete, CompleteBlob, compare};
use super::parts::UploadParts;
use crate::host::files::FileError;
use crate::store::blobs::{OUTBOARD_PIECE, Spool, SpoolFolder};
use crate::store::space::Reservation;
use crate::store::{MAX_SMALL, StoreError};

/// A blob that is being received, of which no other put sees the bytes. Dropping it removes them.
#[derive(Debug)]
pub struct PrivateUpload {
    parts: Arc<UploadParts>,
    /// If there is an offer, space for the whole blob was reserved at the start.
    offer: Option<Assignment>,
    hasher: TreeHasher,
    bytes: ReceivedBytes,
    /// The end of the outboard that is not written yet.
    parents: Vec<u8>,
    reserved: Reservation,
}

/// The received bytes.
#[derive(Debug)]
enum ReceivedBytes {
    Memory(Vec<u8>),
    Files(Spool),
}

impl ReceivedBytes {
    /// Adds bytes. Those in memory go to files once there are more than [`MAX_SMALL`]. `reserved` is the space for all of them.
    fn append(self, bytes: &[u8], folder: &SpoolFolder, reserved: &mut Reservation) -> Result<Self, FileError> {
        let mut spool = match self {
            Self::Memory(mut buffered) if (buffered.len() + bytes.len()) as u64 <= MAX_SMALL => {
                buffered.extend_from_slice(bytes);
                return Ok(Self::Memory(buffered));
            }
            Self::Memory(buffered) => {
                let mut spool = folder.create()?;
                if !buffered.is_empty() {
                    spool.write(&buffered)?;
                    reserved.wrote(buffered.len() as u64);
                }
                spool
            }
            Self::Files(spool) => spool,
        };
        spool.write(bytes)?;
        reserved.wrote(bytes.len() as u64);
        Ok(Self::Files(spool))
    }
}

impl PrivateUpload {
    pub(super) fn begin(parts: Arc<UploadParts>, offer: Option<&Assignment>) -> Result<Self, StoreError> {
        parts.index.check()?;
        let reserved = match offer {
            None => parts.space.reservation(),
            Some(offer) => {
                let added = if parts.index.holds(&offer.digest, offer.length)? { 0 } else { offer.length };
                parts.space.reserve(offer.length, added)?
            }
        };
        Ok(Self {
            parts,
            offer: offer.copied(),
            hasher: TreeHasher::new(),
            bytes: ReceivedBytes::Memory(Vec::new()),
            parents: Vec::new(),
            reserved,
        })
    }

    /// Takes the next bytes, which are verified at the end. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`] as soon as there are more than offered; [`StoreError::NoSpace`] and
    /// [`StoreError::Quota`] if nothing was offered; see [`StoreError`]. An error ends the upload.
    pub fn write(self, bytes: &[u8]) -> Result<Self, StoreError> {
        self.append(bytes, None)
    }

    /// Verifies and takes the slice at an offset, or only takes it if nothing was offered: then nothing can be verified before the
    /// end. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::Slice`], and those of [`write`](Self::write).
    pub(super) fn take(self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<Self, StoreError> {
        if offset != self.length() {
            return Err(StoreError::OutOfOrder { expected: self.length(), got: offset });
        }
        self.append(bytes, Some(proof))
    }

    fn append(mut self, bytes: &[u8], proof: Option<&[Parent]>) -> Result<Self, StoreError> {
        let (size, got) = (bytes.len() as u64, self.length().saturating_add(bytes.len() as u64));
        if let Some(offer) = self.offer.filter(|offer| got > offer.length) {
            return Err(StoreError::LengthDiffers { expected: offer.length, got });
        }
        let parents = &mut self.parents;
        let mut keep = |parent: &Parent| parents.extend_from_slice(&parent.0);
        match (&self.offer, proof) {
            (Some(offer), Some(proof)) => {
                self.hasher.update_verified((&offer.digest, offer.length), bytes, proof, &mut keep)?;
            }
            (_, None) | (None, _) => self.hasher.update(bytes, &mut keep),
        }
        if self.offer.is_none() {
            self.parts.space.grow(&mut self.reserved, size, size)?;
        }
        self.bytes = self.bytes.append(bytes, &self.parts.folder, &mut self.reserved)?;
        if let ReceivedBytes::Files(spool) = &mut self.bytes
            && self.parents.len() >= OUTBOARD_PIECE
        {
            spool.write_outboard(&self.parents)?;
            self.parents.clear();
        }
        Ok(self)
    }

    /// Number of bytes taken so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Compares the blob with the assignment, and makes a large one durable under its name.
    /// Call [`Store::enter`](crate::store::Store::enter) next. Blocks until the disk has synced.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`]; see [`StoreError`].
    pub fn finish(self, assignment: &Assignment) -> Result<Complete, StoreError> {
        let Self { parts, hasher, bytes, mut parents, reserved, .. } = self;
        parts.index.check()?;
        let length = hasher.length();
        let digest = hasher.finish(&mut |parent: &Parent| parents.extend_from_slice(&parent.0));
        compare(length, digest, assignment)?;
        let blob = match bytes {
            ReceivedBytes::Memory(bytes) => CompleteBlob::Small { bytes: bytes.into(), _reserved: reserved },
            ReceivedBytes::Files(mut spool) => {
                spool.write_outboard(&parents)?;
                let published = parts.blobs.publish(&mut spool, &digest)?;
                CompleteBlob::Large { published, _reserved: reserved, _owner: None }
            }
        };
        Ok(Complete::new(assignment, blob))
    }
}
