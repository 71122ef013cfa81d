//! Space for uploads. If it runs short, idle partial uploads make room.

use std::sync::Arc;

use super::partial_uploads::PartialUploads;
use crate::store::StoreError;
use crate::store::checked_index::CheckedIndex;
use crate::store::space::{Reservation, SpaceBudget};

/// The space of a store, and the partial uploads that are evicted for a put.
#[derive(Debug)]
pub(in super::super) struct UploadSpace {
    budget: Arc<SpaceBudget>,
    index: Arc<CheckedIndex>,
    partials: Arc<PartialUploads>,
}

impl UploadSpace {
    pub(in super::super) fn new(
        budget: Arc<SpaceBudget>,
        index: Arc<CheckedIndex>,
        partials: Arc<PartialUploads>,
    ) -> Self {
        Self { budget, index, partials }
    }

    /// An empty reservation.
    pub(super) fn reservation(&self) -> Reservation {
        self.budget.reservation()
    }

    /// Reserves space to write `written` bytes, of which `added` add to the stored ones. See [`grow`](Self::grow).
    pub(super) fn reserve(&self, written: u64, added: u64) -> Result<Reservation, StoreError> {
        let mut reserved = self.reservation();
        self.grow(&mut reserved, written, added)?;
        Ok(reserved)
    }

    /// Grows a reservation as [`Reservation::grow`] does. If necessary and sufficient, evicts partial uploads, the oldest first, and
    /// blocks meanwhile.
    pub(super) fn grow(&self, reserved: &mut Reservation, written: u64, added: u64) -> Result<(), StoreError> {
        loop {
            let Err(error) = reserved.grow(written, added, || self.held()) else { return Ok(()) };
            let lacking = match &error {
                StoreError::Quota { wanted, held, quota } => held.saturating_add(*wanted).saturating_sub(*quota),
                StoreError::NoSpace { wanted, free, .. } => wanted.saturating_sub(*free),
                _ => return Err(error),
            };
            let (_, kept) = self.partials.idle();
            match self.partials.oldest() {
                Some(oldest) if kept >= lacking => self.partials.drop_idle(oldest)?,
                _ => return Err(error),
            }
        }
    }

    /// Size of all stored blobs in bytes.
    fn held(&self) -> Result<u64, StoreError> {
        let totals = self.index.totals()?;
        Ok(totals.small.1.saturating_add(totals.large.1))
    }
}
