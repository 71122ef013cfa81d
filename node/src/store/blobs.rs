//! The place of large blobs: each has its bytes and its outboard, both named by the digest.
//!
//! A blob is always assembled in a `partial` folder of this machine, as a [`Spool`], and handed over when it is complete. So an
//! object store needs only these operations, too.

use vouch_core::digest::Digest;
use vouch_core::tree::Parent;

use super::verified::Version;
use crate::host::disk::DiskFile;
use crate::host::files::FileError;

mod files;
mod remote;
mod spool;

pub(super) use files::FileBlobs;
use remote::RemoteBlob;
pub(super) use remote::RemoteBlobs;
pub(super) use spool::{OUTBOARD_PIECE, Spool, SpoolFolder};

pub(super) const FOLDER_MODE: u32 = 0o700;
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

/// The digest in the name of a file or object. `None` if the name is not one of this store.
fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(OUTBOARD).unwrap_or(name);
    hex.parse::<Digest>().ok().filter(|digest| digest.to_hex() == hex)
}
