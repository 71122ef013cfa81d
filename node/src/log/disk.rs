//! Performs the log's writes: a thread that takes all waiting requests, writes them in their order, and shares one sync between
//! appends, and one transaction between commits, that follow each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;
use tokio::sync::mpsc;
use vouch_core::limits::MAX_BLOCK;

use super::block_store::{AppliedState, BlockStore, BlockStoreError, NewBlock, NewState};
use super::wal_file::{TornTail, WalContent, WalError, WalFile};
use super::{LogOwner, unused};
use crate::durable::Replaced;
use crate::host::Host;
use crate::host::files::{Action, FileError, parent};
use crate::host::tasks::Worker;

/// The write-ahead log in the data folder.
pub const WAL: &str = "log.wal";
/// The decided blocks in the data folder.
pub const BLOCKS: &str = "log.redb";

/// Maximum number of requests that are not answered yet, with their completions that were not received.
const OUTSTANDING: usize = 4096;
/// Maximum size in bytes of the requests that wait: the write-ahead log has no room for more.
const WAITING_BYTES: usize = super::wal_file::MAX_WAL;
/// Maximum number of requests that are written at once.
const GROUP: usize = 256;

/// A write. Requests are performed in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRequest {
    /// Append records to the write-ahead log.
    Append {
        /// Names the write in its completion.
        write: u64,
        /// The records.
        records: Vec<Vec<u8>>,
    },
    /// Store decided blocks and the state after the last one, in one transaction.
    Commit {
        /// Names the write in its completion.
        write: u64,
        /// The blocks, consecutive.
        blocks: Vec<NewBlock>,
        /// The encoded state.
        state: Vec<u8>,
    },
    /// Store a state in place of all blocks, in one transaction.
    Install {
        /// Names the write in its completion.
        write: u64,
        /// The state.
        state: Box<NewState>,
    },
    /// Replace the write-ahead log by one with these records, in one step. Only a failure is reported.
    ///
    /// Necessary before the first append if the write-ahead log was not found whole: see [`WalFound`].
    Reset {
        /// The records.
        records: Vec<Vec<u8>>,
    },
}

impl LogRequest {
    fn write(&self) -> Option<u64> {
        match self {
            Self::Append { write, .. } | Self::Commit { write, .. } | Self::Install { write, .. } => Some(*write),
            Self::Reset { .. } => None,
        }
    }

    fn size(&self) -> usize {
        let all = |records: &[Vec<u8>]| records.iter().map(|record| 4 + record.len()).sum();
        match self {
            Self::Append { records, .. } | Self::Reset { records } => all(records),
            Self::Install { state, .. } => state.state.len(),
            Self::Commit { blocks, state, .. } => {
                let of_block = |new: &NewBlock| MAX_BLOCK + new.effects.len() + new.certificate.len();
                state.len() + blocks.iter().map(of_block).sum::<usize>()
            }
        }
    }
}

/// The end of a write. Completions come in the order of the requests.
#[derive(Debug, Clone)]
pub enum LogCompletion {
    /// The write is durable, as are all before it.
    Written(u64),
    /// A write failed. What of it is on the disk is unknown, and no later one succeeds.
    Failed {
        /// The write; `None` for a reset.
        write: Option<u64>,
        /// Why.
        error: LogDiskError,
    },
}

/// Why a write failed.
#[derive(Debug, Clone, Error)]
pub enum LogDiskError {
    /// The write-ahead log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The decided blocks.
    #[error(transparent)]
    Blocks(#[from] BlockStoreError),
    /// A file of the data folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no write-ahead log to append to: it was not found whole, and was not reset.
    #[error("log: expected a reset of the write-ahead log before the first append")]
    NotReset,
    /// Too much waits for the disk.
    #[error("log: expected at most {OUTSTANDING} writes and {WAITING_BYTES} bytes that wait for the disk, got more")]
    Overloaded,
    /// An earlier write failed.
    #[error("log: no more writes after a failure: {cause}")]
    Stopped {
        /// The first failure.
        cause: String,
    },
}

/// What was found of the write-ahead log at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalFound {
    /// The log was never used here: this member has signed nothing.
    Fresh,
    /// It is whole.
    Records {
        /// The records, in order.
        records: Vec<Vec<u8>>,
        /// A last append that was cut off and had not been acknowledged.
        torn: Option<TornTail>,
    },
    /// What this member has signed is not known. This is found at every start until a reset.
    Lost(WalLoss),
}

/// Why it is not known what this member has signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WalLoss {
    /// The file is gone.
    #[error("{path} is missing")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged before its end.
    #[error("{path} is damaged at offset {offset}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// The database of decided blocks is new, but the log was used before.
    #[error("{path} was lost with the decided blocks")]
    BlocksMissing {
        /// The database.
        path: PathBuf,
    },
    /// The database of decided blocks is older than the write-ahead log.
    #[error("{path}: expected blocks up to height {expected}, got {got}")]
    BlocksBehind {
        /// The database.
        path: PathBuf,
        /// The least height that it must have.
        expected: u64,
        /// The height that it has.
        got: u64,
    },
}

/// The log's files as they were found.
#[derive(Debug)]
pub struct OpenedLog {
    /// Takes the writes.
    pub disk: LogDisk,
    /// The ends of the writes.
    pub completions: mpsc::Receiver<LogCompletion>,
    /// The state after the last decided block.
    pub applied: Option<AppliedState>,
    /// What this member had written before it signed.
    pub wal: WalFound,
    /// A damaged database that was moved aside.
    pub replaced: Option<Replaced>,
}

/// The log's files. Dropping it performs the writes that wait.
#[derive(Debug)]
pub struct LogDisk {
    blocks: Arc<BlockStore>,
    /// `None` only while being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    completions: mpsc::Sender<LogCompletion>,
    waiting: Arc<AtomicUsize>,
    worker: Option<Worker>,
}

impl LogDisk {
    /// Opens the log's files in a data folder, or creates them. Files that are missing were lost, unless the folder has the mark of a log
    /// that was never used ([`unused`]).
    ///
    /// # Errors
    /// The disk fails, or the files are of another owner or version. A lost or damaged write-ahead log is no error: see [`WalFound`].
    pub fn open(host: &Host, folder: &Path, owner: LogOwner) -> Result<OpenedLog, LogDiskError> {
        let Found { performer, applied, wal, replaced } = Performer::open(host, folder, owner)?;
        let blocks = performer.blocks.clone();
        let waiting = performer.waiting.clone();
        let (jobs, queue) = mpsc::channel(OUTSTANDING);
        let (completions, completed) = mpsc::channel(OUTSTANDING);
        let mut performer = performer;
        let worker = host
            .spawn_worker("log disk", queue, GROUP, move |jobs| performer.perform(jobs))
            .map_err(|error| FileError::new(folder, Action::Open, error))?;
        let disk = Self { blocks, jobs: Some(jobs), completions, waiting, worker: Some(worker) };
        Ok(OpenedLog { disk, completions: completed, applied, wal, replaced })
    }

    /// Requests a write. Does not wait.
    ///
    /// # Errors
    /// [`LogDiskError::Overloaded`]: the write is not performed. The caller must not request a later one.
    pub fn request(&self, request: LogRequest) -> Result<(), LogDiskError> {
        let size = request.size();
        // The completion has its place from the start, so that the thread never waits for the receiver.
        let place = self.completions.clone().try_reserve_owned().map_err(|_| LogDiskError::Overloaded)?;
        let waiting = self.waiting.fetch_add(size, Ordering::Relaxed);
        let job = Job { request, size, place };
        let sent = match &self.jobs {
            Some(jobs) if waiting <= WAITING_BYTES => jobs.try_send(job).is_ok(),
            _ => false,
        };
        if !sent {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            return Err(LogDiskError::Overloaded);
        }
        Ok(())
    }

    /// The decided blocks, to read.
    pub fn blocks(&self) -> &Arc<BlockStore> {
        &self.blocks
    }
}

impl Drop for LogDisk {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            worker.join();
        }
    }
}

struct Job {
    request: LogRequest,
    size: usize,
    place: mpsc::OwnedPermit<LogCompletion>,
}

/// What opening found.
pub(super) struct Found {
    pub(super) performer: Performer,
    pub(super) applied: Option<AppliedState>,
    pub(super) wal: WalFound,
    pub(super) replaced: Option<Replaced>,
}

/// Writes, on the thread that it is on.
#[derive(Debug)]
pub(super) struct Performer {
    host: Host,
    path: PathBuf,
    owner: LogOwner,
    pub(super) blocks: Arc<BlockStore>,
    /// `None` until the first reset, if the file was not found whole.
    wal: Option<WalFile>,
    waiting: Arc<AtomicUsize>,
    /// The first failure.
    failure: Option<String>,
}

impl Performer {
    pub(super) fn open(host: &Host, folder: &Path, owner: LogOwner) -> Result<Found, LogDiskError> {
        let path = folder.join(WAL);
        let database = folder.join(BLOCKS);
        // The database is created first. One that is new beside a write-ahead log replaces one that was lost.
        let is_unused = unused::is_marked(host.disk(), folder, &owner.node_key)?;
        let has_history = !is_unused || host.disk().exists(&path)?;
        let (blocks, replaced) = BlockStore::open(host, &database, owner, has_history)?;
        // The database is durable, and remembers from now on that nothing was signed yet.
        if is_unused {
            unused::remove(host.disk(), folder)?;
        }
        let applied = blocks.applied()?;
        let (wal, found) = match WalFile::open(host, &path, owner) {
            Err(WalError::Missing { .. }) if !blocks.has_wal()? && !blocks.has_lost_blocks()? => {
                (None, WalFound::Fresh)
            }
            Err(WalError::Missing { path }) => (None, WalFound::Lost(WalLoss::Missing { path })),
            Err(WalError::Damaged { path, offset, .. }) => (None, WalFound::Lost(WalLoss::Damaged { path, offset })),
            Err(error) => return Err(error.into()),
            Ok(_) if blocks.has_lost_blocks()? => (None, WalFound::Lost(WalLoss::BlocksMissing { path: database })),
            Ok((_, WalContent { base, .. })) if base > blocks.height() => {
                let (expected, got) = (base, blocks.height());
                (None, WalFound::Lost(WalLoss::BlocksBehind { path: database, expected, got }))
            }
            Ok((wal, WalContent { records, torn, .. })) => {
                // A crash may have come between the file and the mark.
                if !blocks.has_wal()? {
                    blocks.wal_made()?;
                }
                (Some(wal), WalFound::Records { records, torn })
            }
        };
        let blocks = Arc::new(blocks);
        let performer = Self { host: host.clone(), path, owner, blocks, wal, waiting: Arc::default(), failure: None };
        Ok(Found { performer, applied, wal: found, replaced })
    }

    /// Performs requests in their order, and completes each.
    fn perform(&mut self, jobs: Vec<Job>) {
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let (mut requests, mut places) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(Job { request, size, place }) = next {
                self.waiting.fetch_sub(size, Ordering::Relaxed);
                places.push((request.write(), place));
                requests.push(request);
                next = jobs.next_if(|next| shares_a_write(&requests[0], &next.request));
            }
            let outcome = self.write(requests);
            for (write, place) in places {
                match (&outcome, write) {
                    (Ok(()), Some(write)) => drop(place.send(LogCompletion::Written(write))),
                    (Ok(()), None) => drop(place),
                    (Err(error), write) => {
                        drop(place.send(LogCompletion::Failed { write, error: error.clone() }));
                    }
                }
            }
        }
    }

    /// Performs requests that share a write. After a failure, none succeeds: the caller cannot know what the disk has.
    pub(super) fn write(&mut self, requests: Vec<LogRequest>) -> Result<(), LogDiskError> {
        if let Some(cause) = &self.failure {
            return Err(LogDiskError::Stopped { cause: cause.clone() });
        }
        self.try_write(requests).inspect_err(|error| self.failure = Some(error.to_string()))
    }

    fn try_write(&mut self, requests: Vec<LogRequest>) -> Result<(), LogDiskError> {
        let (mut appended, mut decided, mut last_state) = (Vec::new(), Vec::new(), Vec::new());
        for request in requests {
            match request {
                LogRequest::Append { records, .. } => appended.extend(records),
                LogRequest::Commit { blocks, state, .. } => {
                    // A state belongs to a block.
                    if !blocks.is_empty() {
                        last_state = state;
                    }
                    decided.extend(blocks);
                }
                LogRequest::Install { state, .. } => self.blocks.install(&state)?,
                LogRequest::Reset { records } => self.reset(&records)?,
            }
        }
        if !appended.is_empty() {
            self.wal.as_mut().ok_or(LogDiskError::NotReset)?.append(&appended)?;
        }
        Ok(self.blocks.commit(&decided, &last_state)?)
    }

    fn reset(&mut self, records: &[Vec<u8>]) -> Result<(), LogDiskError> {
        let base = self.blocks.height();
        if let Some(wal) = &mut self.wal {
            return Ok(wal.reset(base, records)?);
        }
        self.move_aside()?;
        let wal = WalFile::create(&self.host, &self.path, self.owner, base, records)?;
        // After the file: a mark without a file would read as a loss.
        self.blocks.wal_made()?;
        self.wal = Some(wal);
        Ok(())
    }

    /// Keeps a file that cannot be used, for inspection.
    fn move_aside(&self) -> Result<(), LogDiskError> {
        let disk = self.host.disk();
        if !disk.exists(&self.path)? {
            return Ok(());
        }
        let aside = self.path.with_file_name(format!("{WAL}.damaged-{}", self.host.unix_seconds()));
        disk.rename(&self.path, &aside)?;
        Ok(disk.sync_folder(parent(&self.path))?)
    }
}

fn shares_a_write(first: &LogRequest, next: &LogRequest) -> bool {
    matches!(
        (first, next),
        (LogRequest::Append { .. }, LogRequest::Append { .. }) | (LogRequest::Commit { .. }, LogRequest::Commit { .. })
    )
}
