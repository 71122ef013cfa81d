//! The place of large blobs: each has its bytes and its outboard, both named by the digest.
//!
//! A blob is always assembled in a `partial` folder of this machine, as a [`Spool`], and handed over when it is complete. So an
//! object store needs only these operations, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vouch_core::digest::Digest;
use vouch_core::tree::Parent;

use super::verified::Version;
use crate::bugs::{self, Bug};
use crate::host::disk::{Disk, DiskFile};
use crate::host::files::FileError;

mod remote;

use remote::RemoteBlob;
pub(super) use remote::RemoteBlobs;

pub(super) const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Suffix of outboards: BLAKE3's tree in post-order, in groups of 16 KiB, without a length header.
pub(super) const OUTBOARD: &str = ".obao";

/// The configured place of large blobs.
#[derive(Debug)]
pub(super) enum BlobStore {
    /// Plain files.
    Files(FileBlobs),
    /// Objects in an object store.
    Remote(RemoteBlobs),
}

impl BlobStore {
    /// Makes a blob durable under its digest. Replaces an earlier copy. A failed sync is final.
    pub(super) fn finish(&self, spool: &mut Spool, digest: &Digest) -> Result<(), FileError> {
        match self {
            Self::Files(files) => files.finish(spool, digest),
            Self::Remote(remote) => remote.finish(spool, digest),
        }
    }

    /// Opens a blob of this length. If it is in files, it stays readable after its removal.
    pub(super) fn open(&self, digest: &Digest, length: u64) -> Result<OpenBlob, FileError> {
        match self {
            Self::Files(files) => files.open(digest),
            Self::Remote(remote) => Ok(OpenBlob::Remote(remote.open(digest, length))),
        }
    }

    /// The version of a blob that exists now. `None` if its bytes or its outboard are missing.
    pub(super) fn version(&self, digest: &Digest) -> Result<Option<Version>, FileError> {
        match self {
            Self::Files(files) => files.version(digest),
            Self::Remote(remote) => remote.version(digest),
        }
    }

    /// Removes a blob's bytes and outboard, as far as they exist.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), FileError> {
        match self {
            Self::Files(files) => files.remove(digest),
            Self::Remote(remote) => remote.remove(digest),
        }
    }

    /// The blobs, complete or not, whose digest begins with this byte.
    pub(super) fn list(&self, first: u8) -> Result<Vec<Digest>, FileError> {
        match self {
            Self::Files(files) => files.list(first),
            Self::Remote(remote) => remote.list(first),
        }
    }
}

/// The folder of a store's spools.
#[derive(Debug)]
pub(super) struct Spools {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Number of the next spool. Numbers start at 0 again in each process, because opening the store empties the folder.
    next: AtomicU64,
}

impl Spools {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self { disk, folder, next: AtomicU64::new(0) }
    }

    /// Creates a spool with an unused name.
    pub(super) fn create(&self) -> Result<Spool, FileError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = |suffix| self.folder.join(format!("{number}{suffix}"));
        Spool::create_at(&self.disk, (name(""), name(OUTBOARD)))
    }
}

/// A blob that is being received: two files without a final name. They are removed when this is dropped, unless they got their
/// names or are kept.
#[derive(Debug)]
pub(super) struct Spool {
    data: SpoolFile,
    outboard: SpoolFile,
}

impl Spool {
    /// Opens two existing files to append after their first bytes. They are kept when this is dropped.
    pub(super) fn reopen(
        disk: &Arc<dyn Disk>,
        paths: (PathBuf, PathBuf),
        (data, outboard): (u64, u64),
    ) -> Result<Self, FileError> {
        let open = |path: PathBuf, length| {
            let file = disk.reopen(&path, length)?;
            Ok::<_, FileError>(SpoolFile { file, disk: disk.clone(), path, length, is_kept: true })
        };
        Ok(Self { data: open(paths.0, data)?, outboard: open(paths.1, outboard)? })
    }

    /// Creates two files with these names, which must be unused.
    pub(super) fn create_at(disk: &Arc<dyn Disk>, (data, outboard): (PathBuf, PathBuf)) -> Result<Self, FileError> {
        Ok(Self { data: SpoolFile::create(disk, data)?, outboard: SpoolFile::create(disk, outboard)? })
    }

    /// Sets whether the files are kept when this is dropped.
    pub(super) fn set_kept(&mut self, is_kept: bool) {
        (self.data.is_kept, self.outboard.is_kept) = (is_kept, is_kept);
    }

    /// Makes the bytes so far durable. A failed sync is final.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        self.data.file.sync()?;
        self.outboard.file.sync()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.data.append(bytes)
    }

    pub(super) fn write_outboard(&mut self, parents: &[u8]) -> Result<(), FileError> {
        self.outboard.append(parents)
    }
}

#[derive(Debug)]
struct SpoolFile {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    length: u64,
    is_kept: bool,
}

impl SpoolFile {
    fn create(disk: &Arc<dyn Disk>, path: PathBuf) -> Result<Self, FileError> {
        Ok(Self { file: disk.create(&path, FILE_MODE)?, disk: disk.clone(), path, length: 0, is_kept: false })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.length += bytes.len() as u64;
        self.file.append(bytes)
    }

    fn rename(&mut self, to: &Path) -> Result<(), FileError> {
        self.disk.rename(&self.path, to)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if !self.is_kept {
            // ignore a failure: opening the store empties the folder
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// A blob that is open for reading.
#[derive(Debug)]
pub(super) enum OpenBlob {
    /// Two files.
    Files { data: Box<dyn DiskFile>, outboard: Box<dyn DiskFile> },
    /// Two objects.
    Remote(RemoteBlob),
}

impl OpenBlob {
    /// Reads bytes, unverified.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        match self {
            Self::Files { data, .. } => data.read_at(offset, buffer),
            Self::Remote(blob) => blob.read(offset, buffer),
        }
    }

    /// Reads the parent at an offset of the outboard, unverified.
    pub(super) fn parent(&self, offset: u64) -> Result<Parent, FileError> {
        let mut parent = Parent([0; Parent::SIZE]);
        self.read_outboard(offset, &mut parent.0)?;
        Ok(parent)
    }

    /// Reads bytes of the outboard, unverified.
    pub(super) fn read_outboard(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        match self {
            Self::Files { outboard, .. } => outboard.read_at(offset, buffer),
            Self::Remote(blob) => blob.read_outboard(offset, buffer),
        }
    }
}

/// Blobs in the files `ab/abcd…` and `ab/abcd….obao` of a folder.
#[derive(Debug)]
pub(super) struct FileBlobs {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl FileBlobs {
    /// Creates the 256 subfolders, so that a put never has to.
    pub(super) fn create(disk: Arc<dyn Disk>, folder: PathBuf) -> Result<Self, FileError> {
        let mut folders = vec![folder.clone()];
        folders.extend((0..=u8::MAX).map(|first| folder.join(format!("{first:02x}"))));
        disk.create_folders(&folders, FOLDER_MODE)?;
        Ok(Self { disk, folder })
    }

    /// The folder with the 256 subfolders.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn version(&self, digest: &Digest) -> Result<Option<Version>, FileError> {
        let identity = |path: PathBuf| match self.disk.identity(&path) {
            Ok(identity) => Ok(Some(identity)),
            Err(FileError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        let (data, outboard) = (identity(self.path_of(digest))?, identity(self.outboard_of(digest))?);
        Ok(data.zip(outboard).map(|(data, outboard)| Version::Files { data, outboard }))
    }

    pub(super) fn path_of(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_hex();
        self.folder.join(&name[..2]).join(name)
    }

    pub(super) fn outboard_of(&self, digest: &Digest) -> PathBuf {
        self.path_of(digest).with_extension(&OUTBOARD[1..])
    }

    fn finish(&self, spool: &mut Spool, digest: &Digest) -> Result<(), FileError> {
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
        self.disk.sync_folder(crate::host::files::parent(&path))
    }

    fn open(&self, digest: &Digest) -> Result<OpenBlob, FileError> {
        let data = self.disk.open(&self.path_of(digest))?;
        Ok(OpenBlob::Files { data, outboard: self.disk.open(&self.outboard_of(digest))? })
    }

    fn remove(&self, digest: &Digest) -> Result<(), FileError> {
        for path in [self.path_of(digest), self.outboard_of(digest)] {
            match self.disk.remove(&path) {
                // missing after an interrupted removal
                Ok(()) | Err(FileError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn list(&self, first: u8) -> Result<Vec<Digest>, FileError> {
        let names = self.disk.list(&self.folder.join(format!("{first:02x}")))?;
        let mut digests: Vec<Digest> = names.iter().filter_map(|name| digest_of(name.to_str()?)).collect();
        digests.dedup();
        Ok(digests)
    }
}

/// The digest in the name of a file or object. `None` if the name is not one of this store.
fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(OUTBOARD).unwrap_or(name);
    hex.parse::<Digest>().ok().filter(|digest| digest.to_hex() == hex)
}
