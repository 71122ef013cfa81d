//! The place of large blobs: each has its bytes and its outboard, both named by the digest.
//!
//! A blob is always assembled in a `partial` folder of this machine, as a [`Spool`], and handed over when it is complete. So an
//! object store needs only these operations, too.

use vouch_core::digest::Digest;

use super::verified::Version;
use crate::host::files::FileError;

mod files;
mod naming;
mod open_blob;
mod remote;
mod spool;

pub(super) use files::FileBlobs;
pub(super) use naming::FOLDER_MODE;
pub(super) use open_blob::OpenBlob;
pub(super) use remote::RemoteBlobs;
pub(super) use spool::{OUTBOARD_PIECE, Spool, SpoolFolder};

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
