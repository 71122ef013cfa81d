//! A small database with group commit: all jobs that wait share one fsync.
//!
//! One thread commits. It applies every waiting job in one transaction, commits it, and only then answers the jobs.
//! While the disk syncs one group, the next one gathers, so groups grow with the load.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadTransaction, ReadableDatabase, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use crate::host::Host;
use crate::host::files::{Action, FileError};
use crate::host::tasks::Worker;

mod backend;
mod damage;
mod database_file;
mod error;
pub(crate) mod listing;
#[cfg(test)]
mod tests;

pub use damage::{Replaced, is_catching};
use database_file::DatabaseFile;
pub use error::DurableError;

/// Capacity of the queue of jobs. If it is full, callers wait.
const QUEUE: usize = 1024;
/// Maximum number of jobs in one transaction.
const GROUP: usize = 256;
/// Memory for cached and unwritten pages, in bytes. The library's default is 1 GiB.
const CACHE: usize = 16 << 20;

/// A database with group commit. Dropping it commits the jobs that wait and closes the file.
#[derive(Debug)]
pub struct Database {
    file: Arc<DatabaseFile>,
    /// `None` only while being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    commits: Arc<AtomicU64>,
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

    /// Opens the database at `path`, or creates it, and commits `prepare`, which creates the tables that reads expect.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn open_with(
        host: &Host,
        path: &Path,
        prepare: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, DurableError> {
        Self::open_with_cache(host, path, CACHE, prepare)
    }

    fn open_with_cache(
        host: &Host,
        path: &Path,
        cache: usize,
        prepare: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Self, DurableError> {
        let file = Arc::new(DatabaseFile::new(path, host.shared_disk(), cache));
        file.prepare(prepare)?;

        let (jobs, queue) = mpsc::channel(QUEUE);
        let commits = Arc::<AtomicU64>::default();
        let (committing, counter) = (file.clone(), commits.clone());
        let committer = host
            .spawn_worker("committer", queue, GROUP, move |group| commit_group(&committing, &counter, group))
            .map_err(|error| FileError::new(path, Action::Open, error))?;
        Ok(Self { file, jobs: Some(jobs), commits, committer: Some(committer) })
    }

    /// Applies changes, and returns the result of `apply` once they are durable. The job shares a transaction with others:
    /// if one of them fails, all do. The job is applied even if the caller stops waiting. Its result is not
    /// dropped before the commit has ended, so a guard in it covers the commit.
    ///
    /// # Errors
    /// See [`DurableError`]. Nothing is committed then.
    pub async fn commit<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, DurableError> {
        let always = |(), transaction: &WriteTransaction| Ok((apply(transaction)?, Changes::Made));
        match self.commit_checked(|| Ok::<_, Infallible>(()), always).await? {
            Ok(value) => Ok(value),
            Err(never) => match never {},
        }
    }

    /// Like [`commit`](Self::commit), for a job that may be refused, or find nothing to change.
    ///
    /// The committing thread calls `check` before it uses the database, and `apply` with its result. The first use of a closed
    /// database opens it, and creates its file if that is gone.
    ///
    /// A transaction in which no job changed anything is aborted: what the jobs found is already durable, and a commit would make
    /// each of them wait for a sync.
    ///
    /// # Errors
    /// See [`DurableError`]. Nothing is committed then. An error of `check` is the inner one.
    pub async fn commit_checked<C: Send + 'static, T: Send + 'static, E: Send + 'static>(
        &self,
        check: impl FnOnce() -> Result<C, E> + Send + 'static,
        apply: impl FnOnce(C, &WriteTransaction) -> Result<(T, Changes), redb::Error> + Send + 'static,
    ) -> Result<Result<T, E>, DurableError> {
        let closed = || DurableError::Closed { path: self.file.path.clone() };
        let (result, mut answered) = oneshot::channel();
        let (reply, committed) = oneshot::channel();
        // a send fails only if the caller has stopped waiting
        let begin = Box::new(move || match check() {
            Err(refusal) => Err(Box::new(move || drop(result.send(Err(refusal)))) as JobReply),
            Ok(checked) => Ok(Box::new(move |transaction: &WriteTransaction| {
                let (value, changes) = apply(checked, transaction)?;
                Ok((Box::new(move || drop(result.send(Ok(value)))) as JobReply, changes))
            }) as Apply),
        });
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(Job { begin, reply }).await.map_err(|_| closed())?;
        committed.await.map_err(|_| closed())??;
        answered.try_recv().map_err(|_| closed())
    }

    /// Applies changes in a transaction of their own, on the caller's thread, and returns the result of `apply` once they are durable.
    /// Blocks until the disk has synced.
    ///
    /// # Errors
    /// See [`DurableError`]. Nothing is committed then.
    pub fn commit_and_wait<T>(
        &self,
        apply: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, DurableError> {
        let always = |transaction: &WriteTransaction| Ok((apply(transaction)?, Changes::Made));
        let (committed, _) = self.file.transact(always)?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(committed)
    }

    /// Reads the last committed state. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, DurableError> {
        self.file.with(|database| read(&database.begin_read()?))
    }

    /// The path of its file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Whether the path still leads to the open file. A file that lost its name can still be read and written, but a restart
    /// does not find it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn is_in_place(&self) -> Result<bool, FileError> {
        self.file.is_in_place()
    }

    /// Whether storage has failed, so that every later commit is refused.
    pub fn is_broken(&self) -> bool {
        self.failure().is_some()
    }

    /// The failure after which every commit is refused.
    pub fn failure(&self) -> Option<String> {
        let is_gone = self.committer.as_ref().is_none_or(Worker::is_finished);
        self.file.fault().or_else(|| is_gone.then(|| "the committing thread ended".to_owned()))
    }

    /// Number of jobs in the queue.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.jobs.as_ref().map_or(0, |jobs| QUEUE - jobs.capacity())
    }

    /// Number of transactions committed since the database was opened. Each has a group of jobs.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
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

/// Whether a job changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// It did.
    Made,
    /// It found everything as it should be.
    None,
}

impl Changes {
    /// The changes of two jobs together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::None { other } else { self }
    }
}

/// Sends a job's result to its caller, once it is durable.
type JobReply = Box<dyn FnOnce() + Send>;

/// Makes a job's changes.
type Apply = Box<dyn FnOnce(&WriteTransaction) -> Result<(JobReply, Changes), redb::Error> + Send>;

struct Job {
    /// Returns the changes to make, or the answer if the job is refused.
    begin: Box<dyn FnOnce() -> Result<Apply, JobReply> + Send>,
    reply: oneshot::Sender<Result<(), DurableError>>,
}

/// Commits jobs in one transaction, and answers each of them only then.
fn commit_group(file: &DatabaseFile, commits: &AtomicU64, group: Vec<Job>) {
    let (mut applies, mut replies) = (Vec::new(), Vec::new());
    for Job { begin, reply } in group {
        match begin() {
            Ok(apply) => {
                applies.push(apply);
                replies.push(reply);
            }
            Err(refuse) => {
                refuse();
                let _ = reply.send(Ok(()));
            }
        }
    }
    if applies.is_empty() {
        return;
    }
    // The results are dropped after the commit, even if it fails.
    let mut answers: Vec<JobReply> = Vec::new();
    let outcome = file.transact(|transaction| {
        let mut all = Changes::None;
        for apply in applies {
            let (answer, changes) = apply(transaction)?;
            answers.push(answer);
            all = all.and(changes);
        }
        Ok(((), all))
    });
    if let Ok(((), changes)) = outcome {
        commits.fetch_add(u64::from(changes == Changes::Made), Ordering::Relaxed);
        answers.into_iter().for_each(|answer| answer());
    }
    let outcome = outcome.map(drop);
    for reply in replies {
        // fails only if the caller has stopped waiting
        let _ = reply.send(outcome.clone());
    }
}
