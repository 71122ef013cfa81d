//! What stands under the name that a user gave for output, and writing there without destroying it.
//!
//! - Symbolic links are followed, also one whose target does not exist yet.
//! - A pipe, terminal or device is written to as it is. Renaming a file over it would replace the device itself.
//! - A regular file is replaced whole or not at all, and keeps its mode and, where permitted, its owner.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Action, FileError, TempFile, at, parent};

/// Links followed from one name, as Linux allows; more are a loop.
const MAX_LINKS: usize = 40;

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &fs::Metadata) -> Option<Self> {
        // a character device keeps nothing that could be overwritten: a terminal may be read and written
        let is_kept = !metadata.file_type().is_char_device();
        is_kept.then(|| Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Of the file at the end of a path's links; `None` when there is none, or a character device.
    pub fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().and_then(Self::of)
    }

    /// Of what standard input reads from; as [`FileId::at`].
    pub fn of_stdin() -> Option<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned().ok()?;
        File::from(stdin).metadata().ok().as_ref().and_then(Self::of)
    }
}

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing. The path is the end of all links.
    New(PathBuf),
    /// A regular file. The path is the end of all links.
    Regular(PathBuf),
    /// Anything else that can be written to: a pipe, a terminal, a device.
    Stream(PathBuf),
    /// A folder.
    Folder,
}

impl Target {
    /// Looks at what stands under this name.
    ///
    /// # Errors
    /// See [`FileError`]; a loop of links is [`FileError::Io`].
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

    /// The path that is written.
    pub fn path(&self) -> &Path {
        match self {
            Self::New(path) | Self::Regular(path) | Self::Stream(path) => path,
            Self::Folder => Path::new("."),
        }
    }

    /// Writes all of it: at once where a file is, which is then whole or untouched, and as it comes elsewhere. `mode` is for a
    /// new file.
    ///
    /// # Errors
    /// [`FileError::Exists`] when there is a file by now where none was; see [`FileError`].
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

/// Opens a pipe, terminal or device; waits for the reader of a pipe.
///
/// # Errors
/// See [`FileError`].
pub fn open_stream(path: &Path) -> Result<File, FileError> {
    // neither created nor cut: it is what it is
    OpenOptions::new().write(true).open(path).map_err(at(path, Action::Open))
}

/// Gives an open file the mode of the one that it will replace and, where permitted, the owner.
pub(super) fn adopt(file: &File, path: &Path) -> Result<(), FileError> {
    let old = fs::metadata(path).map_err(at(path, Action::Open))?;
    let new = file.metadata().map_err(at(path, Action::Open))?;
    if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
        // only a superuser may give files away
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    let mode = fs::Permissions::from_mode(old.permissions().mode() & 0o7777);
    file.set_permissions(mode).map_err(at(path, Action::Create))
}

fn is_folder() -> FileError {
    let source = Arc::new(ErrorKind::IsADirectory.into());
    FileError::Io { path: PathBuf::from("."), action: Action::Write, source }
}

/// Whether it names an open descriptor, as `/dev/stdout` does: what that is open on is written through it.
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

/// The name that a link, which leads to nothing yet, stands for.
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
