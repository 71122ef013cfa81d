//! The index behind the checks that come before every promise.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use redb::WriteTransaction;

use super::StoreError;
use super::anchor::Anchor;
use super::index::{Change, Index};
use crate::durable::Changes;
use crate::host::files::FileError;

/// The index of a store, and what must be true before anything is entered: no sync has failed, and the index and the blobs are still
/// where they were opened. It can always be read.
#[derive(Debug)]
pub(super) struct CheckedIndex {
    index: Index,
    anchor: Anchor,
    /// The first failed sync of a file or folder. The index records its own.
    broken: OnceLock<FileError>,
}

impl Deref for CheckedIndex {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

impl CheckedIndex {
    pub(super) fn new(index: Index, anchor: Anchor) -> Self {
        Self { index, anchor, broken: OnceLock::new() }
    }

    /// Checks that the store is usable and still in its place. Blocks until the disk has answered.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            Some(cause) => Err(StoreError::Broken { cause: cause.clone() }),
            None => self.anchor.check(&self.index),
        }
    }

    /// Changes the index on its committing thread, after the checks.
    pub(super) async fn change<T: Send + 'static>(self: &Arc<Self>, change: impl Change<T>) -> Result<T, StoreError> {
        self.change_with(|| Ok(()), |(), transaction| change(transaction)).await
    }

    /// Like [`change`](Self::change). The committing thread calls `prepare` after the checks, and `change` with its result.
    pub(super) async fn change_with<C: Send + 'static, T: Send + 'static>(
        self: &Arc<Self>,
        prepare: impl FnOnce() -> Result<C, StoreError> + Send + 'static,
        change: impl FnOnce(C, &WriteTransaction) -> Result<(T, Changes), redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let checked = self.clone();
        let check = move || {
            checked.check()?;
            prepare()
        };
        self.index.0.commit_checked(check, change).await?
    }

    /// Converts a file's error, for `map_err`. A failed sync poisons the store: later writes are refused.
    pub(super) fn failed(&self, error: FileError) -> StoreError {
        if error.is_failed_sync() {
            StoreError::Broken { cause: self.broken.get_or_init(|| error).clone() }
        } else {
            error.into()
        }
    }

    /// Why nothing more is stored or promised, if storage has failed.
    pub(super) fn failure(&self) -> Option<String> {
        let broken = self.broken.get().map(ToString::to_string).or_else(|| self.index.0.failure());
        broken.or_else(|| self.anchor.check(&self.index).err().map(|error| error.to_string()))
    }
}
