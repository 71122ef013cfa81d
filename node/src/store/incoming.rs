//! Blobs on their way in.
//!
//! Bytes are hashed as they come. Up to [`MAX_SMALL`] of them wait in memory, for the index; with one more they go to
//! a file, and their outboard to another as it grows.

use std::sync::Arc;

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::receipt::Receipt;
use vouch_core::tree::{Parent, TreeHasher};

use super::blobs::{BlobStore, Spool};
use super::claims::Claim;
use super::partials::Owner;
use super::space::Reservation;
use super::verified::Version;
use super::{Inner, MAX_SMALL, StoreError};
use crate::host::files::FileError;

/// Bytes of the outboard written at once.
pub(super) const OUTBOARD_PIECE: usize = 64 << 10;

/// A blob on its way in. Dropping it removes what came.
#[derive(Debug)]
pub struct Incoming {
    inner: Arc<Inner>,
    /// What was announced.
    offer: Option<Receipt>,
    hasher: TreeHasher,
    taken: Taken,
    /// The end of the outboard that is not written yet.
    parents: Vec<u8>,
    room: Reservation,
    /// Whether room was taken for all of it at the start.
    covered: bool,
}

#[derive(Debug)]
enum Taken {
    Memory(Vec<u8>),
    Files(Spool),
}

impl Inner {
    /// The version of a blob's files; `None` where it is elsewhere, which would have to be asked.
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
    pub(super) fn begin(inner: Arc<Inner>, offer: Option<&Receipt>) -> Result<Self, StoreError> {
        inner.check()?;
        let mut room = inner.room.none();
        if let Some(offer) = offer {
            let added = if inner.index.holds(&offer.digest, offer.length)? { 0 } else { offer.length };
            inner.make_room(&mut room, offer.length, added)?;
        }
        Ok(Self {
            inner,
            offer: offer.copied(),
            hasher: TreeHasher::new(),
            taken: Taken::Memory(Vec::new()),
            parents: Vec::new(),
            room,
            covered: offer.is_some(),
        })
    }

    /// Takes the next bytes, which are compared at the end. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`] as soon as there are more than announced; [`StoreError::NoSpace`] and
    /// [`StoreError::Quota`] when nothing was announced; see [`StoreError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.take(bytes, None)
    }

    /// Takes the next slice of what was announced once its proof is verified. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::Slice`]; else as [`write`](Self::write).
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
            // without an offer there is nothing to verify it against before the end
            (_, None) | (None, _) => self.hasher.update(bytes, &mut keep),
        }
        if !self.covered {
            self.inner.make_room(&mut self.room, bytes.len() as u64, bytes.len() as u64)?;
        }
        if let Taken::Memory(taken) = &mut self.taken
            && got <= MAX_SMALL
        {
            taken.extend_from_slice(bytes);
        } else {
            self.write_to_file(bytes)?;
        }
        if let Taken::Files(spool) = &mut self.taken
            && self.parents.len() >= OUTBOARD_PIECE
        {
            spool.write_outboard(&self.parents)?;
            self.parents.clear();
        }
        Ok(())
    }

    fn write_to_file(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if let Taken::Memory(before) = &self.taken {
            let mut spool = Spool::create(&self.inner.disk, &self.inner.partial)?;
            if !before.is_empty() {
                spool.write(before)?;
                self.room.wrote(before.len() as u64);
            }
            self.taken = Taken::Files(spool);
        }
        if let Taken::Files(spool) = &mut self.taken {
            spool.write(bytes)?;
        }
        self.room.wrote(bytes.len() as u64);
        Ok(())
    }

    /// The bytes taken so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Compares the bytes with the receipt and makes them durable under their name, unless they are for the index.
    /// [`Store::record`](super::Store::record) comes next. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`]; see [`StoreError`].
    pub fn finish(self, receipt: &Receipt) -> Result<Complete, StoreError> {
        let Self { inner, hasher, taken, mut parents, room, .. } = self;
        inner.check()?;
        let length = hasher.length();
        let digest = hasher.finish(&mut |parent: &Parent| parents.extend_from_slice(&parent.0));
        compare(length, digest, receipt)?;
        let (bytes, claim, version) = match taken {
            Taken::Memory(bytes) => (Some(bytes.into()), None, None),
            Taken::Files(mut spool) => {
                spool.write_outboard(&parents)?;
                let claim = inner.claims.claim(digest);
                inner.blobs.finish(&mut spool, &digest).map_err(|error| inner.failed(error))?;
                (None, Some(claim), inner.version_of_files(&digest)?)
            }
        };
        Ok(Complete { receipt: *receipt, bytes, version, guard: Guard { _claim: claim, _room: room, _owner: None } })
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

/// A blob that was compared with its receipt and is not in the index yet; its files, if it has any, are durable.
#[derive(Debug)]
#[must_use = "it is stored only when it was recorded"]
pub struct Complete {
    pub(super) receipt: Receipt,
    /// Of a small blob.
    pub(super) bytes: Option<Bytes>,
    /// Of its files, which were just written.
    pub(super) version: Option<Box<Version>>,
    pub(super) guard: Guard,
}

/// What a blob holds on to until it is in the index: its files, and its room.
#[derive(Debug)]
pub(super) struct Guard {
    pub(super) _claim: Option<Claim>,
    pub(super) _room: Reservation,
    /// Of what came in part.
    pub(super) _owner: Option<Owner>,
}
