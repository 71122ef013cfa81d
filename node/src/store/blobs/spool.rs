//! Blobs that are being received: pairs of files without a final name, all in one folder of this machine.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::naming::OUTBOARD;
use crate::host::disk::{Disk, DiskFile};
use crate::host::files::FileError;

const FILE_MODE: u32 = 0o600;
/// Size in bytes of one write to the outboard.
pub(in super::super) const OUTBOARD_PIECE: usize = 64 << 10;

/// The folder of a store's spools. The files of the spool `NAME` are `NAME` and `NAME.obao`.
#[derive(Debug)]
pub(in super::super) struct SpoolFolder {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Number of the next unnamed spool. Numbers start at 0 again in each process, because opening the store removes unnamed spools.
    next: AtomicU64,
}

impl SpoolFolder {
    /// The folder must exist.
    pub(in super::super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self { disk, folder, next: AtomicU64::new(0) }
    }

    /// Creates a spool under an unused number.
    pub(in super::super) fn create(&self) -> Result<Spool, FileError> {
        self.create_as(&self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Creates a spool under an unused name.
    pub(in super::super) fn create_as(&self, name: &str) -> Result<Spool, FileError> {
        let [data, outboard] = self.paths(name);
        Ok(Spool { data: SpoolFile::create(&self.disk, data)?, outboard: SpoolFile::create(&self.disk, outboard)? })
    }

    /// Opens an existing spool to append after the first bytes of its files. They are kept when it is dropped.
    pub(in super::super) fn reopen(&self, name: &str, (data, outboard): (u64, u64)) -> Result<Spool, FileError> {
        let open = |path: PathBuf, length| {
            let file = self.disk.reopen(&path, length)?;
            Ok::<_, FileError>(SpoolFile { file, disk: self.disk.clone(), path, length, is_kept: true })
        };
        let [data_path, outboard_path] = self.paths(name);
        Ok(Spool { data: open(data_path, data)?, outboard: open(outboard_path, outboard)? })
    }

    /// Removes the files of a spool, as far as they exist.
    pub(in super::super) fn remove(&self, name: &str) -> Result<(), FileError> {
        for path in self.paths(name) {
            match self.disk.remove(&path) {
                Ok(()) | Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the names of the spools' files durable. A failed sync is final.
    pub(in super::super) fn sync(&self) -> Result<(), FileError> {
        self.disk.sync_folder(&self.folder)
    }

    /// The names of all files in the folder.
    pub(in super::super) fn files(&self) -> Result<Vec<OsString>, FileError> {
        self.disk.list(&self.folder)
    }

    /// Removes one file.
    pub(in super::super) fn remove_file(&self, file: &OsStr) -> Result<(), FileError> {
        self.disk.remove(&self.folder.join(file))
    }

    /// The names of a spool's files: its data, and its outboard.
    pub(in super::super) fn files_of(name: &str) -> [OsString; 2] {
        [OsString::from(name), OsString::from(format!("{name}{OUTBOARD}"))]
    }

    fn paths(&self, name: &str) -> [PathBuf; 2] {
        Self::files_of(name).map(|file| self.folder.join(file))
    }
}

/// A blob that is being received: two files without a final name. They are removed when this is dropped, unless they got their
/// names or are kept.
#[derive(Debug)]
pub(in super::super) struct Spool {
    pub(super) data: SpoolFile,
    pub(super) outboard: SpoolFile,
}

impl Spool {
    /// Sets whether the files are kept when this is dropped.
    pub(in super::super) fn set_kept(&mut self, is_kept: bool) {
        (self.data.is_kept, self.outboard.is_kept) = (is_kept, is_kept);
    }

    /// Makes the bytes so far durable. A failed sync is final.
    pub(in super::super) fn sync(&mut self) -> Result<(), FileError> {
        self.data.file.sync()?;
        self.outboard.file.sync()
    }

    pub(in super::super) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.data.append(bytes)
    }

    pub(in super::super) fn write_outboard(&mut self, parents: &[u8]) -> Result<(), FileError> {
        self.outboard.append(parents)
    }
}

#[derive(Debug)]
pub(super) struct SpoolFile {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    length: u64,
    is_kept: bool,
}

impl SpoolFile {
    fn create(disk: &Arc<dyn Disk>, path: PathBuf) -> Result<Self, FileError> {
        Ok(Self { file: disk.create(&path, FILE_MODE)?, disk: disk.clone(), path, length: 0, is_kept: false })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.length += bytes.len() as u64;
        self.file.append(bytes)
    }

    /// Number of bytes in the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        self.file.read_at(offset, buffer)
    }

    /// Gives the file its final name.
    pub(super) fn rename(&mut self, to: &Path) -> Result<(), FileError> {
        self.disk.rename(&self.path, to)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // ignore a failure: opening the store empties the folder
            let _ = self.disk.remove(&self.path);
        }
    }
}
