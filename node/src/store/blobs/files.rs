//! Large blobs as files of this machine: `ab/abcd…` and `ab/abcd….obao`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use vouch_core::digest::Digest;

use super::naming::{FOLDER_MODE, OUTBOARD, digest_of};
use super::open_blob::OpenBlob;
use super::spool::Spool;
use crate::bugs::{self, Bug};
use crate::host::disk::Disk;
use crate::host::files::{self, FileError};
use crate::store::verified::Version;

/// Blobs in the files `ab/abcd…` and `ab/abcd….obao` of a folder.
#[derive(Debug)]
pub(in super::super) struct FileBlobs {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl FileBlobs {
    /// Creates the 256 subfolders, so that a put never has to.
    pub(in super::super) fn create(disk: Arc<dyn Disk>, folder: PathBuf) -> Result<Self, FileError> {
        let mut folders = vec![folder.clone()];
        folders.extend((0..=u8::MAX).map(|first| folder.join(format!("{first:02x}"))));
        disk.create_folders(&folders, FOLDER_MODE)?;
        Ok(Self { disk, folder })
    }

    /// The folder with the 256 subfolders.
    pub(in super::super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn version(&self, digest: &Digest) -> Result<Option<Version>, FileError> {
        let identity = |path: PathBuf| match self.disk.identity(&path) {
            Ok(identity) => Ok(Some(identity)),
            Err(FileError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let (data, outboard) = (identity(self.path_of(digest))?, identity(self.outboard_of(digest))?);
        Ok(data.zip(outboard).map(|(data, outboard)| Version::Files { data, outboard }))
    }

    pub(in super::super) fn path_of(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_hex();
        self.folder.join(&name[..2]).join(name)
    }

    pub(in super::super) fn outboard_of(&self, digest: &Digest) -> PathBuf {
        self.path_of(digest).with_extension(&OUTBOARD[1..])
    }

    pub(super) fn finish(&self, spool: &mut Spool, digest: &Digest) -> Result<(), FileError> {
        if !bugs::has(Bug::BlobWithoutSync) {
            spool.sync()?;
        }
        // Replace existing files: these bytes were just verified, those may have decayed.
        let path = self.path_of(digest);
        spool.outboard.rename(&self.outboard_of(digest))?;
        spool.data.rename(&path)?;
        if bugs::has(Bug::FolderWithoutSync) {
            return Ok(());
        }
        self.disk.sync_folder(files::parent(&path))
    }

    pub(super) fn open(&self, digest: &Digest) -> Result<OpenBlob, FileError> {
        let data = self.disk.open(&self.path_of(digest))?;
        Ok(OpenBlob::Files { data, outboard: self.disk.open(&self.outboard_of(digest))? })
    }

    pub(super) fn remove(&self, digest: &Digest) -> Result<(), FileError> {
        for path in [self.path_of(digest), self.outboard_of(digest)] {
            match self.disk.remove(&path) {
                // missing after an interrupted removal
                Ok(()) | Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn list(&self, first: u8) -> Result<Vec<Digest>, FileError> {
        let names = self.disk.list(&self.folder.join(format!("{first:02x}")))?;
        let mut digests: Vec<Digest> = names.iter().filter_map(|name| digest_of(name.to_str()?)).collect();
        digests.dedup();
        Ok(digests)
    }
}
