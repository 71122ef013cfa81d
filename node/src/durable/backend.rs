//! A note of what failed where a database's bytes go.

use std::fmt::Display;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use redb::{BackendError, StorageBackend};

use crate::host::files::is_full;

/// The first failure after which it is not known what the disk holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Fault(Arc<OnceLock<String>>);

impl Fault {
    pub(super) fn get(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// Notes a failure, unless there was one before; gives the first.
    pub(super) fn note(&self, cause: &impl Display) -> String {
        self.0.get_or_init(|| cause.to_string()).clone()
    }
}

/// Passes everything on and notes failures; all but a full disk on writing.
///
/// The database reports a full disk alike from a write and from a sync. After a write, what was committed before is
/// intact. After a sync, the kernel has dropped pages that it goes on showing to readers: reopening would find a
/// commit there that a loss of power takes away.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Box<dyn StorageBackend>,
    fault: Fault,
}

impl Watched {
    pub(super) fn new(inner: Box<dyn StorageBackend>, fault: Fault) -> Self {
        Self { inner, fault }
    }

    fn note(&self, error: &io::Error) {
        if !is_full(error) {
            self.fault.note(error);
        }
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len().inspect_err(|error| self.note(error))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out).inspect_err(|error| self.note(error))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.inner.set_len(len).inspect_err(|error| self.note(error))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.inner.sync_data().inspect_err(|error| {
            self.fault.note(error);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.inner.write(offset, data).inspect_err(|error| self.note(error))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
