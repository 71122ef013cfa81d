//! One put's hold on a partial upload.

use std::sync::Arc;

use super::cancel::CancelToken;
use super::open_partial::{OpenPartial, PartialKey};
use super::partial_uploads::{FoundPartial, PartialUploads};
use super::writer_slot::{SlotState, WriterSlot};
use crate::store::StoreError;

/// Keeps the files of a partial upload for one put. If this is dropped while the upload is open, the upload is suspended: it becomes
/// durable for the next put, or is removed. The drop blocks meanwhile.
#[derive(Debug)]
pub(super) struct PartialOwner {
    uploads: Arc<PartialUploads>,
    key: PartialKey,
    slot: Arc<WriterSlot>,
    /// The resume offset.
    had: u64,
}

impl PartialOwner {
    /// `None` if another put is adding to the partial upload.
    pub(super) fn claim(
        uploads: &Arc<PartialUploads>,
        key: PartialKey,
        cancel: &CancelToken,
    ) -> Option<(Self, FoundPartial)> {
        let slot = WriterSlot::new(cancel.clone());
        let found = uploads.claim(key, &slot)?;
        Some((Self { uploads: uploads.clone(), key, slot, had: 0 }, found))
    }

    pub(super) fn key(&self) -> PartialKey {
        self.key
    }

    pub(super) fn slot(&self) -> &Arc<WriterSlot> {
        &self.slot
    }

    /// The resume offset: number of bytes that need not be sent.
    pub(super) fn had(&self) -> u64 {
        self.had
    }

    /// Begins to add to the upload. From here on, the next put may take it over.
    pub(super) fn open(&mut self, open: Box<OpenPartial>) {
        self.had = open.length();
        self.put_back(open);
    }

    /// Opens the upload again after it could not be published.
    pub(super) fn put_back(&self, open: Box<OpenPartial>) {
        *self.slot.lock() = SlotState::Open(open);
    }

    /// Adds to the upload.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] if another put has taken it over, and those of `add`.
    pub(super) fn add(&self, add: impl FnOnce(&mut OpenPartial) -> Result<(), StoreError>) -> Result<(), StoreError> {
        match &mut *self.slot.lock() {
            SlotState::Open(open) => add(open),
            SlotState::Exclusive | SlotState::Left => Err(self.overtaken()),
        }
    }

    /// Takes the upload out, to publish it. From here on, no other put can take it over.
    ///
    /// # Errors
    /// [`StoreError::Overtaken`] if another put has taken it over, and those of `check`, after which it is still open.
    pub(super) fn take_out(
        &self,
        check: impl FnOnce(&OpenPartial) -> Result<(), StoreError>,
    ) -> Result<Box<OpenPartial>, StoreError> {
        let mut state = self.slot.lock();
        if let SlotState::Open(open) = &*state {
            check(open)?;
        }
        state.make_exclusive().ok_or_else(|| self.overtaken())
    }

    fn overtaken(&self) -> StoreError {
        StoreError::Overtaken { digest: self.key.digest }
    }

    /// Makes an open upload durable, or removes it, and releases it for the next put.
    fn release(&self) -> Result<(), StoreError> {
        let (uploads, key) = (&self.uploads, self.key);
        // Hold the lock until all is done: a put that comes at once waits for it instead of starting at 0.
        let mut state = self.slot.lock();
        let SlotState::Open(open) = &mut *state else {
            uploads.release(key, &self.slot);
            return Ok(());
        };
        let is_unwanted = self.slot.cancel.is_discard() && self.had == 0;
        let is_wanted = !is_unwanted && !matches!(uploads.is_stored(key), Ok(true));
        let noted = if is_wanted && !open.is_ended() { uploads.checkpoint(open) } else { Ok(()) };
        let Some(open) = state.leave() else { return Ok(()) };
        if is_wanted && open.durable() > 0 {
            uploads.rest(key, &self.slot, uploads.suspended(*open));
            drop(state);
            return noted.and_then(|()| uploads.drop_surplus());
        }
        open.discard();
        let erased = uploads.erase(key);
        uploads.release(key, &self.slot);
        noted.and(erased)
    }
}

impl Drop for PartialOwner {
    fn drop(&mut self) {
        // A drop cannot report an error. A final failure is recorded in the store.
        let _ = self.release();
    }
}
