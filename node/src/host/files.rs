//! Files and folders of the operating system. Only `host` names `std::fs`.
//!
//! *Durably* means that the written bytes and the file's name survive a loss of power once the call
//! has returned: the file is synced before it gets its name, and the folder is synced after.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::objects::ObjectError;

mod part_file;
mod target;
mod temp;
#[cfg(test)]
mod tests;

pub use part_file::PartFile;
pub use target::{FileId, Target, open_stream};
pub use temp::TempFile;
pub(in crate::host) use temp::{create_fresh, give_new_name};

/// The operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Creating a file or a folder.
    Create,
    /// Opening.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making written bytes or names durable.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Locking.
    Lock,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Lock => "lock",
        })
    }
}

/// Why an operation on a file or a folder failed. Cheap to clone, because one failure may be reported to many.
#[derive(Debug, Clone, Error)]
pub enum FileError {
    /// The disk is full, or the owner's quota or the file size limit is reached.
    #[error("no space left to {action} {path}")]
    NoSpace {
        /// The file or folder.
        path: PathBuf,
        /// The operation.
        action: Action,
    },
    /// Permissions forbid it.
    #[error("permission denied to {action} {path}")]
    Denied {
        /// The file or folder.
        path: PathBuf,
        /// The operation.
        action: Action,
    },
    /// It does not exist.
    #[error("{path} does not exist")]
    NotFound {
        /// The file or folder.
        path: PathBuf,
    },
    /// It exists already.
    #[error("{path} exists already")]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file is larger than it may be.
    #[error("{path}: expected at most {limit} bytes, got more")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its maximum size in bytes.
        limit: usize,
    },
    /// An object store failed.
    #[error(transparent)]
    Elsewhere(#[from] ObjectError),
    /// Any other failure.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation.
        action: Action,
        /// The system's error.
        source: Arc<io::Error>,
    },
}

impl FileError {
    /// Adds the path and the operation to the system's error.
    pub fn new(path: &Path, action: Action, error: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&error) {
            return Self::NoSpace { path, action };
        }
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Denied { path, action },
            ErrorKind::NotFound => Self::NotFound { path },
            ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::Io { path, action, source: Arc::new(error) },
        }
    }

    /// Whether a sync failed. The kernel then drops what it could not write and reports success the next time,
    /// so a retry proves nothing.
    pub fn is_failed_sync(&self) -> bool {
        matches!(self, Self::Io { action: Action::Sync, .. } | Self::Denied { action: Action::Sync, .. })
    }
}

/// Whether a file cannot grow: the disk is full, or the owner's quota or the file size limit is reached.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// Makes a [`FileError`], for `map_err`.
fn at(path: &Path, action: Action) -> impl FnOnce(io::Error) -> FileError {
    move |error| FileError::new(path, action, error)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// See [`FileError`]. A full disk is not [`FileError::NoSpace`] here: earlier names may be lost, so the failure is
/// as final as that of any other sync.
pub fn sync_folder(folder: &Path) -> Result<(), FileError> {
    let file = File::open(folder).map_err(at(folder, Action::Open))?;
    file.sync_all().map_err(|error| FileError::Io {
        path: folder.to_owned(),
        action: Action::Sync,
        source: Arc::new(error),
    })
}

/// Creates the missing ones of these folders, parents first, and syncs each parent once.
///
/// # Errors
/// [`FileError::Exists`] if one of the names is a file; see [`FileError`].
pub fn create_all_durably(folders: &[PathBuf], mode: u32) -> Result<(), FileError> {
    let mut parents = BTreeSet::new();
    for folder in folders {
        parents.insert(parent(folder));
        match DirBuilder::new().mode(mode).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(FileError::new(folder, Action::Create, error)),
        }
    }
    parents.into_iter().try_for_each(sync_folder)
}

/// A file's bytes, at most `limit`.
///
/// # Errors
/// [`FileError::TooLarge`] beyond the limit; see [`FileError`].
pub fn read_all(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    read_all_with_mode(path, limit).map(|(bytes, _)| bytes)
}

/// A file's bytes, at most `limit`, and its permission bits. Both are of the same file, even if another file gets its name
/// meanwhile.
///
/// # Errors
/// [`FileError::TooLarge`] beyond the limit; see [`FileError`].
pub fn read_all_with_mode(path: &Path, limit: usize) -> Result<(Vec<u8>, u32), FileError> {
    let file = File::open(path).map_err(at(path, Action::Open))?;
    let mode = file.metadata().map_err(at(path, Action::Read))?.permissions().mode() & 0o7777;
    let mut bytes = Vec::new();
    // one byte more than allowed, to tell a file of maximum size from a longer one
    file.take((limit as u64).saturating_add(1)).read_to_end(&mut bytes).map_err(at(path, Action::Read))?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok((bytes, mode))
}

/// The names in a folder, sorted.
///
/// # Errors
/// See [`FileError`].
pub fn list(folder: &Path) -> Result<Vec<OsString>, FileError> {
    let entries = fs::read_dir(folder).map_err(at(folder, Action::Read))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>, io::Error>>()
        .map_err(at(folder, Action::Read))?;
    names.sort();
    Ok(names)
}

/// Removes a file.
///
/// # Errors
/// See [`FileError`].
pub fn remove(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(at(path, Action::Remove))
}

/// Whether a file or folder has this name.
///
/// # Errors
/// See [`FileError`].
pub fn exists(path: &Path) -> Result<bool, FileError> {
    path.try_exists().map_err(at(path, Action::Open))
}

/// Opens a file to read and write at any position. Creates it if it does not exist.
///
/// # Errors
/// See [`FileError`].
pub fn open_or_create(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(at(path, Action::Open))
}

/// The length of a file in bytes.
///
/// # Errors
/// See [`FileError`].
pub fn length(path: &Path) -> Result<u64, FileError> {
    Ok(fs::metadata(path).map_err(at(path, Action::Read))?.len())
}

/// Creates an empty file for a program's output. Replaces a file that has the name.
///
/// # Errors
/// See [`FileError`].
pub fn create_log(path: &Path) -> Result<File, FileError> {
    File::create(path).map_err(at(path, Action::Create))
}

/// The folder that a path is in.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}
