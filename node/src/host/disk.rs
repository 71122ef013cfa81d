//! The disk under a node: every operation that its data folder needs, behind one seam.
//!
//! A test puts a simulated disk behind it that fails, fills up or loses power at any operation. What is made of several operations,
//! such as writing a file durably, is below the seam's methods and the same on every disk.

use std::any::Any;
use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::files::{self, Action, FileError, parent};

#[cfg(test)]
pub mod simulated;
#[cfg(test)]
mod tests;

/// Bytes of a file system, as its quota and its reserve for the superuser leave them to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Not in use.
    pub free: u64,
    /// In use or not.
    pub total: u64,
}

/// Tells one version of a file from every other. A file that is replaced, or whose bytes change, gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// The file's number there.
    pub inode: u64,
    /// In bytes.
    pub length: u64,
    /// When the bytes changed last, in seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// When the bytes or the file's own record changed last. No program can set it back.
    pub changed: (i64, i64),
}

impl FileIdentity {
    /// Whether it is the same file or folder, changed or not.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn of(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Files and folders by path. Nothing is durable before its sync: the bytes of a file by [`DiskFile::sync`], its
/// name by [`Disk::sync_folder`].
///
/// Every method fails with a [`FileError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk: Debug + Send + Sync {
    /// Creates folders as far as they are missing, those above first, and makes their names durable.
    fn create_folders(&self, folders: &[PathBuf], mode: u32) -> Result<(), FileError>;
    /// Creates an empty file to append to; [`FileError::Exists`] when the name is taken.
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, FileError>;
    /// Creates an empty file to append to, under a name in this folder that is nobody's. It is to be renamed or removed.
    fn create_temporary(&self, folder: &Path, mode: u32) -> Result<(PathBuf, Box<dyn DiskFile>), FileError>;
    /// Opens a file to read from.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, FileError>;
    /// Opens a file to go on after its first `length` bytes: those beyond are cut off. A file that ends before is a
    /// [`FileError::Io`].
    fn reopen(&self, path: &Path, length: u64) -> Result<Box<dyn DiskFile>, FileError>;
    /// Opens a database's file, which is created when there is none, locked against other processes.
    fn open_database(&self, path: &Path) -> Result<Box<dyn StorageBackend>, FileError>;
    /// Gives a file another name, in place of any file that has it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;
    /// Gives a file another name; [`FileError::Exists`] when that is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), FileError>;
    /// Makes the names in a folder durable. A full disk is no [`FileError::NoSpace`] here: names given before may be
    /// lost.
    fn sync_folder(&self, folder: &Path) -> Result<(), FileError>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), FileError>;
    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> Result<bool, FileError>;
    /// Whether there is a folder of this name.
    fn is_folder(&self, path: &Path) -> bool;
    /// The names in a folder, sorted.
    fn list(&self, folder: &Path) -> Result<Vec<OsString>, FileError>;
    /// A file's bytes, and its permission bits: of the same file, even when its name is given away in between.
    /// [`FileError::TooLarge`] beyond the limit.
    fn read(&self, path: &Path, limit: usize) -> Result<(Vec<u8>, u32), FileError>;
    /// The path from the root, without links, of what is there.
    fn absolute(&self, path: &Path) -> Result<PathBuf, FileError>;
    /// Takes the lock on a file, which is created when there is none. `None`: another holder has it.
    fn lock(&self, path: &Path) -> Result<Option<DiskLock>, FileError>;
    /// The identity of the file or folder that a path leads to now.
    fn identity(&self, path: &Path) -> Result<FileIdentity, FileError>;
    /// The space of the file system that a folder is on.
    fn space(&self, folder: &Path) -> Result<Space, FileError>;
}

/// A lock, held until dropped and never beyond the end of the process. The file itself stays: to remove it would let two processes lock
/// two files of one name.
#[derive(Debug)]
pub struct DiskLock(#[expect(dead_code, reason = "dropping it gives the lock back")] Box<dyn Held>);

/// What a disk gives back when it is dropped.
pub trait Held: Any + Debug + Send + Sync {}
impl<T: Any + Debug + Send + Sync> Held for T {}

impl DiskLock {
    /// A lock that ends when this is dropped.
    pub fn new(held: impl Held) -> Self {
        Self(Box::new(held))
    }
}

/// What is made of a disk's operations. *Durably* means that what was written, and the name it was written under, survive a loss of power
/// once the call has returned: the file is synced before it gets its name, and the folder is synced after.
///
/// Every method fails with a [`FileError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl dyn Disk + '_ {
    /// A file's bytes, at most `limit`; [`FileError::TooLarge`] beyond it.
    pub fn read_all(&self, path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        self.read(path, limit).map(|(bytes, _)| bytes)
    }

    /// Writes a file whole or not at all, in place of any that has the name. After an error the old file is untouched, unless it was the
    /// sync of the folder that failed.
    pub fn write_durably(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        self.write_then(path, bytes, mode, |temporary| self.rename(temporary, path))
    }

    /// Writes a file whole or not at all; [`FileError::Exists`] when the name is taken.
    pub fn create_new_durably(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        self.write_then(path, bytes, mode, |temporary| self.rename_new(temporary, path))
    }

    fn write_then(
        &self,
        path: &Path,
        bytes: &[u8],
        mode: u32,
        name: impl FnOnce(&Path) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let (temporary, mut file) = self.create_temporary(parent(path), mode)?;
        if let Err(error) = file.append(bytes).and_then(|()| file.sync()).and_then(|()| name(&temporary)) {
            // nothing can be done about a failure here
            let _ = self.remove(&temporary);
            return Err(error);
        }
        self.sync_folder(parent(path))
    }

    /// Creates a folder and those above it, as far as they are missing, each made durable in the one above it.
    /// [`FileError::Exists`] when one of the names is a file.
    pub fn create_folder_durably(&self, folder: &Path, mode: u32) -> Result<(), FileError> {
        // the folder of a bare file name is the empty path
        if folder.as_os_str().is_empty() || self.is_folder(folder) {
            return Ok(());
        }
        let above = parent(folder);
        if above != folder {
            self.create_folder_durably(above, mode)?;
        }
        self.create_folders(&[folder.to_owned()], mode)
    }

    /// Gives a file another name, in place of any that has it, durably in both folders.
    pub fn rename_durably(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.rename(from, to)?;
        self.sync_folder(parent(to))?;
        self.sync_folder(parent(from))
    }
}

/// An open file. It stays readable when its name is gone.
///
/// Every method fails with a [`FileError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait DiskFile: Debug + Send + Sync {
    /// Writes after the last byte.
    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError>;
    /// Makes the bytes so far durable; see [`FileError::is_failed_sync`].
    fn sync(&mut self) -> Result<(), FileError>;
    /// Fills a buffer with the bytes from `offset`; a file that ends before is a [`FileError::Io`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError>;
    /// The identity of the open file, whatever has its name now.
    fn identity(&self) -> Result<FileIdentity, FileError>;
}

/// The operating system's disk.
#[derive(Debug, Clone, Copy)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn create_folders(&self, folders: &[PathBuf], mode: u32) -> Result<(), FileError> {
        files::create_all_durably(folders, mode)
    }

    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, FileError> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path);
        let file = file.map_err(|error| FileError::new(path, Action::Create, error))?;
        Ok(Box::new(SystemFile { file, path: path.to_owned() }))
    }

    fn create_temporary(&self, folder: &Path, mode: u32) -> Result<(PathBuf, Box<dyn DiskFile>), FileError> {
        let (file, path) = files::create_fresh(folder, mode)?;
        Ok((path.clone(), Box::new(SystemFile { file, path })))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, FileError> {
        let file = File::open(path).map_err(|error| FileError::new(path, Action::Open, error))?;
        Ok(Box::new(SystemFile { file, path: path.to_owned() }))
    }

    fn reopen(&self, path: &Path, length: u64) -> Result<Box<dyn DiskFile>, FileError> {
        let file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.map_err(|error| FileError::new(path, Action::Open, error))?;
        let cut = file.metadata().and_then(|found| match found.len() < length {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => file.set_len(length),
        });
        cut.map_err(|error| FileError::new(path, Action::Write, error))?;
        Ok(Box::new(SystemFile { file, path: path.to_owned() }))
    }

    fn open_database(&self, path: &Path) -> Result<Box<dyn StorageBackend>, FileError> {
        let backend = FileBackend::new(files::open_or_create(path)?);
        let backend = backend.map_err(|error| FileError::new(path, Action::Open, io::Error::other(error)))?;
        Ok(Box::new(backend))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        fs::rename(from, to).map_err(|error| FileError::new(to, Action::Rename, error))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        if !files::give_new_name(from, to)? {
            // it has two names now; one that stays is in nobody's way
            let _ = fs::remove_file(from);
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        files::sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        files::remove(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, FileError> {
        files::exists(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>, FileError> {
        files::list(folder)
    }

    fn read(&self, path: &Path, limit: usize) -> Result<(Vec<u8>, u32), FileError> {
        files::read_all_with_mode(path, limit)
    }

    fn absolute(&self, path: &Path) -> Result<PathBuf, FileError> {
        fs::canonicalize(path).map_err(|error| FileError::new(path, Action::Open, error))
    }

    fn lock(&self, path: &Path) -> Result<Option<DiskLock>, FileError> {
        let file = files::open_or_create(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(DiskLock::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(FileError::new(path, Action::Lock, error)),
        }
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity, FileError> {
        let found = fs::metadata(path).map_err(|error| FileError::new(path, Action::Open, error))?;
        Ok(FileIdentity::of(&found))
    }

    fn space(&self, folder: &Path) -> Result<Space, FileError> {
        let stat = rustix::fs::statvfs(folder).map_err(|error| FileError::new(folder, Action::Read, error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        // what is set aside for the superuser is not free for anybody's blobs
        Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

#[derive(Debug)]
struct SystemFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for SystemFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(|error| FileError::new(&self.path, Action::Write, error))
    }

    fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_all().map_err(|error| FileError::new(&self.path, Action::Sync, error))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| FileError::new(&self.path, Action::Read, error))
    }

    fn identity(&self) -> Result<FileIdentity, FileError> {
        let found = self.file.metadata().map_err(|error| FileError::new(&self.path, Action::Read, error))?;
        Ok(FileIdentity::of(&found))
    }
}
