//! The write-ahead log (WAL): what a member must remember before a message that depends on it leaves.
//!
//! ```text
//! file     "vouchlw" 7 · version u8 · cluster 32 · node key 32 · base height u64 · salt 32 · check 16 · group …
//! group    mark 16 · size u32 · records (size bytes) · check 16 · seal 16
//! record   length u32 · bytes
//! ```
//!
//! A group is written with one write and made durable with one sync; its check covers its number and all its bytes. Only then its seal
//! is written, without a sync. So the end of the file tells a torn group from a damaged one: a torn group has no seal, and nothing
//! follows it. A torn group was never acknowledged and is dropped. Any other bad group is damage, because a message that depends on it
//! may have left.
//!
//! Mark, seal and checks are keyed with the header, whose salt is random in every file. So neither bytes of a record, which other
//! members choose, nor blocks of an older file can look like a group.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::LogOwner;
use crate::host::Host;
use crate::host::disk::DiskFile;
use crate::host::files::{FileError, parent};

mod layout;

use layout::{GROUP_OVERHEAD, Keys};
pub use layout::{TornTail, WalContent};

/// Maximum size of a record in bytes.
pub const MAX_RECORD: usize = 1 << 20;
/// Maximum size of a file in bytes. It is replaced after every decided block, so this is reached only when nothing is decided.
pub const MAX_WAL: usize = 64 << 20;

/// Only the owner may read it.
const MODE: u32 = 0o600;

/// Why the write-ahead log cannot be read or written.
#[derive(Debug, Clone, Error)]
pub enum WalError {
    /// The file does not exist.
    #[error("{path} is missing")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Bytes that were durable are not those that were written.
    #[error("{path} is damaged at offset {offset}: expected {expected}, got other bytes")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first group that is wrong, or 0 for the file's header.
        offset: u64,
        /// What should be there.
        expected: &'static str,
    },
    /// Another version of this program wrote the file.
    #[error("{path}: expected version {expected}, got {got}")]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version that this program writes.
        expected: u8,
        /// The file's version.
        got: u8,
    },
    /// The file is another member's, or for another cluster.
    #[error("{path}: expected the log of {expected}, got that of {got}")]
    OtherOwner {
        /// The file.
        path: PathBuf,
        /// This member.
        expected: Box<LogOwner>,
        /// The file's owner.
        got: Box<LogOwner>,
    },
    /// A record is too large. Nothing was written.
    #[error("record: expected at most {MAX_RECORD} bytes, got {got}")]
    RecordTooLarge {
        /// Its size in bytes.
        got: usize,
    },
    /// The file would be too large. Nothing was written.
    #[error("{path}: expected at most {MAX_WAL} bytes, got {got}")]
    Full {
        /// The file.
        path: PathBuf,
        /// The size that it would have in bytes.
        got: usize,
    },
    /// A write or sync has failed before. What is on the disk is unknown, so every later write is refused.
    #[error("{path} failed and accepts no more writes: {cause}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// The first failure.
        cause: String,
    },
}

/// The open file. Every write waits for the disk.
#[derive(Debug)]
pub struct WalFile {
    host: Host,
    path: PathBuf,
    owner: LogOwner,
    file: Box<dyn DiskFile>,
    keys: Keys,
    /// Length of the file in bytes.
    length: usize,
    /// Number of the next group.
    next: u64,
    /// The first failure.
    fault: Option<String>,
}

impl WalFile {
    /// Opens a file, and returns its records.
    ///
    /// The records are written to a new file before they are returned: those of a killed process may be in the kernel's memory only, and
    /// after a failed sync the kernel shows bytes that it will never write. A crash would then lose what is relied upon here.
    ///
    /// # Errors
    /// [`WalError::Missing`] and [`WalError::Damaged`], after which the caller must not sign as if there had been no records; see
    /// [`WalError`]. The file is then unchanged.
    pub fn open(host: &Host, path: &Path, owner: LogOwner) -> Result<(Self, WalContent), WalError> {
        let bytes = match host.disk().read_all(path, MAX_WAL) {
            Ok(bytes) => bytes,
            Err(FileError::NotFound { .. }) => return Err(WalError::Missing { path: path.to_owned() }),
            Err(FileError::TooLarge { .. }) => {
                let expected = "the end of the file";
                return Err(WalError::Damaged { path: path.to_owned(), offset: MAX_WAL as u64, expected });
            }
            Err(error) => return Err(error.into()),
        };
        let content = layout::read(path, owner, &bytes)?;
        drop(bytes);
        let wal = Self::create(host, path, owner, content.base, &content.records)?;
        Ok((wal, content))
    }

    /// Creates a file with these records, or replaces one that exists, in one step. `base` is the height of the last decided block.
    ///
    /// # Errors
    /// See [`WalError`]. Before the last step, which makes the name durable, the old file is unchanged.
    pub fn create(host: &Host, path: &Path, owner: LogOwner, base: u64, records: &[Vec<u8>]) -> Result<Self, WalError> {
        let (header, keys) = layout::header(owner, base, host.random());
        let mut bytes = header;
        let mut next = 0;
        if !records.is_empty() {
            check_size(path, bytes.len(), records)?;
            keys.write_group(next, records, &mut bytes);
            // The whole file gets its name after its sync.
            bytes.extend_from_slice(&keys.seal);
            next += 1;
        }
        let disk = host.disk();
        let unfinished = unfinished_name(path);
        if disk.exists(&unfinished)? {
            disk.remove(&unfinished)?;
        }
        let mut file = disk.create(&unfinished, MODE)?;
        file.append(&bytes)?;
        file.sync()?;
        disk.rename(&unfinished, path)?;
        disk.sync_folder(parent(path))?;
        // Errors then name the file as it is named now.
        let file = disk.reopen(path, bytes.len() as u64)?;
        Ok(Self {
            host: host.clone(),
            path: path.to_owned(),
            owner,
            file,
            keys,
            length: bytes.len(),
            next,
            fault: None,
        })
    }

    /// Appends records, which are durable when this returns: all of them or, after a crash in between, all or none.
    ///
    /// # Errors
    /// See [`WalError`]. After a failure of the disk, every later write is refused.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<(), WalError> {
        self.check_usable()?;
        if records.is_empty() {
            return Ok(());
        }
        let size = check_size(&self.path, self.length, records)?;
        let mut group = Vec::with_capacity(size);
        self.keys.write_group(self.next, records, &mut group);
        self.file.append(&group).and_then(|()| self.file.sync()).map_err(|error| self.failed(error))?;
        self.next += 1;
        self.length += size;
        // The group is durable without its seal. After this failure, nothing is appended any more.
        if let Err(error) = self.file.append(&self.keys.seal) {
            self.failed(error);
        }
        Ok(())
    }

    /// Replaces the file by one with these records only, in one step. `base` is the height of the last decided block.
    ///
    /// # Errors
    /// See [`WalError`]. After a failure of the disk, every later write is refused.
    pub fn reset(&mut self, base: u64, records: &[Vec<u8>]) -> Result<(), WalError> {
        self.check_usable()?;
        match Self::create(&self.host, &self.path, self.owner, base, records) {
            Ok(new) => {
                *self = new;
                Ok(())
            }
            Err(WalError::File(error)) => Err(self.failed(error)),
            Err(error) => Err(error),
        }
    }

    /// Length of the file in bytes.
    pub fn length(&self) -> usize {
        self.length
    }

    fn check_usable(&self) -> Result<(), WalError> {
        match &self.fault {
            None => Ok(()),
            Some(cause) => Err(WalError::Broken { path: self.path.clone(), cause: cause.clone() }),
        }
    }

    fn failed(&mut self, error: FileError) -> WalError {
        self.fault.get_or_insert_with(|| error.to_string());
        error.into()
    }
}

/// Checks the size of a group, and returns it: the bytes by which the file grows.
fn check_size(path: &Path, length: usize, records: &[Vec<u8>]) -> Result<usize, WalError> {
    let mut size = GROUP_OVERHEAD;
    for record in records {
        if record.len() > MAX_RECORD {
            return Err(WalError::RecordTooLarge { got: record.len() });
        }
        size += 4 + record.len();
    }
    match length + size > MAX_WAL {
        true => Err(WalError::Full { path: path.to_owned(), got: length + size }),
        false => Ok(size),
    }
}

fn unfinished_name(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".new");
    name.into()
}
