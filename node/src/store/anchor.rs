//! Ties an index to the folder or prefix of its blobs: both hold the same random id.
//!
//! Without the id, a replica whose disk is not mounted would take an empty folder for its own, and vote for blobs
//! that it does not have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;
use super::blobs::BlobStore;
use super::index::{INDEX, Index};
use crate::host::Host;
use crate::host::disk::{Disk, FileIdentity};
use crate::host::files::FileError;
use crate::host::objects::Objects;

/// Name of the file or object with the id, beside the blobs: 32 hexadecimal digits.
pub(super) const STORE_ID: &str = "store-id";
const DIGITS: usize = 32;
const FILE_MODE: u32 = 0o600;

/// The identities of the files that a store was opened on.
#[derive(Debug)]
pub(super) struct Anchor {
    disk: Arc<dyn Disk>,
    /// Each file with its identity when the store was opened. The index checks its own file.
    held: Vec<(PathBuf, FileIdentity)>,
}

impl Anchor {
    /// Compares the ids of index and blobs. If the index has none, takes that of the blobs; if both have none, creates one.
    ///
    /// # Errors
    /// [`StoreError::AnotherFolder`] if the ids differ, or only the index has one.
    pub(super) fn settle(host: &Host, blobs: &BlobStore, index: &Index) -> Result<Self, StoreError> {
        let disk = host.shared_disk();
        let at = IdLocation::of(&disk, blobs);
        let (own, found) = (index.store_id()?, at.read()?);
        match (&own, &found) {
            (Some(own), found) if found.as_ref() != Some(own) => return Err(another(at.place(), index)),
            (Some(_), _) => {}
            // the index is of a release without ids, or was created again
            (None, Some(found)) => index.set_store_id(found)?,
            (None, None) => {
                let id = base16ct::lower::encode_string(&host.random::<{ DIGITS / 2 }>());
                at.write(&id)?;
                index.set_store_id(&id)?;
            }
        }
        let held = match &at {
            IdLocation::Folder(_, path) => vec![(path.clone(), disk.identity(path)?)],
            IdLocation::Objects(_) => Vec::new(),
        };
        Ok(Self { disk: disk.clone(), held })
    }

    /// Checks that the paths still lead to the opened files.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] otherwise.
    pub(super) fn check(&self, index: &Index) -> Result<(), StoreError> {
        let displaced = |path: &Path| StoreError::Displaced { path: path.to_owned() };
        if !index.0.is_in_place()? {
            return Err(displaced(index.0.path()));
        }
        for (path, opened) in &self.held {
            match self.disk.identity(path) {
                Ok(found) if found.is_same_place(opened) => {}
                Ok(_) | Err(FileError::NotFound { .. }) => return Err(displaced(path)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Checks that a folder has the subfolders of a store, before anything is created in it.
///
/// # Errors
/// [`StoreError::AnotherFolder`].
pub(super) fn check_folder(disk: &dyn Disk, blobs: &Path, index: &Index) -> Result<(), StoreError> {
    // the subfolders are created before the index
    let is_store = disk.exists(&blobs.join("00"))?;
    if is_store { Ok(()) } else { Err(another(blobs.to_owned(), index)) }
}

fn another(place: PathBuf, index: &Index) -> StoreError {
    let index = index.0.path().to_owned();
    debug_assert!(index.ends_with(INDEX));
    StoreError::AnotherFolder { place, index }
}

/// The place of the blobs' id.
enum IdLocation<'a> {
    Folder(&'a Arc<dyn Disk>, PathBuf),
    Objects(&'a Objects),
}

impl<'a> IdLocation<'a> {
    fn of(disk: &'a Arc<dyn Disk>, blobs: &'a BlobStore) -> Self {
        match blobs {
            BlobStore::Files(files) => Self::Folder(disk, files.folder().join(STORE_ID)),
            BlobStore::Remote(remote) => Self::Objects(remote.objects()),
        }
    }

    fn place(&self) -> PathBuf {
        match self {
            Self::Folder(_, path) => crate::host::files::parent(path).to_owned(),
            Self::Objects(objects) => objects.location("").into(),
        }
    }

    fn read(&self) -> Result<Option<String>, StoreError> {
        let mut digits = [0; DIGITS];
        match self {
            Self::Folder(disk, path) => match disk.open(path) {
                Ok(file) => file.read_at(0, &mut digits)?,
                Err(FileError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
            Self::Objects(objects) => match objects.length(STORE_ID).map_err(FileError::from)? {
                Some(_) => {
                    let found =
                        objects.get(STORE_ID, 0, u32::try_from(DIGITS).unwrap_or(u32::MAX)).map_err(FileError::from)?;
                    digits.copy_from_slice(&found);
                }
                None => return Ok(None),
            },
        }
        Ok(Some(String::from_utf8_lossy(&digits).into_owned()))
    }

    /// Durably, whole or not at all.
    fn write(&self, id: &str) -> Result<(), StoreError> {
        match self {
            Self::Folder(disk, path) => {
                let unfinished = path.with_extension("new");
                if disk.exists(&unfinished)? {
                    disk.remove(&unfinished)?;
                }
                let mut file = disk.create(&unfinished, FILE_MODE)?;
                file.append(id.as_bytes())?;
                file.sync()?;
                disk.rename(&unfinished, path)?;
                disk.sync_folder(crate::host::files::parent(path))?;
            }
            Self::Objects(objects) => {
                let bytes = id.as_bytes();
                let copy = |offset: u64, buffer: &mut [u8]| {
                    let from = usize::try_from(offset).unwrap_or(bytes.len());
                    if let Some(piece) = bytes.get(from..from.saturating_add(buffer.len())) {
                        buffer.copy_from_slice(piece);
                    }
                    Ok::<_, FileError>(())
                };
                objects.put(STORE_ID, bytes.len() as u64, copy)?;
            }
        }
        Ok(())
    }
}
