//! A storage backend that records failures.

use std::fmt::Display;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use redb::{BackendError, StorageBackend};

use crate::host::files::is_full;

/// The first failure after which the content of the disk is unknown.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordedFault(Arc<OnceLock<String>>);

impl RecordedFault {
    pub(super) fn get(&self) -> Option<String> {
        self.0.get().cloned()
    }

    /// Records a failure unless there is an earlier one. Returns the first.
    pub(super) fn record(&self, cause: &impl Display) -> String {
        self.0.get_or_init(|| cause.to_string()).clone()
    }
}

/// Forwards every operation and records failures, except a full disk while writing.
///
/// The library does not tell a full disk at a write from one at a sync. After a failed write, earlier commits are
/// intact. After a failed sync, the kernel has dropped pages that it still shows to readers: opening the file again would
/// find a commit that a loss of power takes away.
#[derive(Debug)]
pub(super) struct FaultRecorder {
    inner: Box<dyn StorageBackend>,
    fault: RecordedFault,
}

impl FaultRecorder {
    pub(super) fn new(inner: Box<dyn StorageBackend>, fault: RecordedFault) -> Self {
        Self { inner, fault }
    }

    fn record(&self, error: &io::Error) {
        if !is_full(error) {
            self.fault.record(error);
        }
    }
}

impl StorageBackend for FaultRecorder {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len().inspect_err(|error| self.record(error))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out).inspect_err(|error| self.record(error))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.inner.set_len(len).inspect_err(|error| self.record(error))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.inner.sync_data().inspect_err(|error| {
            self.fault.record(error);
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.inner.write(offset, data).inspect_err(|error| self.record(error))
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
