//! A small database whose commits are shared: all who wait at one time pay for one sync together.
//!
//! One thread commits. It takes every waiting job into one transaction, commits it, and answers each job only then.
//! While the disk syncs one group, the next one gathers, so groups grow with the load by themselves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::bugs::{self, Bug};
use crate::host::Host;
use crate::host::disk::{Disk, FileIdentity};
use crate::host::files::{self, Action, FileError, is_full};
use crate::host::tasks::Worker;

mod backend;
mod damage;
pub(crate) mod listing;
#[cfg(test)]
mod tests;

use backend::{Fault, Watched};
pub use damage::{Replaced, is_catching};
use damage::{caught, is_damage, suspect_mark};

/// Memory for pages read or about to be written, in bytes. The library's own default is 1 GiB.
const CACHE: usize = 16 << 20;
/// Jobs that wait; whoever comes then waits to be let in.
const WAITING: usize = 1024;
/// Jobs in one transaction.
const GROUP: usize = 256;

/// Why something was not read or not made durable. Cheap to clone: one failed commit has many to tell.
#[derive(Debug, Clone, Error)]
pub enum DurableError {
    /// The disk is full. Nothing was committed; later commits succeed when there is space again.
    #[error("no space left for {path}")]
    NoSpace {
        /// The database.
        path: PathBuf,
    },
    /// Another process has the database open.
    #[error("{path} is in use by another process")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The file could not be opened or created.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is there, but it is not a database that this version can use.
    #[error("cannot use {path}: {cause}")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// The library's error.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// The file's bytes are not what was written to it.
    #[error("{path} is damaged: {cause}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong, in the library's words.
        cause: String,
    },
    /// A job of the group was refused. Nothing was committed, and later commits are not affected.
    #[error("{path}: {cause}")]
    Refused {
        /// The database.
        path: PathBuf,
        /// The library's error.
        #[source]
        cause: Arc<redb::Error>,
    },
    /// Storage failed, now or before. What is on the disk is not known any more, so no later commit is tried.
    #[error("{path} failed and takes no more: {cause}")]
    Broken {
        /// The database.
        path: PathBuf,
        /// The first failure, in the system's words.
        cause: String,
    },
    /// The committing thread is gone.
    #[error("{path} is closed")]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

/// A database file with group commit. Dropping it finishes the commits that wait and closes the file.
#[derive(Debug)]
pub struct Database {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    committer: Option<Worker>,
}

impl Database {
    /// Opens the database at `path`, or creates it.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn open(host: &Host, path: &Path) -> Result<Self, DurableError> {
        Self::open_with(host, path, |_| Ok(()))
    }

    /// Opens the database at `path`, or creates it, and commits `prepare`: tables created there are found by reading.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn open_with(
        host: &Host,
        path: &Path,
        prepare: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, DurableError> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            disk: host.shared_disk(),
            database: RwLock::new(None),
            opened: Mutex::new(None),
            fault: Fault::default(),
            is_damaged: AtomicBool::new(false),
            commits: AtomicU64::new(0),
        });
        shared.create_if_missing()?;
        shared.check_if_suspect()?;
        let prepared = shared.with(|database| transact(database, prepare));
        prepared.map_err(|error| match error {
            DurableError::Broken { path, cause } if shared.is_damaged.load(Ordering::Relaxed) => {
                DurableError::Damaged { path, cause }
            }
            error => error,
        })?;

        let (jobs, waiting) = mpsc::channel(WAITING);
        let committing = shared.clone();
        let committer = host
            .spawn_worker("committer", waiting, GROUP, move |group| committing.commit_group(group))
            .map_err(|error| FileError::new(path, Action::Open, error))?;
        Ok(Self { shared, jobs: Some(jobs), committer: Some(committer) })
    }

    /// Applies changes and returns what `apply` returned once they are durable. It shares a transaction with others:
    /// when one of them is refused, all fail. It is applied even if the caller stops waiting; what it returned is not
    /// dropped before the commit is over, so a guard in it covers the commit.
    ///
    /// # Errors
    /// See [`DurableError`]; nothing is committed then.
    pub async fn commit<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, DurableError> {
        let closed = || DurableError::Closed { path: self.shared.path.clone() };
        let (result, mut applied) = oneshot::channel();
        let (reply, committed) = oneshot::channel();
        let apply = Box::new(move |transaction: &WriteTransaction| {
            let value = apply(transaction)?;
            // fails only when nobody waits for the answer any more
            Ok(Box::new(move || drop(result.send(value))) as Answer)
        });
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(Job { apply, reply }).await.map_err(|_| closed())?;
        committed.await.map_err(|_| closed())??;
        applied.try_recv().map_err(|_| closed())
    }

    /// Applies changes in a transaction of their own, on the thread of the caller, and returns what `apply` returned once they are durable.
    /// Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// See [`DurableError`]; nothing is committed then.
    pub fn commit_and_wait<T>(
        &self,
        apply: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, DurableError> {
        let committed = self.shared.with(|database| transact(database, apply))?;
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        Ok(committed)
    }

    /// Reads what was committed last. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, DurableError> {
        self.shared.with(|database| read(&database.begin_read()?))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Whether the path leads to the file that is open. One whose name is gone can still be read and written, but not
    /// found again.
    ///
    /// # Errors
    /// The disk.
    pub fn is_in_place(&self) -> Result<bool, FileError> {
        let opened = *self.shared.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match (opened, self.shared.disk.identity(&self.shared.path)) {
            // it is opened by the next use
            (None, Ok(_)) => Ok(true),
            (Some(opened), Ok(found)) => Ok(found.is_same_place(&opened)),
            (_, Err(FileError::NotFound { .. })) => Ok(false),
            (_, Err(error)) => Err(error),
        }
    }

    /// Whether storage failed so that no commit will succeed any more.
    pub fn is_broken(&self) -> bool {
        self.failure().is_some()
    }

    /// Why no commit will succeed any more, if storage failed so.
    pub fn failure(&self) -> Option<String> {
        let is_gone = self.committer.as_ref().is_none_or(Worker::is_finished);
        self.shared.fault.get().or_else(|| is_gone.then(|| "the committing thread ended".to_owned()))
    }

    /// The transactions committed since it was opened, each for a group of jobs.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(committer) = self.committer.take() {
            committer.join();
        }
    }
}

/// Hands over what a job returned, once it is durable.
type Answer = Box<dyn FnOnce() + Send>;

struct Job {
    #[expect(clippy::type_complexity, reason = "it is named nowhere else")]
    apply: Box<dyn FnOnce(&WriteTransaction) -> Result<Answer, redb::Error> + Send>,
    reply: oneshot::Sender<Result<(), DurableError>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    /// `None` before the first use, and after a full disk until the next use: the library refuses everything after a
    /// failed write and asks to be opened again.
    database: RwLock<Option<redb::Database>>,
    /// The file that it is open on.
    opened: Mutex<Option<FileIdentity>>,
    fault: Fault,
    /// The fault is that its bytes are wrong.
    is_damaged: AtomicBool,
    commits: AtomicU64,
}

impl Shared {
    /// Commits jobs in one transaction, and answers each of them only then.
    fn commit_group(&self, group: Vec<Job>) {
        let (applies, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.apply, job.reply)).unzip();
        // outlives the commit, whatever becomes of it
        let mut answers: Vec<Answer> = Vec::new();
        let outcome = self.with(|database| {
            transact(database, |transaction| {
                applies.into_iter().try_for_each(|apply| {
                    answers.push(apply(transaction)?);
                    Ok(())
                })
            })
        });
        if outcome.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
            answers.into_iter().for_each(|answer| answer());
        }
        for reply in replies {
            // fails only when nobody waits for the answer any more
            let _ = reply.send(outcome.clone());
        }
    }

    /// Uses the database, opened again if need be, and sorts out what a failure means for later uses.
    fn with<T>(&self, run: impl FnOnce(&redb::Database) -> Result<T, redb::Error>) -> Result<T, DurableError> {
        if let Some(cause) = self.fault.get() {
            return Err(DurableError::Broken { path: self.path.clone(), cause });
        }
        loop {
            let current = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = current.as_ref() {
                let outcome = caught(|| run(database));
                drop(current);
                return match outcome {
                    Ok(outcome) => outcome.map_err(|error| self.failed(error)),
                    Err(panic) => Err(self.damaged(&panic)),
                };
            }
            drop(current);
            let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if current.is_none() {
                let database = self.open_database(&self.path)?;
                // without it, nobody could tell later whether the path still leads to the open file: then it is not used
                let opened = self.disk.identity(&self.path)?;
                *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                *current = Some(database);
            }
        }
    }

    fn failed(&self, error: redb::Error) -> DurableError {
        let path = self.path.clone();
        if let Some(cause) = self.fault.get() {
            return DurableError::Broken { path, cause };
        }
        if is_damage(&error) {
            return self.damaged(&error);
        }
        match &error {
            // nothing but a full disk came before: anything else would have been noted
            redb::Error::PreviousIo => {}
            redb::Error::Io(error) if is_full(error) => {}
            redb::Error::Io(_)
            | redb::Error::Corrupted(_)
            | redb::Error::LockPoisoned(_)
            | redb::Error::DatabaseClosed => {
                return DurableError::Broken { path, cause: self.fault.note(&error) };
            }
            _ => {
                return DurableError::Refused { path, cause: Arc::new(error) };
            }
        }
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        DurableError::NoSpace { path }
    }

    /// Notes that the bytes are wrong. The next start checks all of them.
    fn damaged(&self, cause: &impl std::fmt::Display) -> DurableError {
        self.is_damaged.store(true, Ordering::Relaxed);
        // without the mark, the damage is met again
        if let Ok(mut mark) = self.disk.create(&suspect_mark(&self.path), 0o600) {
            let _ = mark.sync();
        }
        DurableError::Broken { path: self.path.clone(), cause: self.fault.note(cause) }
    }

    /// Reads a database in which damage was met before, as a whole.
    fn check_if_suspect(&self) -> Result<(), DurableError> {
        let mark = suspect_mark(&self.path);
        if !self.disk.exists(&mark)? {
            return Ok(());
        }
        let mut database = self.open_database(&self.path)?;
        let checked = caught(|| database.check_integrity().map_err(redb::Error::from));
        // closing it may fail for the same reason
        let closed = caught(move || drop(database));
        let cause = match (checked, closed) {
            (Ok(Ok(true)), Ok(())) => return Ok(self.disk.remove(&mark)?),
            (Ok(Err(error)), _) if !is_damage(&error) => return Err(self.failed(error)),
            (Ok(Err(error)), _) => error.to_string(),
            (Err(panic), _) | (_, Err(panic)) => panic,
            (Ok(Ok(false)), _) => "its pages do not have the hashes that they should".to_owned(),
        };
        Err(DurableError::Damaged { path: self.path.clone(), cause })
    }

    /// A new database gets its name when it is complete: the library refuses for ever a file whose creation was cut
    /// short by a full disk or a loss of power.
    fn create_if_missing(&self) -> Result<(), DurableError> {
        if self.disk.exists(&self.path)? {
            return Ok(());
        }
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let unfinished = PathBuf::from(name);
        if self.disk.exists(&unfinished)? {
            self.disk.remove(&unfinished)?;
        }
        drop(self.open_database(&unfinished)?);
        self.disk.rename(&unfinished, &self.path)?;
        self.disk.sync_folder(files::parent(&self.path))?;
        Ok(())
    }

    fn open_database(&self, at: &Path) -> Result<redb::Database, DurableError> {
        let backend = Watched::new(self.disk.open_database(at)?, self.fault.clone());
        let damaged = |cause| DurableError::Damaged { path: at.to_owned(), cause };
        let opened = caught(|| redb::Builder::new().set_cache_size(CACHE).create_with_backend(backend));
        opened.map_err(damaged)?.map_err(|error| {
            let path = at.to_owned();
            match redb::Error::from(error) {
                error if is_damage(&error) => damaged(error.to_string()),
                redb::Error::DatabaseAlreadyOpen => DurableError::InUse { path },
                redb::Error::Io(error) if is_full(&error) && self.fault.get().is_none() => {
                    DurableError::NoSpace { path }
                }
                error => {
                    self.fault.note(&error);
                    DurableError::Unusable { path, cause: Arc::new(error) }
                }
            }
        })
    }
}

/// One transaction, durable when it returns.
fn transact<T>(
    database: &redb::Database,
    apply: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let mut transaction = database.begin_write()?;
    let is_synced = !bugs::has(Bug::CommitWithoutSync);
    transaction.set_durability(if is_synced { Durability::Immediate } else { Durability::None })?;
    match apply(&transaction) {
        Ok(result) => {
            transaction.commit()?;
            Ok(result)
        }
        Err(error) => {
            // the first error tells more than one of undoing
            let _ = transaction.abort();
            Err(error)
        }
    }
}
