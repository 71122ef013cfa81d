//! A disk in memory that separates what it shows from what survives a loss of power.
//!
//! A file's bytes survive as of its last sync, a folder's names as of the folder's last sync. Later changes
//! may be lost, kept, torn or mixed. A failed sync loses the bytes that it should have kept, and the disk still shows them,
//! as kernels do.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::{Disk, DiskFile, DiskLock, FileIdentity, Space};
use crate::host::files::{Action, FileError};

// The path is explicit, because the simulation of clusters includes this file, too.
#[path = "simulated/faults.rs"]
mod faults;
#[path = "simulated/file_bytes.rs"]
mod file_bytes;
#[path = "simulated/open_file.rs"]
mod open_file;
#[path = "simulated/shared_pages.rs"]
mod shared_pages;
#[path = "simulated/state.rs"]
mod state;
#[path = "simulated/tree.rs"]
mod tree;

pub use file_bytes::Writes;
use open_file::{SimulatedFile, SimulatedLock};
use state::{DiskState, EEXIST, ENOENT, failure};
pub use state::{Mishap, Operation};
use tree::Node;

/// What happens to unsynced changes of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// All are lost.
    Lost,
    /// All are kept.
    Kept,
}

/// A simulated disk. A clone is another handle to the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<DiskState>>);

impl SimulatedDisk {
    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for SimulatedDisk {
    fn create_folders(&self, folders: &[PathBuf], _mode: u32) -> Result<(), FileError> {
        let mut state = self.state();
        let Some(first) = folders.first() else { return Ok(()) };
        let begun = state.enter(Action::Create, first);
        // power may fail halfway
        let made = if begun.is_ok() { folders.len() } else { folders.len() / 2 };
        for folder in &folders[..made] {
            state.shown.create_folder(folder);
        }
        begun?;
        state.enter(Action::Sync, first)?;
        let above: BTreeSet<&Path> = folders.iter().flat_map(|folder| folder.ancestors().skip(1)).collect();
        above.into_iter().for_each(|above| state.sync_names(above));
        Ok(())
    }

    fn create(&self, path: &Path, _mode: u32) -> Result<Box<dyn DiskFile>, FileError> {
        let mut state = self.state();
        state.enter(Action::Create, path)?;
        if state.shown.has(path) {
            return Err(failure(path, Action::Create, EEXIST));
        }
        let file = state.create(path);
        Ok(Box::new(SimulatedFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn create_temporary(&self, folder: &Path, mode: u32) -> Result<(PathBuf, Box<dyn DiskFile>), FileError> {
        let number = self.state().contents.len();
        let path = folder.join(format!(".{number}.tmp"));
        Ok((path.clone(), self.create(&path, mode)?))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, FileError> {
        let mut state = self.state();
        state.enter(Action::Open, path)?;
        let file = state.file(path, Action::Open)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn reopen(&self, path: &Path, length: u64) -> Result<Box<dyn DiskFile>, FileError> {
        let file = {
            let mut state = self.state();
            state.enter(Action::Open, path)?;
            state.file(path, Action::Open)?
        };
        let file = SimulatedFile { disk: self.clone(), file, path: path.to_owned() };
        file.cut(length)?;
        Ok(Box::new(file))
    }

    fn open_database(&self, path: &Path) -> Result<Box<dyn StorageBackend>, FileError> {
        let mut state = self.state();
        state.enter(Action::Open, path)?;
        let file = state.file(path, Action::Open).unwrap_or_else(|_| state.create(path));
        Ok(Box::new(SimulatedFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let mut state = self.state();
        state.enter(Action::Rename, to)?;
        let file = state.file(from, Action::Rename)?;
        state.shown.remove(from);
        state.shown.insert(to, Node::File(file));
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        if self.state().shown.has(to) {
            return Err(failure(to, Action::Rename, EEXIST));
        }
        self.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        let mut state = self.state();
        state.enter(Action::Sync, folder)?;
        state.sync_names(folder);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        let mut state = self.state();
        state.enter(Action::Remove, path)?;
        state.file(path, Action::Remove)?;
        state.shown.remove(path);
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool, FileError> {
        let mut state = self.state();
        state.enter(Action::Open, path)?;
        Ok(state.shown.has(path))
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.state().shown.get(path) == Some(Node::Folder)
    }

    fn list(&self, folder: &Path) -> Result<Vec<OsString>, FileError> {
        let mut state = self.state();
        state.enter(Action::Read, folder)?;
        Ok(state.shown.list(folder))
    }

    fn read(&self, path: &Path, limit: usize) -> Result<(Vec<u8>, u32), FileError> {
        let mut state = self.state();
        state.enter(Action::Read, path)?;
        let file = state.file(path, Action::Read)?;
        let shown = &state.contents[file].shown;
        match shown.len() > limit {
            true => Err(FileError::TooLarge { path: path.to_owned(), limit }),
            // only the owner uses this disk
            false => Ok((shown.to_vec(), 0o600)),
        }
    }

    fn absolute(&self, path: &Path) -> Result<PathBuf, FileError> {
        let mut state = self.state();
        state.enter(Action::Open, path)?;
        match state.shown.has(path) {
            true => Ok(path.to_owned()),
            false => Err(failure(path, Action::Open, ENOENT)),
        }
    }

    fn lock(&self, path: &Path) -> Result<Option<DiskLock>, FileError> {
        let mut state = self.state();
        state.enter(Action::Open, path)?;
        if !state.shown.has(path) {
            state.create(path);
        }
        match state.locks.insert(path.to_owned()) {
            true => Ok(Some(DiskLock::new(SimulatedLock { disk: self.clone(), path: path.to_owned() }))),
            false => Ok(None),
        }
    }

    fn mode(&self, _path: &Path) -> Result<u32, FileError> {
        Ok(0o700)
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity, FileError> {
        let mut state = self.state();
        state.ask_identity(Action::Open, path)?;
        match state.shown.get(path) {
            None => Err(failure(path, Action::Open, ENOENT)),
            Some(Node::File(file)) => Ok(state.identity_of(file as u64, state.contents.get(file))),
            // all folders have one inode: a folder that is created again is recognized only by its files
            Some(Node::Folder) => Ok(state.identity_of(u64::MAX, None)),
        }
    }

    fn space(&self, _folder: &Path) -> Result<Space, FileError> {
        Ok(self.state().space.unwrap_or(Space { free: 1 << 40, total: 1 << 40 }))
    }
}
