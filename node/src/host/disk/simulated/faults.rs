//! What a test can do to a simulated disk, and what it can ask.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::file_bytes::{FileContent, Writes};
use super::state::{DiskState, Mishap, Operation};
use super::tree::Node;
use super::{Names, SimulatedDisk, Space};

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
}
