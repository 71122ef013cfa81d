//! The disk: every operation that a node's data folder needs, in one trait.
//!
//! Tests use a simulated disk that fails, fills up or loses power at any operation. Work that takes several operations,
//! such as writing a file durably, is implemented on top of the trait and is the same for every disk.

use std::any::Any;
use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::files::{self, Action, FileError, parent};

#[cfg(test)]
pub mod simulated;
#[cfg(test)]
mod tests;

/// The size of a file system in bytes, without what quotas and the superuser's reserve withhold from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes not in use.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

/// The identity of one version of a file. It changes when the file is replaced or its bytes change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// The inode in that file system.
    pub inode: u64,
    /// The length in bytes.
    pub length: u64,
    /// Time of the last change of the bytes (mtime), in seconds and nanoseconds since 1970.
    pub modified: (i64, i64),
    /// Time of the last change of the bytes or the inode (ctime). No program can set it back.
    pub changed: (i64, i64),
}

impl FileIdentity {
    /// Whether both are the same file or folder, changed or not.
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

/// Files and folders by path. Nothing is durable before its sync: [`DiskFile::sync`] makes the bytes of a file durable,
/// [`Disk::sync_folder`] the names in a folder.
///
/// Every method fails with a [`FileError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Disk: Debug + Send + Sync {
    /// Creates the missing ones of these folders, parents first, and makes their names durable.
    fn create_folders(&self, folders: &[PathBuf], mode: u32) -> Result<(), FileError>;
    /// Creates an empty file to append to; [`FileError::Exists`] if the name is taken.
    fn create(&self, path: &Path, mode: u32) -> Result<Box<dyn DiskFile>, FileError>;
    /// Creates an empty file to append to, under an unused name in this folder. The caller renames or removes it.
    fn create_temporary(&self, folder: &Path, mode: u32) -> Result<(PathBuf, Box<dyn DiskFile>), FileError>;
    /// Opens a file to read from.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, FileError>;
    /// Opens a file to append after its first `length` bytes. Bytes beyond are cut off. A shorter file is a
    /// [`FileError::Io`].
    fn reopen(&self, path: &Path, length: u64) -> Result<Box<dyn DiskFile>, FileError>;
    /// Opens a database's file and locks it against other processes. Creates it if it does not exist.
    fn open_database(&self, path: &Path) -> Result<Box<dyn StorageBackend>, FileError>;
    /// Renames a file. Replaces a file that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;
    /// Renames a file; [`FileError::Exists`] if the new name is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), FileError>;
    /// Makes the names in a folder durable. A full disk is not [`FileError::NoSpace`] here, because earlier names may be
    /// lost.
    fn sync_folder(&self, folder: &Path) -> Result<(), FileError>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), FileError>;
    /// Whether a file or folder has this name.
    fn exists(&self, path: &Path) -> Result<bool, FileError>;
    /// Whether a folder has this name.
    fn is_folder(&self, path: &Path) -> bool;
    /// The names in a folder, sorted.
    fn list(&self, folder: &Path) -> Result<Vec<OsString>, FileError>;
    /// A file's bytes and its permission bits. Both are of the same file, even if another file gets its name meanwhile.
    /// [`FileError::TooLarge`] beyond the limit.
    fn read(&self, path: &Path, limit: usize) -> Result<(Vec<u8>, u32), FileError>;
    /// The absolute path of an existing file or folder, without links.
    fn absolute(&self, path: &Path) -> Result<PathBuf, FileError>;
    /// Locks a file. Creates it if it does not exist. `None`: another holder has the lock.
    fn lock(&self, path: &Path) -> Result<Option<DiskLock>, FileError>;
    /// The permission bits of a file or folder.
    fn mode(&self, path: &Path) -> Result<u32, FileError>;
    /// The identity of the file or folder that a path leads to now.
    fn identity(&self, path: &Path) -> Result<FileIdentity, FileError>;
    /// The space of a folder's file system.
    fn space(&self, folder: &Path) -> Result<Space, FileError>;
}

/// A lock, held until dropped and at most until the process ends. The file itself is never removed: otherwise two processes could lock
/// two files of one name.
#[derive(Debug)]
pub struct DiskLock(#[expect(dead_code, reason = "dropping it releases the lock")] Box<dyn LockGuard>);

/// A value that releases a lock when it is dropped.
pub trait LockGuard: Any + Debug + Send + Sync {}
impl<T: Any + Debug + Send + Sync> LockGuard for T {}

impl DiskLock {
    /// A lock that is released when this is dropped.
    pub fn new(guard: impl LockGuard) -> Self {
        Self(Box::new(guard))
    }
}

/// Work that takes several operations of a disk. *Durably* means that the written bytes and the file's name survive a loss of power
/// once the call has returned: the file is synced before it gets its name, and the folder is synced after.
///
/// Every method fails with a [`FileError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl dyn Disk + '_ {
    /// A file's bytes, at most `limit`; [`FileError::TooLarge`] beyond it.
    pub fn read_all(&self, path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        self.read(path, limit).map(|(bytes, _)| bytes)
    }

    /// Writes a file atomically. Replaces a file that has the name. After an error the old file is unchanged, unless the
    /// sync of the folder failed.
    pub fn write_durably(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        self.write_then(path, bytes, mode, |temporary| self.rename(temporary, path))
    }

    /// Writes a new file atomically; [`FileError::Exists`] if the name is taken.
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
            // the first error matters more than a failure to remove
            let _ = self.remove(&temporary);
            return Err(error);
        }
        self.sync_folder(parent(path))
    }

    /// Creates a folder and its missing parents, each durably in its parent.
    /// [`FileError::Exists`] if one of the names is a file.
    pub fn create_folder_durably(&self, folder: &Path, mode: u32) -> Result<(), FileError> {
        // the parent of a bare file name is the empty path
        if folder.as_os_str().is_empty() || self.is_folder(folder) {
            return Ok(());
        }
        let above = parent(folder);
        if above != folder {
            self.create_folder_durably(above, mode)?;
        }
        self.create_folders(&[folder.to_owned()], mode)
    }

    /// Renames a file, durably in both folders. Replaces a file that has the new name.
    pub fn rename_durably(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.rename(from, to)?;
        self.sync_folder(parent(to))?;
        self.sync_folder(parent(from))
    }
}

/// An open file. It stays readable after its name is removed.
///
/// Every method fails with a [`FileError`].
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait DiskFile: Debug + Send + Sync {
    /// Appends bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError>;
    /// Makes the bytes so far durable; see [`FileError::is_failed_sync`].
    fn sync(&mut self) -> Result<(), FileError>;
    /// Fills a buffer with the bytes from `offset`. If the file ends before, fails with [`FileError::Io`].
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError>;
    /// The identity of the open file, even if another file has its name now.
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
            // The file has two names now. If the old one stays, it does no harm.
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

    fn mode(&self, path: &Path) -> Result<u32, FileError> {
        let found = fs::metadata(path).map_err(|error| FileError::new(path, Action::Open, error))?;
        Ok(found.permissions().mode() & 0o7777)
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity, FileError> {
        let found = fs::metadata(path).map_err(|error| FileError::new(path, Action::Open, error))?;
        Ok(FileIdentity::of(&found))
    }

    fn space(&self, folder: &Path) -> Result<Space, FileError> {
        let stat = rustix::fs::statvfs(folder).map_err(|error| FileError::new(folder, Action::Read, error.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        // `f_bavail` excludes what is reserved for the superuser
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
