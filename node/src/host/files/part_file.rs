//! An incomplete file beside the file that it will become: `<FILE>.part`.
//!
//! It stays when the process ends, however it ends, so that the next process can resume. One process at a time writes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::target::adopt;
use super::temp::give_new_name;
use super::{Action, FileError, Target, at, parent, sync_folder};

/// Maximum number of attempts to open it. Another process may give it its final name between opening and locking.
const ATTEMPTS: usize = 8;

/// An open part file, locked by this process.
#[derive(Debug)]
pub struct PartFile {
    file: File,
    path: PathBuf,
    target: Target,
}

impl PartFile {
    /// Opens the part file of `target`, a new or a regular file. Creates it if it does not exist. `None`: another process has
    /// locked it.
    ///
    /// # Errors
    /// [`FileError::Exists`] if something else than a regular file has the name; see [`FileError`].
    pub fn open(target: &Target, mode: u32) -> Result<Option<Self>, FileError> {
        let mut path = target.path().as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        for _ in 0..ATTEMPTS {
            let file = open(&path, mode)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                // a file system without locks
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(FileError::new(&path, Action::Lock, error)),
            }
            if is_at(&file, &path) {
                if let Target::Regular(whole) = target {
                    adopt(&file, whole)?;
                }
                return Ok(Some(Self { file, path, target: target.clone() }));
            }
        }
        Ok(None)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn length(&self) -> Result<u64, FileError> {
        Ok(self.file.metadata().map_err(at(&self.path, Action::Read))?.len())
    }

    /// Reads its first `length` bytes, and moves the position after them.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read_from_start(&mut self, length: u64, mut each: impl FnMut(&[u8])) -> Result<(), FileError> {
        let mut read = || -> io::Result<()> {
            self.file.seek(SeekFrom::Start(0))?;
            let mut piece = vec![0; 1 << 20];
            let mut left = length;
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                self.file.read_exact(&mut piece[..wanted])?;
                each(&piece[..wanted]);
                left -= wanted as u64;
            }
            Ok(())
        };
        read().map_err(at(&self.path, Action::Read))
    }

    /// Cuts it to this length. The next bytes are written there.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn cut(&mut self, length: u64) -> Result<(), FileError> {
        self.file.set_len(length).map_err(at(&self.path, Action::Write))?;
        self.file.seek(SeekFrom::Start(length)).map_err(at(&self.path, Action::Write))?;
        Ok(())
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(at(&self.path, Action::Write))
    }

    /// Makes it durable and gives it its final name. Replaces only a file that existed when it was [opened](Self::open).
    ///
    /// # Errors
    /// [`FileError::Exists`] if a file has appeared meanwhile; see [`FileError`]. The part file then stays.
    pub fn persist(self) -> Result<(), FileError> {
        self.file.sync_all().map_err(at(&self.path, Action::Sync))?;
        let path = self.target.path();
        match &self.target {
            Target::Regular(_) => fs::rename(&self.path, path).map_err(at(path, Action::Rename))?,
            _ if give_new_name(&self.path, path)? => {}
            _ => fs::remove_file(&self.path).map_err(at(&self.path, Action::Remove))?,
        }
        sync_folder(parent(path))
    }

    /// Removes it.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn remove(self) -> Result<(), FileError> {
        fs::remove_file(&self.path).map_err(at(&self.path, Action::Remove))
    }
}

fn open(path: &Path, mode: u32) -> Result<File, FileError> {
    // Do not follow a link, which may lead anywhere, or block on a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(mode).custom_flags(flags);
    let exists = || FileError::Exists { path: path.to_owned() };
    let file = options.open(path).map_err(|error| match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => exists(),
        _ => FileError::new(path, Action::Open, error),
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(exists()),
        Err(error) => Err(FileError::new(path, Action::Open, error)),
    }
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(named)) => (file.dev(), file.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
