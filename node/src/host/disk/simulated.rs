//! A disk in memory that separates what it shows from what survives a loss of power.
//!
//! A file's bytes survive as of its last sync, a folder's names as of the folder's last sync. Later changes
//! may be lost, kept, torn or mixed. A failed sync loses the bytes that it should have kept, and the disk still shows them,
//! as kernels do.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::{Disk, DiskFile, DiskLock, FileIdentity, Space};
use crate::host::files::{Action, FileError};

// The path is explicit, because the simulation of clusters includes this file, too.
#[path = "simulated/content.rs"]
mod content;
#[path = "simulated/pages.rs"]
mod pages;
#[path = "simulated/tree.rs"]
mod tree;

pub use content::Writes;
use content::{FileChange, FileContent};
use tree::{Node, Tree};

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EEXIST: i32 = 17;

/// What happens to unsynced changes of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// All are lost.
    Lost,
    /// All are kept.
    Kept,
}

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

/// A simulated disk. A clone is another handle to the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<DiskState>>);

#[derive(Debug, Clone, Default)]
struct DiskState {
    contents: Vec<FileContent>,
    shown: Tree,
    durable: Tree,
    done: Vec<Operation>,
    mishap: Option<(usize, Mishap)>,
    /// A mishap that waits for operations below a folder: after how many of them it happens.
    mishap_below: Option<(PathBuf, usize, Mishap)>,
    write_error: i32,
    sync_error: i32,
    off: bool,
    space: Option<Space>,
    locks: BTreeSet<PathBuf>,
    /// Number of disks that were mounted here, one after the other.
    device: u64,
    /// Number of requests for an identity, and which of them fails.
    identities: usize,
    identity_mishap: Option<usize>,
    nameless: Option<fn(&Path) -> bool>,
    /// Syncs of these paths do nothing, but report success.
    lies: Option<fn(&Path) -> bool>,
}

impl SimulatedDisk {
    /// All operations so far, including failed ones.
    pub fn operations(&self) -> Vec<Operation> {
        self.state().done.clone()
    }

    /// Makes the operation with this number fail, counted from 0.
    pub fn mishap_at(&self, number: usize, mishap: Mishap) {
        self.state().mishap = Some((number, mishap));
    }

    /// Makes an operation fail, this many operations from now.
    pub fn mishap_after(&self, operations: usize, mishap: Mishap) {
        let mut state = self.state();
        state.mishap = Some((state.done.len() + operations, mishap));
    }

    /// Makes an operation on a file below a folder fail, this many of them from now.
    pub fn mishap_below(&self, folder: &Path, operations: usize, mishap: Mishap) {
        self.state().mishap_below = Some((folder.to_owned(), operations, mishap));
    }

    /// Cancels a mishap that has not happened yet.
    pub fn no_mishap(&self) {
        let mut state = self.state();
        let now = state.done.len();
        state.mishap = state.mishap.filter(|(at, _)| *at < now);
        state.mishap_below = None;
    }

    /// Whether a mishap has happened.
    pub fn had_mishap(&self) -> bool {
        let state = self.state();
        state.off || state.mishap.is_some_and(|(at, _)| at < state.done.len())
    }

    /// The disk after a power cut that lost all unsynced changes, with only the wanted files.
    pub fn durable_part(&self, is_wanted: impl Fn(&Path) -> bool) -> Self {
        let state = self.state();
        let mut contents = Vec::new();
        let shown = state.durable.map_files(|path, file| {
            is_wanted(path).then(|| {
                contents.push(state.contents[file].survives(Writes::Lost));
                contents.len() - 1
            })
        });
        Self(Arc::new(Mutex::new(DiskState { contents, durable: shown.clone(), shown, ..DiskState::default() })))
    }

    /// Number of requests for an identity, including failed ones.
    pub fn identities(&self) -> usize {
        self.state().identities
    }

    /// Makes the request for an identity with this number fail, counted from 0.
    pub fn identity_mishap_at(&self, number: usize) {
        self.state().identity_mishap = Some(number);
    }

    /// Makes all requests for the identity of some paths fail.
    pub fn identities_fail(&self, of: fn(&Path) -> bool) {
        self.state().nameless = Some(of);
    }

    /// Makes writes fail with a system error; 0 lets them succeed.
    pub fn writes_fail(&self, error: i32) {
        self.state().write_error = error;
    }

    /// Makes syncs fail with a system error; 0 lets them succeed.
    pub fn syncs_fail(&self, error: i32) {
        self.state().sync_error = error;
    }

    /// Makes syncs of some paths do nothing, as if the code did not call them.
    pub fn lie_about(&self, paths: fn(&Path) -> bool) {
        self.state().lies = Some(paths);
    }

    /// Sets the space that the disk reports.
    pub fn set_space(&self, free: u64, total: u64) {
        self.state().space = Some(Space { free, total });
    }

    /// Replaces a file's bytes, durably, to simulate decay.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let Some(Node::File(file)) = state.shown.get(path) else { panic!("{path:?} is no file") };
        let changes = state.contents[file].changes + 1;
        state.contents[file] = FileContent::durable(bytes);
        state.contents[file].changes = changes;
    }

    /// Removes a folder with its content, without the store's knowledge.
    pub fn remove_folder(&self, folder: &Path) {
        let mut state = self.state();
        state.shown.remove_all(folder);
        state.durable.remove_all(folder);
    }

    /// Simulates the mount of another disk with the same names and bytes.
    pub fn mount_another(&self) {
        self.state().device += 1;
    }

    /// A file's visible bytes.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        let Some(Node::File(file)) = state.shown.get(path) else { panic!("{path:?} is no file") };
        state.contents[file].shown.to_vec()
    }

    /// An independent copy of the disk.
    pub fn copy(&self) -> Self {
        self.after_power_cut(Writes::Kept, Names::Kept)
    }

    /// The disk after the process was killed: unsynced changes are still visible, and may still be lost.
    pub fn after_kill(&self) -> Self {
        let mut state = self.state();
        // it is long, and the next disk counts anew
        let done = std::mem::take(&mut state.done);
        let next = DiskState { locks: BTreeSet::new(), mishap: None, mishap_below: None, ..state.clone() };
        state.done = done;
        Self(Arc::new(Mutex::new(next)))
    }

    /// All files below a folder.
    pub fn files_below(&self, folder: &Path) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.shown.files().map(|(path, _)| path);
        files.filter(|path| path.starts_with(folder)).collect()
    }

    /// The disk after a power cut.
    pub fn after_power_cut(&self, writes: Writes, names: Names) -> Self {
        let state = self.state();
        let found = match names {
            Names::Lost => &state.durable,
            Names::Kept => &state.shown,
        };
        let found = found.reachable();
        let contents = state.contents.iter().map(|content| content.survives(writes)).collect();
        Self(Arc::new(Mutex::new(DiskState {
            contents,
            shown: found.clone(),
            durable: found,
            lies: state.lies,
            space: state.space,
            device: state.device,
            ..DiskState::default()
        })))
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskState {
    /// Counts an operation. Fails if a failure is due.
    fn begin(&mut self, action: Action, path: &Path) -> io::Result<()> {
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
    fn enter(&mut self, action: Action, path: &Path) -> Result<(), FileError> {
        self.begin(action, path).map_err(|error| FileError::new(path, action, error))
    }

    fn file(&self, path: &Path, action: Action) -> Result<usize, FileError> {
        match self.shown.get(path) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(failure(path, action, ENOENT)),
        }
    }

    /// Counts a request for an identity. Fails if a failure is due. It does not count as an operation, because the store makes one
    /// before each of its operations.
    fn ask_identity(&mut self, action: Action, path: &Path) -> Result<(), FileError> {
        let number = self.identities;
        self.identities += 1;
        let is_nameless = self.nameless.is_some_and(|of| of(path));
        match self.off || is_nameless || self.identity_mishap == Some(number) {
            true => Err(failure(path, action, EIO)),
            false => Ok(()),
        }
    }

    fn identity_of(&self, inode: u64, content: Option<&FileContent>) -> FileIdentity {
        let (length, changes) = content.map_or((0, 0), |content| (content.shown.len() as u64, content.changes));
        FileIdentity { device: self.device, inode, length, modified: (changes, 0), changed: (changes, 0) }
    }

    fn create(&mut self, path: &Path) -> usize {
        self.contents.push(FileContent::default());
        self.shown.insert(path, Node::File(self.contents.len() - 1));
        self.contents.len() - 1
    }

    fn sync_file(&mut self, file: usize, path: &Path) -> io::Result<()> {
        let begun = self.begin(Action::Sync, path);
        match begun {
            Err(_) if !self.off => self.contents[file].forget_pending(),
            Err(_) => {}
            Ok(()) if self.lies.is_some_and(|lies| lies(path)) => {}
            Ok(()) => self.contents[file].sync(),
        }
        begun
    }

    fn sync_names(&mut self, folder: &Path) {
        if self.lies.is_some_and(|lies| lies(folder)) {
            return;
        }
        self.durable.take_folder(folder, &self.shown);
    }
}

fn failure(path: &Path, action: Action, error: i32) -> FileError {
    FileError::new(path, action, io::Error::from_raw_os_error(error))
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
        let cut = match StorageBackend::len(&file) {
            Ok(found) if found < length => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => file.change(FileChange::Resize(length)),
        };
        cut.map_err(file.at(Action::Write))?;
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

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
    path: PathBuf,
}

impl SimulatedFile {
    fn at(&self, action: Action) -> impl FnOnce(io::Error) -> FileError {
        move |error| FileError::new(&self.path, action, error)
    }

    fn change(&self, change: FileChange) -> io::Result<()> {
        let mut state = self.disk.state();
        let begun = state.begin(Action::Write, &self.path);
        if begun.is_ok() || (state.off && state.mishap.is_some_and(|(at, _)| at + 1 == state.done.len())) {
            // the write during which the power failed may have begun
            state.contents[self.file].change(change);
        }
        begun
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.begin(Action::Read, &self.path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let is_there = state.contents[self.file].shown.read(start, buffer);
        if is_there { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let end = self.disk.state().contents[self.file].shown.len() as u64;
        self.change(FileChange::Write(end, bytes.to_vec())).map_err(self.at(Action::Write))
    }

    fn sync(&mut self) -> Result<(), FileError> {
        let synced = self.disk.state().sync_file(self.file, &self.path);
        synced.map_err(self.at(Action::Sync))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        self.fill(offset, buffer).map_err(self.at(Action::Read))
    }

    fn identity(&self) -> Result<FileIdentity, FileError> {
        let mut state = self.disk.state();
        state.ask_identity(Action::Read, &self.path)?;
        Ok(state.identity_of(self.file as u64, state.contents.get(self.file)))
    }
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents[self.file].shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.fill(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(FileChange::Resize(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.state().sync_file(self.file, &self.path)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(FileChange::Write(offset, data.to_vec()))
    }
}
