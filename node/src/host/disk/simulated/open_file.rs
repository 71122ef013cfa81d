//! The open files of a simulated disk, and its locks.

use std::io;
use std::path::PathBuf;

use redb::StorageBackend;

use super::file_bytes::FileChange;
use super::{DiskFile, FileIdentity, SimulatedDisk};
use crate::host::files::{Action, FileError};

#[derive(Debug)]
pub(super) struct SimulatedLock {
    pub(super) disk: SimulatedDisk,
    pub(super) path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

#[derive(Debug)]
pub(super) struct SimulatedFile {
    pub(super) disk: SimulatedDisk,
    pub(super) file: usize,
    pub(super) path: PathBuf,
}

impl SimulatedFile {
    fn at(&self, action: Action) -> impl FnOnce(io::Error) -> FileError {
        move |error| FileError::new(&self.path, action, error)
    }

    /// Cuts the file off after a number of bytes, which it must have.
    pub(super) fn cut(&self, length: u64) -> Result<(), FileError> {
        let cut = match StorageBackend::len(self) {
            Ok(found) if found < length => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => self.change(FileChange::Resize(length)),
        };
        cut.map_err(self.at(Action::Write))
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
