//! The disk under a replica's store: every operation that the store and its index need, behind one seam.
//!
//! A test puts a simulated disk behind it that fails, fills up or loses power at any operation.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::files::{self, Action, FileError};

#[cfg(test)]
pub mod simulated;

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
    /// Opens a file to read from.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, FileError>;
    /// Opens a file to go on after its first `length` bytes: those beyond are cut off. A file that ends before is a
    /// [`FileError::Io`].
    fn reopen(&self, path: &Path, length: u64) -> Result<Box<dyn DiskFile>, FileError>;
    /// Opens a database's file, which is created when there is none, locked against other processes.
    fn open_database(&self, path: &Path) -> Result<Box<dyn StorageBackend>, FileError>;
    /// Gives a file another name, in place of any file that has it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;
    /// Makes the names in a folder durable. A full disk is no [`FileError::NoSpace`] here: names given before may be
    /// lost.
    fn sync_folder(&self, folder: &Path) -> Result<(), FileError>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), FileError>;
    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &Path) -> Result<bool, FileError>;
    /// The names in a folder, sorted.
    fn list(&self, folder: &Path) -> Result<Vec<OsString>, FileError>;
    /// The identity of the file or folder that a path leads to now.
    fn identity(&self, path: &Path) -> Result<FileIdentity, FileError>;
    /// The space of the file system that a folder is on.
    fn space(&self, folder: &Path) -> Result<Space, FileError>;
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

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        files::sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        files::remove(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, FileError> {
        files::exists(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>, FileError> {
        files::list(folder)
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
