//! The output path that a user gave: what exists there, and how to write it.
//!
//! - Symbolic links are followed, also one whose target does not exist yet.
//! - Pipes, terminals and devices are written directly. Renaming a file over one would replace the device itself.
//! - A regular file is replaced atomically. The new one gets its mode and, if permitted, its owner.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Action, FileError, TempFile, at, parent};

/// Maximum number of links followed from one path, as in Linux. More are a loop.
const MAX_LINKS: usize = 40;

/// The identity of a file, independent of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Option<Self> {
        // A character device stores nothing that could be overwritten: a terminal may be both input and output.
        let is_kept = !metadata.file_type().is_char_device();
        is_kept.then(|| Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// The identity of the file that a path leads to. `None` if there is none, or for a character device.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().and_then(Self::of)
    }

    /// The identity of standard input's file. `None` as for [`FileId::at`].
    pub fn of_stdin() -> Option<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().ok()?;
        File::from(stdin).metadata().ok().as_ref().and_then(Self::of)
    }
}

/// What exists at an output path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing. The path is resolved.
    New(PathBuf),
    /// A regular file. The path is resolved.
    Regular(PathBuf),
    /// Something else that can be written: a pipe, a terminal, a device.
    Stream(PathBuf),
    /// A folder.
    Folder,
}

impl Target {
    /// Examines a path.
    ///
    /// # Errors
    /// See [`FileError`]. A loop of links is [`FileError::Io`].
    pub fn at(path: &Path) -> Result<Self, FileError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::New(end_of_links(path)?)),
            Err(error) => return Err(FileError::new(path, Action::Open, error)),
        };
        if metadata.is_dir() {
            return Ok(Self::Folder);
        }
        if !metadata.is_file() || is_descriptor(path) {
            return Ok(Self::Stream(path.to_owned()));
        }
        fs::canonicalize(path).map(Self::Regular).map_err(at(path, Action::Open))
    }

    /// The path to write.
    pub fn path(&self) -> &Path {
        match self {
            Self::New(path) | Self::Regular(path) | Self::Stream(path) => path,
            Self::Folder => Path::new("."),
        }
    }

    /// Writes all bytes: a file atomically, anything else directly. `mode` is for a new file.
    ///
    /// # Errors
    /// [`FileError::Exists`] if a file has appeared at the path of [`Target::New`]; see [`FileError`].
    pub fn write(&self, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        match self {
            Self::New(path) => {
                let mut file = TempFile::create(parent(path), mode)?;
                file.write_all(bytes)?;
                file.sync()?;
                file.persist_new(path)
            }
            Self::Regular(path) => {
                let mut file = TempFile::create(parent(path), 0o600)?;
                adopt(&file.file, path)?;
                file.write_all(bytes)?;
                file.sync()?;
                file.persist(path)
            }
            Self::Stream(path) => {
                let mut file = open_stream(path)?;
                file.write_all(bytes).and_then(|()| file.flush()).map_err(at(path, Action::Write))
            }
            Self::Folder => Err(is_folder()),
        }
    }
}

/// Opens a pipe, terminal or device. Waits for the reader of a pipe.
///
/// # Errors
/// See [`FileError`].
pub fn open_stream(path: &Path) -> Result<File, FileError> {
    // do not create or truncate
    OpenOptions::new().write(true).open(path).map_err(at(path, Action::Open))
}

/// Gives an open file the mode of the file that it will replace and, if permitted, the owner.
pub(super) fn adopt(file: &File, path: &Path) -> Result<(), FileError> {
    let old = fs::metadata(path).map_err(at(path, Action::Open))?;
    let new = file.metadata().map_err(at(path, Action::Open))?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        // only the superuser may change the owner
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    let mode = fs::Permissions::from_mode(old.permissions().mode() & 0o7777);
    file.set_permissions(mode).map_err(at(path, Action::Create))
}

fn is_folder() -> FileError {
    let source = Arc::new(ErrorKind::IsADirectory.into());
    FileError::Io { path: PathBuf::from("."), action: Action::Write, source }
}

/// Whether a path names an open descriptor, such as `/dev/stdout`. It is written through that descriptor.
fn is_descriptor(path: &Path) -> bool {
    let is_proc = |path: &Path| fs::canonicalize(parent(path)).is_ok_and(|folder| folder.starts_with("/proc"));
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if is_proc(&path) {
            return true;
        }
        match fs::read_link(&path) {
            Ok(target) => path = parent(&path).join(target),
            Err(_) => return false,
        }
    }
    false
}

/// Follows links to a path that does not exist yet.
fn end_of_links(path: &Path) -> Result<PathBuf, FileError> {
    let mut end = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&end) {
            Ok(target) => end = parent(&end).join(target),
            Err(_) => return Ok(end),
        }
    }
    Err(FileError::new(path, Action::Open, io::Error::other("too many symbolic links")))
}
