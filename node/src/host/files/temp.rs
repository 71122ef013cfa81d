//! Temporary files, which get their final name once they are complete.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};

use super::{Action, FileError, at, parent, sync_folder};

/// A file without a final name. It is removed when it is dropped before it gets one.
#[derive(Debug)]
pub struct TempFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) persisted: bool,
}

impl TempFile {
    /// Creates an empty file with an unused name in `folder`.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn create(folder: &Path, mode: u32) -> Result<Self, FileError> {
        let (file, path) = create_fresh(folder, mode)?;
        Ok(Self { file, path, persisted: false })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(at(&self.path, Action::Write))
    }

    /// Makes the bytes so far durable.
    ///
    /// # Errors
    /// See [`FileError`], and [`FileError::is_failed_sync`].
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_all().map_err(at(&self.path, Action::Sync))
    }

    /// Gives the file its name, durably. Replaces a file that has it. Call [`TempFile::sync`] before.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn persist(mut self, path: &Path) -> Result<(), FileError> {
        fs::rename(&self.path, path).map_err(at(path, Action::Rename))?;
        self.persisted = true;
        sync_folder(parent(path))
    }

    /// Gives the file its name, durably, unless the name is taken. Call [`TempFile::sync`] before.
    ///
    /// # Errors
    /// [`FileError::Exists`] if the name is taken; see [`FileError`].
    pub fn persist_new(self, path: &Path) -> Result<(), FileError> {
        let mut this = self;
        this.persisted = give_new_name(&this.path, path)?;
        drop(this);
        sync_folder(parent(path))
    }
}

/// Creates an empty file with an unused name in `folder`.
///
/// # Errors
/// See [`FileError`].
pub(in crate::host) fn create_fresh(folder: &Path, mode: u32) -> Result<(File, PathBuf), FileError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{}-{number}.tmp", process::id()));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path) {
            Ok(file) => return Ok((file, path)),
            // left by an earlier process with the same id
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(FileError::new(&path, Action::Create, error)),
        }
    }
}

/// Gives a file another name without replacing any file. Returns whether the old name is gone.
///
/// # Errors
/// [`FileError::Exists`] if the name is taken; see [`FileError`].
pub(in crate::host) fn give_new_name(file: &Path, path: &Path) -> Result<bool, FileError> {
    // a rename would replace a file silently; a hard link fails
    match fs::hard_link(file, path) {
        Ok(()) => Ok(false),
        // a file system without hard links, such as FAT
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            rustix::fs::renameat_with(CWD, file, CWD, path, RenameFlags::NOREPLACE)
                .map_err(|error| FileError::new(path, Action::Rename, error.into()))?;
            Ok(true)
        }
        Err(error) => Err(FileError::new(path, Action::Rename, error)),
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.persisted {
            // ignore a failure: a leftover file is only wasted space
            let _ = fs::remove_file(&self.path);
        }
    }
}
