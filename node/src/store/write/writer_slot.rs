//! The place in which a put holds the partial upload that it adds to, and from which the next put can take it over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::cancel::CancelToken;
use super::open_partial::OpenPartial;

/// What a put does with its partial upload.
#[derive(Debug)]
pub(super) enum SlotState {
    /// It opens, publishes or removes it. Nobody else may use the files.
    Exclusive,
    /// It adds to it. If it is cancelled or silent, another put may take it over.
    Open(Box<OpenPartial>),
    /// Nothing: another put has taken it over, or it was released.
    Left,
}

impl SlotState {
    /// Takes the upload out for good, if it is open: another put takes it over, or it is released.
    pub(super) fn leave(&mut self) -> Option<Box<OpenPartial>> {
        self.change_from_open(Self::Left)
    }

    /// Takes the upload out for its own put, if it is open. From here on, no other put can take it over.
    pub(super) fn make_exclusive(&mut self) -> Option<Box<OpenPartial>> {
        self.change_from_open(Self::Exclusive)
    }

    fn change_from_open(&mut self, next: Self) -> Option<Box<OpenPartial>> {
        match std::mem::replace(self, next) {
            Self::Open(open) => Some(open),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// The slot of one put.
#[derive(Debug)]
pub(super) struct WriterSlot {
    pub(super) cancel: CancelToken,
    state: Mutex<SlotState>,
}

impl WriterSlot {
    pub(super) fn new(cancel: CancelToken) -> Arc<Self> {
        Arc::new(Self { cancel, state: Mutex::new(SlotState::Exclusive) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, SlotState>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
