//! A node's data folder. One process at a time uses it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::host::disk::{Disk, DiskLock};
use crate::host::files::FileError;

/// Maximum number of replicas in one folder: the size of the largest committee.
pub const MAX_REPLICAS: usize = 1000;

const LOCK: &str = "lock";
const REPLICA: &str = "replica-";
/// Only the owner may enter: the folder holds keys.
const MODE: u32 = 0o700;

/// Why a data folder cannot be used.
#[derive(Debug, Clone, Error)]
pub enum DataDirError {
    /// Another process uses it.
    #[error("{path} is in use by another process; name another folder with --data")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// All replicas in a folder are running.
    #[error(
        "{root}: expected at most {MAX_REPLICAS} replicas, all of them are in use; name another folder with --data"
    )]
    TooMany {
        /// The folder with the replicas' data folders.
        root: PathBuf,
    },
    /// The folder could not be created, read or locked.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A data folder, locked against other processes until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: DiskLock,
}

impl DataDir {
    /// Locks a folder. Creates it if it does not exist.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] if another process has locked it; see [`DataDirError`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, DataDirError> {
        Self::try_open(disk, path)?.ok_or_else(|| DataDirError::InUse { path: path.to_owned() })
    }

    /// Locks the first of the folders `replica-1`, `replica-2`, … in `root` that no process uses. If all are in use,
    /// creates the next one.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn take_replica(disk: &dyn Disk, root: &Path) -> Result<Self, DataDirError> {
        disk.create_folder_durably(root, MODE)?;
        // Another process may lock a folder first. Each lost round means one more locked folder, so there are at most
        // as many rounds as folders.
        for _ in 0..=MAX_REPLICAS {
            let mut numbers: Vec<usize> =
                disk.list(root)?.iter().filter_map(|name| replica_number(name.as_os_str())).collect();
            numbers.sort_unstable();
            for number in &numbers {
                if let Some(taken) = Self::try_open(disk, &replica(root, *number))? {
                    return Ok(taken);
                }
            }
            let next = numbers.last().map_or(1, |last| last + 1);
            if next > MAX_REPLICAS {
                break;
            }
            if let Some(taken) = Self::try_open(disk, &replica(root, next))? {
                return Ok(taken);
            }
        }
        Err(DataDirError::TooMany { root: root.to_owned() })
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    fn try_open(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, DataDirError> {
        disk.create_folder_durably(path, MODE)?;
        let path = disk.absolute(path)?;
        let lock = disk.lock(&path.join(LOCK))?;
        Ok(lock.map(|lock| Self { path, _lock: lock }))
    }
}

/// The folders `replica-N` in a folder, by number. None if that folder does not exist.
///
/// # Errors
/// See [`FileError`].
pub fn replicas(disk: &dyn Disk, root: &Path) -> Result<Vec<PathBuf>, FileError> {
    let names = match disk.list(root) {
        Err(FileError::NotFound { .. }) => return Ok(Vec::new()),
        names => names?,
    };
    let mut numbers: Vec<usize> = names.iter().filter_map(|name| replica_number(name.as_os_str())).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| replica(root, number)).collect())
}

fn replica(root: &Path, number: usize) -> PathBuf {
    root.join(format!("{REPLICA}{number}"))
}

/// The number in a replica's folder name. `None` for any other name, such as `replica-07`.
fn replica_number(name: &OsStr) -> Option<usize> {
    let number = name.to_str()?.strip_prefix(REPLICA)?.parse().ok()?;
    let canonical = name == OsStr::new(&format!("{REPLICA}{number}"));
    (canonical && (1..=MAX_REPLICAS).contains(&number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::SystemDisk;

    #[test]
    fn one_process_at_a_time_uses_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = DataDir::open(&SystemDisk, &path).unwrap();
        assert_eq!(first.name(), "b");
        let error = DataDir::open(&SystemDisk, &path).unwrap_err();
        assert!(matches!(&error, DataDirError::InUse { path: got } if *got == path));
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && text.contains("--data"), "{text}");
        drop(first);
        DataDir::open(&SystemDisk, &path).unwrap();
    }

    #[test]
    fn only_the_owner_can_enter_the_folder() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(&SystemDisk, &root.path().join("data")).unwrap();
        let mode = std::fs::metadata(data.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_replica_takes_the_first_free_folder_or_a_new_one() {
        let root = tempfile::tempdir().unwrap();
        let take = || DataDir::take_replica(&SystemDisk, root.path()).unwrap();
        let (one, two) = (take(), take());
        assert_eq!((one.name().as_str(), two.name().as_str()), ("replica-1", "replica-2"));
        drop(one);
        let again = take();
        assert_eq!(again.name(), "replica-1");
        // folders are ordered by number, not by name
        let ten = DataDir::open(&SystemDisk, &root.path().join("replica-10")).unwrap();
        assert_eq!(take().name(), "replica-11");
        drop(ten);
        drop(two);
        assert_eq!(take().name(), "replica-2");
    }

    #[test]
    fn folders_with_other_names_are_ignored() {
        let root = tempfile::tempdir().unwrap();
        for name in ["replica-07", "replica-0", "replica-1001", "replica-x", "replica-", "server"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        assert_eq!(DataDir::take_replica(&SystemDisk, root.path()).unwrap().name(), "replica-1");
    }

    #[test]
    fn the_number_of_replicas_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        let last = DataDir::open(&SystemDisk, &root.path().join("replica-1000")).unwrap();
        let error = DataDir::take_replica(&SystemDisk, root.path()).unwrap_err();
        assert!(matches!(error, DataDirError::TooMany { .. }), "{error}");
        drop(last);
        assert_eq!(DataDir::take_replica(&SystemDisk, root.path()).unwrap().name(), "replica-1000");
    }

    #[test]
    fn simultaneous_replicas_take_different_folders() {
        let root = tempfile::tempdir().unwrap();
        let taken: Vec<DataDir> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..16).map(|_| scope.spawn(|| DataDir::take_replica(&SystemDisk, root.path()).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut names: Vec<String> = taken.iter().map(DataDir::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 16);
    }

    #[test]
    fn an_error_names_a_file_in_place_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        std::fs::write(&path, "").unwrap();
        let error = DataDir::open(&SystemDisk, &path).unwrap_err();
        assert!(matches!(error, DataDirError::File(FileError::Exists { path: got }) if got == path));
    }
}
