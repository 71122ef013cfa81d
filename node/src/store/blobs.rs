//! Where large blobs lie: bytes, and beside them the outboard, both by digest.
//!
//! A blob always comes together in a `partial` folder of this machine, as a [`Spool`], and is handed over whole. So a
//! store elsewhere needs no more than these operations either.

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
/// BLAKE3's outboard in post-order, of groups of 16 KiB, without the length in front.
pub(super) const OUTBOARD: &str = ".obao";

/// The backends, as the configuration chooses.
#[derive(Debug)]
pub(super) enum BlobStore {
    /// Plain files.
    Files(FileBlobs),
    /// Objects in a store elsewhere.
    Remote(RemoteBlobs),
}

impl BlobStore {
    /// Makes a blob durable under its digest, in place of any that is there. A failed sync is final.
    pub(super) fn finish(&self, spool: &mut Spool, digest: &Digest) -> Result<(), FileError> {
        match self {
            Self::Files(files) => files.finish(spool, digest),
            Self::Remote(remote) => remote.finish(spool, digest),
        }
    }

    /// Opens a blob of this length. In files, it stays readable when it is removed meanwhile.
    pub(super) fn open(&self, digest: &Digest, length: u64) -> Result<Opened, FileError> {
        match self {
            Self::Files(files) => files.open(digest),
            Self::Remote(remote) => Ok(Opened::Remote(remote.open(digest, length))),
        }
    }

    /// Which version of a blob there is now; `None` when a part of it is missing.
    pub(super) fn version(&self, digest: &Digest) -> Result<Option<Version>, FileError> {
        match self {
            Self::Files(files) => files.version(digest),
            Self::Remote(remote) => remote.version(digest),
        }
    }

    /// Removes what there is of a blob.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), FileError> {
        match self {
            Self::Files(files) => files.remove(digest),
            Self::Remote(remote) => remote.remove(digest),
        }
    }

    /// The blobs, whole or not, whose digest begins with this byte.
    pub(super) fn list(&self, first: u8) -> Result<Vec<Digest>, FileError> {
        match self {
            Self::Files(files) => files.list(first),
            Self::Remote(remote) => remote.list(first),
        }
    }
}

/// A blob on its way in: two files without a final name, removed when dropped before they get one, unless they are kept.
#[derive(Debug)]
pub(super) struct Spool {
    data: Partial,
    outboard: Partial,
}

impl Spool {
    pub(super) fn create(disk: &Arc<dyn Disk>, partial: &Path) -> Result<Self, FileError> {
        // no such name is left when the store is opened
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::create_at(disk, (partial.join(number.to_string()), partial.join(format!("{number}{OUTBOARD}"))))
    }

    /// Two files of which the first so many bytes are there; they are kept.
    pub(super) fn reopen(
        disk: &Arc<dyn Disk>,
        paths: (PathBuf, PathBuf),
        (data, outboard): (u64, u64),
    ) -> Result<Self, FileError> {
        let open = |path: PathBuf, length| {
            let file = disk.reopen(&path, length)?;
            Ok::<_, FileError>(Partial { file, disk: disk.clone(), path, length, stays: true })
        };
        Ok(Self { data: open(paths.0, data)?, outboard: open(paths.1, outboard)? })
    }

    /// Two files of these names, which are free.
    pub(super) fn create_at(disk: &Arc<dyn Disk>, (data, outboard): (PathBuf, PathBuf)) -> Result<Self, FileError> {
        Ok(Self { data: Partial::create(disk, data)?, outboard: Partial::create(disk, outboard)? })
    }

    /// Whether the files stay when this is dropped.
    pub(super) fn stay(&mut self, stays: bool) {
        (self.data.stays, self.outboard.stays) = (stays, stays);
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
struct Partial {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    length: u64,
    stays: bool,
}

impl Partial {
    fn create(disk: &Arc<dyn Disk>, path: PathBuf) -> Result<Self, FileError> {
        Ok(Self { file: disk.create(&path, FILE_MODE)?, disk: disk.clone(), path, length: 0, stays: false })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.length += bytes.len() as u64;
        self.file.append(bytes)
    }

    fn rename(&mut self, to: &Path) -> Result<(), FileError> {
        self.disk.rename(&self.path, to)?;
        self.stays = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.stays {
            // nothing can be done about a failure here; the store empties its folder when it opens
            let _ = self.disk.remove(&self.path);
        }
    }
}

/// A blob open for reading.
#[derive(Debug)]
pub(super) enum Opened {
    /// Two files.
    Files { data: Box<dyn DiskFile>, outboard: Box<dyn DiskFile> },
    /// Two objects.
    Remote(RemoteBlob),
}

impl Opened {
    /// Bytes as the disk gives them.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        match self {
            Self::Files { data, .. } => data.read_at(offset, buffer),
            Self::Remote(blob) => blob.read(offset, buffer),
        }
    }

    /// The parent at an offset of the outboard, as the disk gives it.
    pub(super) fn parent(&self, offset: u64) -> Result<Parent, FileError> {
        let mut parent = Parent([0; Parent::SIZE]);
        self.read_outboard(offset, &mut parent.0)?;
        Ok(parent)
    }

    /// Bytes of the outboard, as the disk gives them.
    pub(super) fn read_outboard(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        match self {
            Self::Files { outboard, .. } => outboard.read_at(offset, buffer),
            Self::Remote(blob) => blob.read_outboard(offset, buffer),
        }
    }
}

/// `ab/abcd…` and `ab/abcd….obao` in a folder.
#[derive(Debug)]
pub(super) struct FileBlobs {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl FileBlobs {
    /// The 256 folders are made here, so that a put never has to.
    pub(super) fn create(disk: Arc<dyn Disk>, folder: PathBuf) -> Result<Self, FileError> {
        let mut folders = vec![folder.clone()];
        folders.extend((0..=u8::MAX).map(|first| folder.join(format!("{first:02x}"))));
        disk.create_folders(&folders, FOLDER_MODE)?;
        Ok(Self { disk, folder })
    }

    /// The folder that the 256 are in.
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
        // files that have the names are replaced: these bytes were just compared, those may have decayed
        let path = self.path_of(digest);
        spool.outboard.rename(&self.outboard_of(digest))?;
        spool.data.rename(&path)?;
        if bugs::has(Bug::FolderWithoutSync) {
            return Ok(());
        }
        self.disk.sync_folder(crate::host::files::parent(&path))
    }

    fn open(&self, digest: &Digest) -> Result<Opened, FileError> {
        let data = self.disk.open(&self.path_of(digest))?;
        Ok(Opened::Files { data, outboard: self.disk.open(&self.outboard_of(digest))? })
    }

    fn remove(&self, digest: &Digest) -> Result<(), FileError> {
        for path in [self.path_of(digest), self.outboard_of(digest)] {
            match self.disk.remove(&path) {
                // by an earlier removal that was interrupted
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

/// Whose bytes or outboard a file or object of this name is; names of another shape are not ours.
fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(OUTBOARD).unwrap_or(name);
    hex.parse::<Digest>().ok().filter(|digest| digest.to_hex() == hex)
}
