//! Offered blobs that are being received. A large one resumes where an earlier put of it ended.

use std::sync::Arc;

use vouch_core::receipt::Receipt;
use vouch_core::tree::{BLOCK, Parent};

use super::confirming::BlobCheck;
use super::incoming::{Complete, Incoming, compare};
use super::partial_writer::PartialWriter;
use super::partials::{CancelToken, PartialKey};
use super::{OpenStore, StoreError};

/// An offered blob that is being received. Each piece is verified when it arrives. If this is dropped, a large blob leaves a partial
/// upload, unless the put was cancelled with [`CancelToken::discard`]; a small one is removed.
#[derive(Debug)]
pub struct Offered {
    offer: Receipt,
    state: OfferState,
    damage: Option<StoreError>,
}

#[derive(Debug)]
enum OfferState {
    /// The blob is already stored.
    Held,
    /// A partial upload, which the next put can resume.
    Partial(PartialWriter),
    /// Files of this put alone.
    Private(Box<Incoming>),
}

/// An offered blob whose put is complete.
#[derive(Debug)]
#[must_use = "a blob is stored only once it is entered"]
pub enum Finished {
    /// The blob was already stored when the put began.
    Held(Receipt),
    /// The blob was received.
    New(Complete),
}

impl Offered {
    /// Confirms a stored blob first, because the replica may vote for it. If it is damaged, it is received again.
    pub(super) fn begin(inner: &Arc<OpenStore>, offer: &Receipt, cancel: &CancelToken) -> Result<Self, StoreError> {
        inner.check()?;
        let key = PartialKey { digest: offer.digest, length: offer.length };
        let partial = || match offer.length > BLOCK as u64 {
            true => PartialWriter::begin(inner, key, cancel),
            false => Ok(None),
        };
        let found = inner.confirm(offer)?;
        let state = if matches!(found, BlobCheck::Right) {
            OfferState::Held
        } else if let Some(writer) = partial()? {
            OfferState::Partial(writer)
        } else {
            OfferState::Private(Box::new(Incoming::begin(inner.clone(), Some(offer))?))
        };
        let damage = if let BlobCheck::Damaged(error) = found { Some(error) } else { None };
        Ok(Self { offer: *offer, state, damage })
    }

    /// The damage of the blob, if it was stored and is damaged.
    pub fn damage(&self) -> Option<&StoreError> {
        self.damage.as_ref()
    }

    /// The resume offset: the length of a stored blob, or the end of the last complete block of a partial upload.
    pub fn offset(&self) -> u64 {
        match &self.state {
            OfferState::Held => self.offer.length,
            OfferState::Partial(writer) => writer.had(),
            OfferState::Private(_) => 0,
        }
    }

    /// Verifies and takes the slice at an offset: a block, or the rest of the blob. Bytes that are already here are
    /// skipped. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::NotABlock`], [`StoreError::Slice`], [`StoreError::Overtaken`];
    /// [`StoreError::LengthDiffers`] as soon as there are more bytes than offered; see [`StoreError`].
    pub fn take(&mut self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<(), StoreError> {
        match &mut self.state {
            OfferState::Held => {
                let (expected, got) = (self.offer.length, offset.saturating_add(bytes.len() as u64));
                if got > expected { Err(StoreError::LengthDiffers { expected, got }) } else { Ok(()) }
            }
            OfferState::Partial(writer) => writer.take(offset, bytes, proof),
            OfferState::Private(incoming) if offset != incoming.length() => {
                Err(StoreError::OutOfOrder { expected: incoming.length(), got: offset })
            }
            OfferState::Private(incoming) => incoming.write_verified(bytes, proof),
        }
    }

    /// Compares the blob with the receipt and makes it durable. Call [`Store::enter`](super::Store::enter) next.
    /// Blocks until the disk has synced.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`], [`StoreError::Overtaken`]; see [`StoreError`].
    pub fn finish(self, receipt: &Receipt) -> Result<Finished, StoreError> {
        match self.state {
            OfferState::Held => {
                compare(self.offer.length, self.offer.digest, receipt)?;
                Ok(Finished::Held(*receipt))
            }
            OfferState::Partial(writer) => writer.finish(receipt).map(Finished::New),
            OfferState::Private(incoming) => incoming.finish(receipt).map(Finished::New),
        }
    }
}
