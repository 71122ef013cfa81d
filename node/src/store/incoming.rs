//! Blobs that are being received.
//!
//! Bytes are hashed as they arrive. Up to [`MAX_SMALL`] of them are kept in memory, for the index. With one more, they are written to
//! a file, and the outboard to another as it grows.

use std::sync::Arc;

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::receipt::Receipt;
use vouch_core::tree::{Parent, TreeHasher};

use super::blobs::{BlobStore, Spool};
use super::claims::Claim;
use super::partials::PartialOwner;
use super::space::Reservation;
use super::verified::Version;
use super::{MAX_SMALL, OpenStore, StoreError};
use crate::host::files::FileError;

/// Size in bytes of one write to the outboard.
pub(super) const OUTBOARD_PIECE: usize = 64 << 10;

/// A blob that is being received. Dropping it removes the received bytes.
#[derive(Debug)]
pub struct Incoming {
    inner: Arc<OpenStore>,
    offer: Option<Receipt>,
    hasher: TreeHasher,
    buffer: Buffer,
    /// The end of the outboard that is not written yet.
    parents: Vec<u8>,
    reserved: Reservation,
    /// Whether space for the whole blob was reserved at the start.
    is_reserved: bool,
}

#[derive(Debug)]
enum Buffer {
    Memory(Vec<u8>),
    Files(Spool),
}

impl OpenStore {
    /// The version of a blob's files. `None` for an object, of which it would cost a request.
    pub(super) fn version_of_files(&self, digest: &Digest) -> Result<Option<Box<Version>>, StoreError> {
        match &self.blobs {
            BlobStore::Files(_) => match self.blobs.version(digest)? {
                Some(version) => Ok(Some(Box::new(version))),
                None => Err(StoreError::NotHeld { digest: *digest }),
            },
            BlobStore::Remote(_) => Ok(None),
        }
    }
}

impl Incoming {
    pub(super) fn begin(inner: Arc<OpenStore>, offer: Option<&Receipt>) -> Result<Self, StoreError> {
        inner.check()?;
        let mut reserved = inner.space.reservation();
        if let Some(offer) = offer {
            let added = if inner.index.holds(&offer.digest, offer.length)? { 0 } else { offer.length };
            inner.make_room(&mut reserved, offer.length, added)?;
        }
        Ok(Self {
            inner,
            offer: offer.copied(),
            hasher: TreeHasher::new(),
            buffer: Buffer::Memory(Vec::new()),
            parents: Vec::new(),
            reserved,
            is_reserved: offer.is_some(),
        })
    }

    /// Takes the next bytes, which are verified at the end. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`] as soon as there are more than offered; [`StoreError::NoSpace`] and
    /// [`StoreError::Quota`] if nothing was offered; see [`StoreError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.take(bytes, None)
    }

    /// Verifies and takes the next slice of the offered blob. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::Slice`], and those of [`write`](Self::write).
    pub fn write_verified(&mut self, bytes: &[u8], proof: &[Parent]) -> Result<(), StoreError> {
        self.take(bytes, Some(proof))
    }

    fn take(&mut self, bytes: &[u8], proof: Option<&[Parent]>) -> Result<(), StoreError> {
        let got = self.length().saturating_add(bytes.len() as u64);
        if let Some(offer) = self.offer.filter(|offer| got > offer.length) {
            return Err(StoreError::LengthDiffers { expected: offer.length, got });
        }
        let parents = &mut self.parents;
        let mut keep = |parent: &Parent| parents.extend_from_slice(&parent.0);
        match (&self.offer, proof) {
            (Some(offer), Some(proof)) => {
                self.hasher.update_verified((&offer.digest, offer.length), bytes, proof, &mut keep)?;
            }
            // without an offer, nothing can be verified before the end
            (_, None) | (None, _) => self.hasher.update(bytes, &mut keep),
        }
        if !self.is_reserved {
            self.inner.make_room(&mut self.reserved, bytes.len() as u64, bytes.len() as u64)?;
        }
        if let Buffer::Memory(buffered) = &mut self.buffer
            && got <= MAX_SMALL
        {
            buffered.extend_from_slice(bytes);
        } else {
            self.write_to_file(bytes)?;
        }
        if let Buffer::Files(spool) = &mut self.buffer
            && self.parents.len() >= OUTBOARD_PIECE
        {
            spool.write_outboard(&self.parents)?;
            self.parents.clear();
        }
        Ok(())
    }

    fn write_to_file(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if let Buffer::Memory(buffered) = &self.buffer {
            let mut spool = self.inner.spools.create()?;
            if !buffered.is_empty() {
                spool.write(buffered)?;
                self.reserved.wrote(buffered.len() as u64);
            }
            self.buffer = Buffer::Files(spool);
        }
        if let Buffer::Files(spool) = &mut self.buffer {
            spool.write(bytes)?;
        }
        self.reserved.wrote(bytes.len() as u64);
        Ok(())
    }

    /// Number of bytes taken so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Compares the blob with the receipt, and makes a large one durable under its name.
    /// Call [`Store::record`](super::Store::record) next. Blocks until the disk has synced.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`]; see [`StoreError`].
    pub fn finish(self, receipt: &Receipt) -> Result<Complete, StoreError> {
        let Self { inner, hasher, buffer, mut parents, reserved, .. } = self;
        inner.check()?;
        let length = hasher.length();
        let digest = hasher.finish(&mut |parent: &Parent| parents.extend_from_slice(&parent.0));
        compare(length, digest, receipt)?;
        let (bytes, claim, version) = match buffer {
            Buffer::Memory(bytes) => (Some(bytes.into()), None, None),
            Buffer::Files(mut spool) => {
                spool.write_outboard(&parents)?;
                let claim = inner.claims.claim(digest);
                inner.blobs.finish(&mut spool, &digest).map_err(|error| inner.failed(error))?;
                (None, Some(claim), inner.version_of_files(&digest)?)
            }
        };
        Ok(Complete {
            receipt: *receipt,
            bytes,
            version,
            guard: EntryGuard { _claim: claim, _reserved: reserved, _owner: None },
        })
    }
}

pub(super) fn compare(length: u64, digest: Digest, receipt: &Receipt) -> Result<(), StoreError> {
    if length != receipt.length {
        return Err(StoreError::LengthDiffers { expected: receipt.length, got: length });
    }
    if digest != receipt.digest {
        return Err(StoreError::DigestDiffers { expected: receipt.digest, got: digest });
    }
    Ok(())
}

/// A blob that was compared with its receipt and is not in the index yet. Its files, if it has any, are durable.
#[derive(Debug)]
#[must_use = "a blob is stored only once it is recorded"]
pub struct Complete {
    pub(super) receipt: Receipt,
    /// The bytes of a small blob.
    pub(super) bytes: Option<Bytes>,
    /// The version of the files that were just written.
    pub(super) version: Option<Box<Version>>,
    pub(super) guard: EntryGuard,
}

/// Protects a blob's files and reserves its space until its entry is committed.
#[derive(Debug)]
pub(super) struct EntryGuard {
    pub(super) _claim: Option<Claim>,
    pub(super) _reserved: Reservation,
    /// Set if the blob was a partial upload.
    pub(super) _owner: Option<PartialOwner>,
}
