//! A blob on its way in that was offered: it goes on where an earlier put of it ended.

use std::sync::Arc;

use vouch_core::receipt::Receipt;
use vouch_core::tree::{BLOCK, Parent};

use super::confirming::Bytes;
use super::incoming::{Complete, Incoming, compare};
use super::part::Part;
use super::partials::{Cut, Key};
use super::{Inner, StoreError};

/// A blob on its way in of which each piece is verified as it comes. What came of a large one is kept when this is
/// dropped, unless its put was cut with [`Cut::discard`]; of others it is removed.
#[derive(Debug)]
pub struct Offered {
    offer: Receipt,
    taken: Taken,
    damage: Option<StoreError>,
}

#[derive(Debug)]
enum Taken {
    /// It is stored.
    Held,
    /// Where the next put goes on.
    Part(Part),
    /// Nobody else's.
    Alone(Box<Incoming>),
}

/// A blob that came, or was there.
#[derive(Debug)]
#[must_use = "it is stored only when it was entered"]
pub enum Finished {
    /// It was stored when the put began.
    Held(Receipt),
    /// It came.
    New(Complete),
}

impl Offered {
    /// What is said to be there is a ground to vote: so it is looked at first, and what is not right comes again.
    pub(super) fn begin(inner: &Arc<Inner>, offer: &Receipt, cut: &Cut) -> Result<Self, StoreError> {
        inner.check()?;
        let key = Key { digest: offer.digest, length: offer.length };
        let part = || match offer.length > BLOCK as u64 {
            true => Part::begin(inner, key, cut),
            false => Ok(None),
        };
        let found = inner.confirm(offer)?;
        let taken = if matches!(found, Bytes::Right) {
            Taken::Held
        } else if let Some(part) = part()? {
            Taken::Part(part)
        } else {
            Taken::Alone(Box::new(Incoming::begin(inner.clone(), Some(offer))?))
        };
        let damage = if let Bytes::Damaged(error) = found { Some(error) } else { None };
        Ok(Self { offer: *offer, taken, damage })
    }

    /// What was wrong with the blob, where it was held until now.
    pub fn damage(&self) -> Option<&StoreError> {
        self.damage.as_ref()
    }

    /// The bytes that need not come: all of a blob that is stored, whole blocks of one that came in part.
    pub fn offset(&self) -> u64 {
        match &self.taken {
            Taken::Held => self.offer.length,
            Taken::Part(part) => part.had(),
            Taken::Alone(_) => 0,
        }
    }

    /// Takes the slice at an offset once its proof is verified: a block, or what is left. What is there already is
    /// passed over. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::NotABlock`], [`StoreError::Slice`], [`StoreError::Overtaken`];
    /// [`StoreError::LengthDiffers`] as soon as there are more than announced; see [`StoreError`].
    pub fn take(&mut self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<(), StoreError> {
        match &mut self.taken {
            Taken::Held => {
                let (expected, got) = (self.offer.length, offset.saturating_add(bytes.len() as u64));
                if got > expected { Err(StoreError::LengthDiffers { expected, got }) } else { Ok(()) }
            }
            Taken::Part(part) => part.take(offset, bytes, proof),
            Taken::Alone(incoming) if offset != incoming.length() => {
                Err(StoreError::OutOfOrder { expected: incoming.length(), got: offset })
            }
            Taken::Alone(incoming) => incoming.write_verified(bytes, proof),
        }
    }

    /// Compares the blob with the receipt and makes it durable. [`Store::enter`](super::Store::enter) comes next.
    /// Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`], [`StoreError::Overtaken`]; see [`StoreError`].
    pub fn finish(self, receipt: &Receipt) -> Result<Finished, StoreError> {
        match self.taken {
            Taken::Held => {
                compare(self.offer.length, self.offer.digest, receipt)?;
                Ok(Finished::Held(*receipt))
            }
            Taken::Part(part) => part.finish(receipt).map(Finished::New),
            Taken::Alone(incoming) => incoming.finish(receipt).map(Finished::New),
        }
    }
}
