//! Damaged databases: detected without a panic, and moved aside.
//!
//! The content of these databases can be recovered: a replica's blobs from the other replicas, a server's certificates from all
//! replicas. So a damaged database is kept under another name for inspection, and an empty one replaces it.

use std::cell::Cell;
use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::WriteTransaction;

use super::{CACHE, Database, DurableError};
use crate::host::Host;
use crate::host::files;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is caught and reported as damage. The panic hook must not print it.
pub fn is_catching() -> bool {
    CATCHING.get()
}

/// Runs the library on bytes that may be damaged. It panics on some.
///
/// # Errors
/// The panic's message.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let before = CATCHING.replace(true);
    // No state that a panic leaves behind is used again.
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "unreadable pages".into())
    })
}

/// Whether an error means wrong bytes. A failure to read is not damage: it says nothing about the bytes.
pub(super) fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        _ => false,
    }
}

/// The file that marks a database in which damage was met. The next start checks the whole database.
pub(super) fn suspect_mark(path: &Path) -> PathBuf {
    with_suffix(path, ".suspect")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// A damaged database that was replaced by an empty one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The database.
    pub path: PathBuf,
    /// Where the damaged one was moved.
    pub aside: PathBuf,
    /// The damage.
    pub cause: String,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, aside, cause } = self;
        write!(
            f,
            "{} is damaged ({cause}); it was moved to {} and replaced by an empty one",
            path.display(),
            aside.display()
        )
    }
}

impl Database {
    /// Opens or creates a database like [`open_with`](Self::open_with). A damaged one is moved aside, to a name with the time, and an
    /// empty one is created.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn open_or_replace(
        host: &Host,
        path: &Path,
        prepare: impl Fn(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(Self, Option<Replaced>), DurableError> {
        Self::open_or_replace_with_cache(host, path, CACHE, prepare)
    }

    /// Like [`open_or_replace`](Self::open_or_replace), with a cache of this many bytes.
    ///
    /// # Errors
    /// See [`DurableError`].
    pub fn open_or_replace_with_cache(
        host: &Host,
        path: &Path,
        cache: usize,
        prepare: impl Fn(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(Self, Option<Replaced>), DurableError> {
        let (disk, now) = (host.disk(), host.unix_seconds());
        let cause = match Self::open_with_cache(host, path, cache, &prepare) {
            Err(DurableError::Damaged { cause, .. }) => cause,
            opened => return opened.map(|database| (database, None)),
        };
        let aside = (now..).map(|time| with_suffix(path, &format!(".damaged-{time}")));
        let aside = aside.map(|aside| (disk.exists(&aside), aside)).find(|(exists, _)| !matches!(exists, Ok(true)));
        let aside = aside.map_or_else(|| with_suffix(path, ".damaged"), |(_, aside)| aside);
        disk.rename(path, &aside)?;
        let mark = suspect_mark(path);
        if disk.exists(&mark)? {
            disk.remove(&mark)?;
        }
        disk.sync_folder(files::parent(path))?;
        let database = Self::open_with_cache(host, path, cache, prepare)?;
        Ok((database, Some(Replaced { path: path.to_owned(), aside, cause })))
    }
}
