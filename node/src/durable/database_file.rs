//! The database's file: opened when it is used, opened again after a full disk, and refused after a failure of storage.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Durability, WriteTransaction};

use super::backend::{FaultRecorder, RecordedFault};
use super::damage::{caught, is_damage, suspect_mark};
use super::{Changes, DurableError};
use crate::bugs::{self, Bug};
use crate::host::disk::{Disk, FileIdentity};
use crate::host::files::{self, FileError, is_full};

/// A database file. It is opened again after a full disk. After any other failure, every use is refused.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    pub(super) path: PathBuf,
    disk: Arc<dyn Disk>,
    /// Memory for cached and unwritten pages, in bytes.
    cache: usize,
    /// `None` before the first use, and after a full disk until the next use: after a failed write, the library refuses
    /// everything until the file is opened again.
    database: RwLock<Option<redb::Database>>,
    /// The identity of the open file.
    opened: Mutex<Option<FileIdentity>>,
    fault: RecordedFault,
    /// The recorded fault is damage: wrong bytes in the file.
    is_damaged: AtomicBool,
}

impl DatabaseFile {
    pub(super) fn new(path: &Path, disk: Arc<dyn Disk>, cache: usize) -> Self {
        Self {
            path: path.to_owned(),
            disk,
            cache,
            database: RwLock::new(None),
            opened: Mutex::new(None),
            fault: RecordedFault::default(),
            is_damaged: AtomicBool::new(false),
        }
    }

    /// Creates the database if it is missing, checks it if damage was met before, and commits `prepare`.
    pub(super) fn prepare(
        &self,
        prepare: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), DurableError> {
        self.create_if_missing()?;
        self.check_if_suspect()?;
        let always = |transaction: &WriteTransaction| Ok((prepare(transaction)?, Changes::Made));
        self.transact(always).map(drop).map_err(|error| match error {
            DurableError::Broken { path, cause } if self.is_damaged.load(Ordering::Relaxed) => {
                DurableError::Damaged { path, cause }
            }
            error => error,
        })
    }

    /// The failure after which nothing is committed any more.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.get()
    }

    /// See [`Database::is_in_place`](super::Database::is_in_place).
    pub(super) fn is_in_place(&self) -> Result<bool, FileError> {
        let opened = *self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        match (opened, self.disk.identity(&self.path)) {
            // the next use opens it
            (None, Ok(_)) => Ok(true),
            (Some(opened), Ok(found)) => Ok(found.is_same_place(&opened)),
            (_, Err(FileError::NotFound { .. })) => Ok(false),
            (_, Err(error)) => Err(error),
        }
    }

    /// Runs one transaction, which is durable when this returns. If it changed nothing, it is aborted.
    pub(super) fn transact<T>(
        &self,
        apply: impl FnOnce(&WriteTransaction) -> Result<(T, Changes), redb::Error>,
    ) -> Result<(T, Changes), DurableError> {
        self.with(|database| transact(database, apply))
    }

    /// Uses the database. Opens it if necessary, and decides what a failure means for later uses.
    pub(super) fn with<T>(
        &self,
        run: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, DurableError> {
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
                // Without the identity, nobody could tell later whether the path still leads to the open file.
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
            // The earlier failure was a full disk: any other would have been recorded.
            redb::Error::PreviousIo => {}
            redb::Error::Io(error) if is_full(error) => {}
            redb::Error::Io(_)
            | redb::Error::Corrupted(_)
            | redb::Error::LockPoisoned(_)
            | redb::Error::DatabaseClosed => {
                return DurableError::Broken { path, cause: self.fault.record(&error) };
            }
            _ => {
                return DurableError::Refused { path, cause: Arc::new(error) };
            }
        }
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        DurableError::NoSpace { path }
    }

    /// Records damage, and marks the file so that the next start checks all of it.
    fn damaged(&self, cause: &impl std::fmt::Display) -> DurableError {
        self.is_damaged.store(true, Ordering::Relaxed);
        // Without the mark, the damage is found again when it is read.
        if let Ok(mut mark) = self.disk.create(&suspect_mark(&self.path), 0o600) {
            let _ = mark.sync();
        }
        DurableError::Broken { path: self.path.clone(), cause: self.fault.record(cause) }
    }

    /// Checks a whole database in which damage was met before.
    fn check_if_suspect(&self) -> Result<(), DurableError> {
        let mark = suspect_mark(&self.path);
        if !self.disk.exists(&mark)? {
            return Ok(());
        }
        let mut database = self.open_database(&self.path)?;
        let checked = caught(|| database.check_integrity().map_err(redb::Error::from));
        // Closing may fail for the same reason.
        let closed = caught(move || drop(database));
        let cause = match (checked, closed) {
            (Ok(Ok(true)), Ok(())) => return Ok(self.disk.remove(&mark)?),
            (Ok(Err(error)), _) if !is_damage(&error) => return Err(self.failed(error)),
            (Ok(Err(error)), _) => error.to_string(),
            (Err(panic), _) | (_, Err(panic)) => panic,
            (Ok(Ok(false)), _) => "pages with wrong checksums".to_owned(),
        };
        Err(DurableError::Damaged { path: self.path.clone(), cause })
    }

    /// Creates a database under another name and renames it once it is complete: the library permanently refuses a file whose
    /// creation was interrupted by a full disk or a loss of power.
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
        let backend = FaultRecorder::new(self.disk.open_database(at)?, self.fault.clone());
        let damaged = |cause| DurableError::Damaged { path: at.to_owned(), cause };
        let opened = caught(|| redb::Builder::new().set_cache_size(self.cache).create_with_backend(backend));
        opened.map_err(damaged)?.map_err(|error| {
            let path = at.to_owned();
            match redb::Error::from(error) {
                error if is_damage(&error) => damaged(error.to_string()),
                redb::Error::DatabaseAlreadyOpen => DurableError::InUse { path },
                redb::Error::Io(error) if is_full(&error) && self.fault.get().is_none() => {
                    DurableError::NoSpace { path }
                }
                error => {
                    self.fault.record(&error);
                    DurableError::Unusable { path, cause: Arc::new(error) }
                }
            }
        })
    }
}

fn transact<T>(
    database: &redb::Database,
    apply: impl FnOnce(&WriteTransaction) -> Result<(T, Changes), redb::Error>,
) -> Result<(T, Changes), redb::Error> {
    let mut transaction = database.begin_write()?;
    let is_synced = !bugs::has(Bug::CommitWithoutSync);
    transaction.set_durability(if is_synced { Durability::Immediate } else { Durability::None })?;
    match apply(&transaction) {
        Ok((result, Changes::Made)) => {
            transaction.commit()?;
            Ok((result, Changes::Made))
        }
        Ok((result, Changes::None)) => {
            transaction.abort()?;
            Ok((result, Changes::None))
        }
        Err(error) => {
            // the first error matters more than a failure to undo
            let _ = transaction.abort();
            Err(error)
        }
    }
}
