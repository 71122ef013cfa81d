//! The place of a replica's large blobs: set on the command line, and the same at every start.
//!
//! The data folder records the place's address, and the place records the replica's node key. So a replica does not start without its
//! blobs by mistake, and two replicas never share a place.

use std::path::{Path, PathBuf};

use thiserror::Error;
use vouch_core::link::NodeKey;

use crate::data_dir::{DataDir, DataDirError};
use crate::host::disk::Disk;
use crate::host::files::FileError;
use crate::host::objects::{Credentials, ObjectError, Objects, StoreUrl, StoreUrlError, Timeouts};
use crate::store::{BlobLocation, INDEX};

/// The file with the place's address, in the data folder.
const NAME: &str = "store";
/// The file with the owner's node key, in a place outside the data folder.
const OWNER: &str = "owner";
const MAX_SIZE: usize = 8 << 10;
const MODE: u32 = 0o600;

/// Why a place cannot be used.
#[derive(Debug, Error)]
pub enum BlobLocationError {
    /// The data folder records another place.
    #[error(
        "this replica keeps its blobs in {recorded}, not in {asked}; start it without --store, or copy the blobs and then change {}",
        .file.display()
    )]
    Moved {
        /// The recorded place.
        recorded: String,
        /// The requested place.
        asked: String,
        /// The file with the record.
        file: PathBuf,
    },
    /// The recorded address is malformed.
    #[error("{}: {error}", .file.display())]
    Recorded {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        error: StoreUrlError,
    },
    /// The place held the replica's blobs before and does not any more.
    #[error(
        "{place} is not where this replica keeps its blobs: its file `owner` is missing. Is the disk mounted? Mount it and start again. If the blobs are lost, move {} away: the replica then fetches them from the others",
        .index.display()
    )]
    Emptied {
        /// The folder, or the prefix.
        place: String,
        /// The index that names the missing blobs.
        index: PathBuf,
    },
    /// The place belongs to another replica.
    #[error("{} belongs to another replica, {owner:?}; give each replica a folder of its own with --store", .folder.display())]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// The other replica's node key.
        owner: String,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// The object store cannot be used.
    #[error(transparent)]
    Elsewhere(#[from] ObjectError),
    /// The disk failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Takes the place for a replica. The lock that is returned with a folder must be kept.
///
/// # Errors
/// See [`BlobLocationError`].
pub(super) fn take(
    disk: &dyn Disk,
    data: &Path,
    asked: Option<&StoreUrl>,
    credentials: &Credentials,
    owner: NodeKey,
) -> Result<(BlobLocation, Option<DataDir>), BlobLocationError> {
    let file = data.join(NAME);
    let recorded = recorded(disk, data, &file)?;
    let url = chosen(disk, asked, recorded.as_ref(), &file)?;
    let index = data.join(INDEX);
    // From now on, the place is known by its owner's key. If the key is missing later, it is another place, in which nothing may be created.
    let is_taken = disk.exists(&index)?;
    let emptied = |place: String| BlobLocationError::Emptied { place, index: index.clone() };
    let (url, place, lock) = match url {
        StoreUrl::Files(None) => (url, BlobLocation::Beside, None),
        StoreUrl::Files(Some(folder)) => {
            check_is_there(disk, &folder, is_taken.then_some(&index))?;
            let folder = DataDir::open(disk, &folder)?;
            check_owner(disk, folder.path(), owner)?;
            let path = folder.path().to_owned();
            (StoreUrl::Files(Some(path.clone())), BlobLocation::Folder(path), Some(folder))
        }
        StoreUrl::S3(ref s3) => {
            let opened = Objects::open(s3, credentials, &owner.to_string(), is_taken, Timeouts::default());
            let objects = opened.map_err(|error| match error {
                ObjectError::NotFound { .. } => emptied(url.to_string()),
                error => error.into(),
            })?;
            (url, BlobLocation::Elsewhere(objects), None)
        }
    };
    // Record the address before the first blob is stored. The endpoint may have changed since the last start.
    if recorded.as_ref() != Some(&url) {
        disk.write_durably(&file, format!("{url}\n").as_bytes(), MODE)?;
    }
    Ok((place, lock))
}

/// Where the replica of a data folder keeps its large blobs, or would keep them. Changes nothing. `data` need not exist.
///
/// # Errors
/// See [`BlobLocationError`]: it is another place than before, or the blobs are gone from it.
pub fn examine(
    disk: &dyn Disk,
    data: &Path,
    asked: Option<&StoreUrl>,
    credentials: &Credentials,
) -> Result<StoreUrl, BlobLocationError> {
    let file = data.join(NAME);
    let url = chosen(disk, asked, recorded(disk, data, &file)?.as_ref(), &file)?;
    let index = Some(data.join(INDEX)).filter(|index| matches!(disk.exists(index), Ok(true)));
    match &url {
        StoreUrl::Files(None) => {}
        StoreUrl::Files(Some(folder)) => check_is_there(disk, folder, index.as_ref())?,
        StoreUrl::S3(s3) => {
            let is_claimed = Objects::is_claimed(s3, credentials, Timeouts::default())?;
            if let Some(index) = index.filter(|_| !is_claimed) {
                return Err(BlobLocationError::Emptied { place: url.to_string(), index });
            }
        }
    }
    Ok(url)
}

/// The place that was asked for, which must be the recorded one, if there is one.
fn chosen(
    disk: &dyn Disk,
    asked: Option<&StoreUrl>,
    recorded: Option<&StoreUrl>,
    file: &Path,
) -> Result<StoreUrl, BlobLocationError> {
    let asked = asked.map(|url| from_the_root(disk, url)).transpose()?;
    match (asked, recorded) {
        (Some(asked), Some(recorded)) if !asked.is_same_place(recorded) => Err(BlobLocationError::Moved {
            recorded: recorded.to_string(),
            asked: asked.to_string(),
            file: file.to_owned(),
        }),
        (Some(asked), _) => Ok(asked),
        (None, Some(recorded)) => Ok(recorded.clone()),
        (None, None) => Ok(StoreUrl::default()),
    }
}

/// Checks that a folder still is the place of the blobs that an index names.
fn check_is_there(disk: &dyn Disk, folder: &Path, index: Option<&PathBuf>) -> Result<(), BlobLocationError> {
    match index {
        Some(index) if !disk.exists(&folder.join(OWNER))? => {
            Err(BlobLocationError::Emptied { place: folder.display().to_string(), index: index.clone() })
        }
        _ => Ok(()),
    }
}

/// Makes a path absolute: the next start may be from another folder.
fn from_the_root(disk: &dyn Disk, url: &StoreUrl) -> Result<StoreUrl, FileError> {
    match url {
        StoreUrl::Files(Some(folder)) if disk.exists(folder)? => Ok(StoreUrl::Files(Some(disk.absolute(folder)?))),
        url => Ok(url.clone()),
    }
}

fn recorded(disk: &dyn Disk, data: &Path, file: &Path) -> Result<Option<StoreUrl>, BlobLocationError> {
    let text = match disk.read_all(file, MAX_SIZE) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(FileError::NotFound { .. }) => {
            // An earlier release recorded no address: the blobs are beside the index.
            return Ok(disk.exists(&data.join(INDEX))?.then(StoreUrl::default));
        }
        Err(error) => return Err(error.into()),
    };
    let url = text.trim_end().parse().map_err(|error| BlobLocationError::Recorded { file: file.to_owned(), error })?;
    Ok(Some(url))
}

fn check_owner(disk: &dyn Disk, folder: &Path, owner: NodeKey) -> Result<(), BlobLocationError> {
    let file = folder.join(OWNER);
    let owner = owner.to_string();
    match disk.read_all(&file, MAX_SIZE) {
        Ok(found) if found == owner.as_bytes() => Ok(()),
        Ok(found) => {
            let owner = String::from_utf8_lossy(&found).into_owned();
            Err(BlobLocationError::Taken { folder: folder.to_owned(), owner })
        }
        Err(FileError::NotFound { .. }) => Ok(disk.create_new_durably(&file, owner.as_bytes(), MODE)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::disk::SystemDisk;

    fn key(byte: u8) -> NodeKey {
        NodeKey([byte; 32])
    }

    fn take_files(
        data: &Path,
        asked: Option<&str>,
        owner: NodeKey,
    ) -> Result<(BlobLocation, Option<DataDir>), BlobLocationError> {
        let asked = asked.map(|asked| asked.parse().unwrap());
        take(&SystemDisk, data, asked.as_ref(), &Credentials::default(), owner)
    }

    #[test]
    fn a_replica_finds_its_blobs_in_the_recorded_place_only() {
        let root = tempfile::tempdir().unwrap();
        let (data, blobs) = (root.path().join("data"), root.path().join("blobs"));
        std::fs::create_dir(&data).unwrap();
        let asked = format!("file:{}", blobs.display());
        assert!(matches!(take_files(&data, Some(&asked), key(1)), Ok((BlobLocation::Folder(_), Some(_)))));
        let again = take_files(&data, None, key(1)).unwrap();
        assert!(matches!(&again.0, BlobLocation::Folder(folder) if *folder == blobs.canonicalize().unwrap()));
        drop(again);
        let beside = format!("file:{}/../blobs", data.display());
        drop(take_files(&data, Some(&beside), key(1)).unwrap());
        for other in ["file:", "file:elsewhere", "s3://bucket/prefix"] {
            let error = take_files(&data, Some(other), key(1)).unwrap_err();
            assert!(matches!(&error, BlobLocationError::Moved { .. }), "{error}");
            assert!(error.to_string().contains(&format!("not in {other}")), "{error}");
        }
        assert!(!root.path().join("elsewhere").exists());
        std::fs::write(data.join(NAME), "blobs").unwrap();
        let error = take_files(&data, None, key(1)).unwrap_err();
        assert!(matches!(&error, BlobLocationError::Recorded { error: StoreUrlError::Scheme, .. }), "{error}");
    }

    #[test]
    fn an_earlier_release_kept_blobs_beside_the_index() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(INDEX), "").unwrap();
        let error = take_files(data.path(), Some("s3://bucket/prefix"), key(1)).unwrap_err();
        assert!(matches!(error, BlobLocationError::Moved { .. }), "{error}");
        assert!(matches!(take_files(data.path(), None, key(1)), Ok((BlobLocation::Beside, None))));
        assert!(matches!(take_files(data.path(), Some("file:"), key(1)), Ok((BlobLocation::Beside, None))));
    }

    #[test]
    fn a_folder_without_the_owner_file_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let (data, blobs) = (root.path().join("data"), root.path().join("blobs"));
        std::fs::create_dir(&data).unwrap();
        let asked = format!("file:{}", blobs.display());
        // Without an index, an interrupted first start is completed.
        drop(take_files(&data, Some(&asked), key(1)).unwrap());
        std::fs::remove_file(blobs.join(OWNER)).unwrap();
        drop(take_files(&data, None, key(1)).unwrap());
        std::fs::write(data.join(INDEX), "").unwrap();
        drop(take_files(&data, None, key(1)).unwrap());
        for is_there in [true, false] {
            std::fs::remove_dir_all(&blobs).unwrap();
            if is_there {
                std::fs::create_dir(&blobs).unwrap();
            }
            for asked in [None, Some(&*asked)] {
                let error = take_files(&data, asked, key(1)).unwrap_err();
                assert!(matches!(&error, BlobLocationError::Emptied { .. }), "{error}");
                assert!(error.to_string().contains("Is the disk mounted?"), "{error}");
            }
            assert_eq!(blobs.exists(), is_there);
            assert!(!blobs.join(OWNER).exists() && !blobs.join("lock").exists(), "nothing is created in it");
            std::fs::create_dir_all(&blobs).unwrap();
        }
        std::fs::write(blobs.join(OWNER), key(1).to_string()).unwrap();
        drop(take_files(&data, None, key(1)).unwrap());
    }

    #[test]
    fn a_folder_belongs_to_one_replica() {
        let root = tempfile::tempdir().unwrap();
        let asked = format!("file:{}", root.path().join("blobs").display());
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for data in [&one, &two] {
            std::fs::create_dir(data).unwrap();
        }
        let first = take_files(&one, Some(&asked), key(1)).unwrap();
        let error = take_files(&two, Some(&asked), key(2)).unwrap_err();
        assert!(matches!(error, BlobLocationError::Folder(DataDirError::InUse { .. })), "{error}");
        drop(first);
        let error = take_files(&two, Some(&asked), key(2)).unwrap_err();
        assert!(matches!(&error, BlobLocationError::Taken { owner, .. } if *owner == key(1).to_string()), "{error}");
        // A refused place is not recorded.
        assert!(matches!(take_files(&two, None, key(2)), Ok((BlobLocation::Beside, None))));
    }
}
