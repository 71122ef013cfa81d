//! Why a database cannot be read or written.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::host::files::FileError;

/// Why a read or a commit failed. Cheap to clone, because one failed commit is reported to every job in it.
#[derive(Debug, Clone, Error)]
pub enum DurableError {
    /// The disk is full. Nothing was committed. Later commits succeed once there is space.
    #[error("no space left for {path}")]
    NoSpace {
        /// The database.
        path: PathBuf,
    },
    /// Another process has the database open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The file could not be opened or created.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file exists, but this version cannot use it as a database.
    #[error("cannot use {path}: {cause}")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// The library's error.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// The file's bytes are not the ones that were written.
    #[error("{path} is damaged: {cause}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// The library's error or panic message.
        cause: String,
    },
    /// A job of the group failed. Nothing was committed. Later commits are not affected.
    #[error("{path}: {cause}")]
    Refused {
        /// The database.
        path: PathBuf,
        /// The library's error.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// Storage has failed, now or before. The content of the disk is unknown, so every later commit is refused.
    #[error("{path} failed and accepts no more writes: {cause}")]
    Broken {
        /// The database.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
    /// The committing thread has ended.
    #[error("{path} is closed")]
    Closed {
        /// The database.
        path: PathBuf,
    },
}
