//! The state of a simulated disk, and the failures that are due.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::file_bytes::FileContent;
use super::tree::{Node, Tree};
use super::{FileIdentity, Space};
use crate::host::files::{Action, FileError};

pub(super) const ENOENT: i32 = 2;
const EIO: i32 = 5;
pub(super) const EEXIST: i32 = 17;

/// A failure at one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The operation fails with `EIO`. Later ones succeed.
    Error,
    /// The operation and all later ones fail.
    PowerCut,
}

/// One operation on a file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The kind of operation.
    pub action: Action,
    /// The file or folder.
    pub path: PathBuf,
}

#[derive(Debug, Clone, Default)]
pub(super) struct DiskState {
    pub(super) contents: Vec<FileContent>,
    pub(super) shown: Tree,
    pub(super) durable: Tree,
    pub(super) done: Vec<Operation>,
    pub(super) mishap: Option<(usize, Mishap)>,
    /// A mishap that waits for operations below a folder: after how many of them it happens.
    pub(super) mishap_below: Option<(PathBuf, usize, Mishap)>,
    pub(super) write_error: i32,
    pub(super) sync_error: i32,
    pub(super) off: bool,
    pub(super) space: Option<Space>,
    pub(super) locks: BTreeSet<PathBuf>,
    /// Number of disks that were mounted here, one after the other.
    pub(super) device: u64,
    /// Number of requests for an identity, and which of them fails.
    pub(super) identities: usize,
    pub(super) identity_mishap: Option<usize>,
    pub(super) nameless: Option<fn(&Path) -> bool>,
    /// Syncs of these paths do nothing, but report success.
    pub(super) lies: Option<fn(&Path) -> bool>,
}

impl DiskState {
    /// Counts an operation. Fails if a failure is due.
    pub(super) fn begin(&mut self, action: Action, path: &Path) -> io::Result<()> {
        let number = self.done.len();
        self.done.push(Operation { action, path: path.to_owned() });
        if let Some((folder, left, mishap)) = &mut self.mishap_below
            && path.starts_with(folder)
        {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.mishap = Some((number, *mishap));
                    self.mishap_below = None;
                }
            }
        }
        let due = self.mishap.filter(|(at, _)| *at == number).map(|(_, mishap)| mishap);
        self.off |= due == Some(Mishap::PowerCut);
        let error = match action {
            _ if self.off || due.is_some() => EIO,
            Action::Write | Action::Create => self.write_error,
            Action::Sync => self.sync_error,
            _ => 0,
        };
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// Like [`begin`](Self::begin), for operations outside a database.
    pub(super) fn enter(&mut self, action: Action, path: &Path) -> Result<(), FileError> {
        self.begin(action, path).map_err(|error| FileError::new(path, action, error))
    }

    pub(super) fn file(&self, path: &Path, action: Action) -> Result<usize, FileError> {
        match self.shown.get(path) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(failure(path, action, ENOENT)),
        }
    }

    /// Counts a request for an identity. Fails if a failure is due. It does not count as an operation, because the store makes one
    /// before each of its operations.
    pub(super) fn ask_identity(&mut self, action: Action, path: &Path) -> Result<(), FileError> {
        let number = self.identities;
        self.identities += 1;
        let is_nameless = self.nameless.is_some_and(|of| of(path));
        match self.off || is_nameless || self.identity_mishap == Some(number) {
            true => Err(failure(path, action, EIO)),
            false => Ok(()),
        }
    }

    pub(super) fn identity_of(&self, inode: u64, content: Option<&FileContent>) -> FileIdentity {
        let (length, changes) = content.map_or((0, 0), |content| (content.shown.len() as u64, content.changes));
        FileIdentity { device: self.device, inode, length, modified: (changes, 0), changed: (changes, 0) }
    }

    pub(super) fn create(&mut self, path: &Path) -> usize {
        self.contents.push(FileContent::default());
        self.shown.insert(path, Node::File(self.contents.len() - 1));
        self.contents.len() - 1
    }

    pub(super) fn sync_file(&mut self, file: usize, path: &Path) -> io::Result<()> {
        let begun = self.begin(Action::Sync, path);
        match begun {
            Err(_) if !self.off => self.contents[file].forget_pending(),
            Err(_) => {}
            Ok(()) if self.lies.is_some_and(|lies| lies(path)) => {}
            Ok(()) => self.contents[file].sync(),
        }
        begun
    }

    pub(super) fn sync_names(&mut self, folder: &Path) {
        if self.lies.is_some_and(|lies| lies(folder)) {
            return;
        }
        self.durable.take_folder(folder, &self.shown);
    }
}

pub(super) fn failure(path: &Path, action: Action, error: i32) -> FileError {
    FileError::new(path, action, io::Error::from_raw_os_error(error))
}
