//! Adopting the files of a lost index, so that right ones need not be fetched from other replicas.
//!
//! The files' names are their digests; their duties are lost. So nobody scans for files: the caller has a blob's certificate and
//! asks for its files, and the certificate's receipt has length and expiry.

use vouch_core::placement::Assignment;

use super::complete::{Complete, CompleteBlob};
use super::parts::UploadParts;
use crate::host::files::FileError;
use crate::store::large_blobs::PublishedBlob;
use crate::store::reading::verify_all;
use crate::store::verified::Version;
use crate::store::{MAX_SMALL, StoreError};

/// Verifies the files of a blob that is not stored. `None` if they are missing or wrong. Blocks until the disk has answered.
pub(super) fn adopt(parts: &UploadParts, assignment: &Assignment) -> Result<Option<Complete>, StoreError> {
    parts.index.check()?;
    let Assignment { digest, length, .. } = *assignment;
    if length <= MAX_SMALL {
        return Ok(None);
    }
    let blobs = &parts.blobs;
    // from here on, no sweep removes them
    let claim = blobs.claim(digest);
    let Some(version) = blobs.version(&digest)? else { return Ok(None) };
    let read = blobs.open(&digest, length).map_err(StoreError::from);
    match read.and_then(|opened| verify_all(&opened, &digest, length)) {
        Ok(()) => {}
        Err(StoreError::Damaged { .. } | StoreError::File(FileError::NotFound { .. })) => return Ok(None),
        Err(error) => return Err(error),
    }
    // another put has replaced them meanwhile, and will enter them itself
    if blobs.version(&digest)?.as_ref() != Some(&version) {
        return Ok(None);
    }
    // they count against the quota, and already take their space on the disk
    let reserved = parts.space.reserve(0, length)?;
    let version = match version {
        files @ Version::Files { .. } => Some(Box::new(files)),
        Version::Objects { .. } => None,
    };
    let published = PublishedBlob { version, _claim: claim };
    Ok(Some(Complete::new(assignment, CompleteBlob::Large { published, _reserved: reserved, _owner: None })))
}
