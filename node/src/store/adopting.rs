//! Adopting the files of a lost index, so that right ones need not be fetched from other replicas.
//!
//! The files' names are their digests; their duties are lost. So nobody scans for files: the caller has a blob's certificate and
//! asks for its files, and the certificate's receipt has length and expiry.

use std::sync::Arc;

use vouch_core::receipt::Receipt;

use super::incoming::{Complete, EntryGuard};
use super::index::Entry;
use super::verified::Version;
use super::{MAX_SMALL, OpenStore, StoreError};
use crate::host::files::FileError;

/// Verifies the files of a blob that is not stored. `None` if they are missing or wrong. Blocks until the disk has answered.
pub(super) fn adopt(inner: &Arc<OpenStore>, receipt: &Receipt) -> Result<Option<Complete>, StoreError> {
    inner.check()?;
    let Receipt { digest, length, .. } = *receipt;
    if length <= MAX_SMALL {
        return Ok(None);
    }
    // from here on, no sweep removes them
    let claim = inner.claims.claim(digest);
    let Some(version) = inner.blobs.version(&digest)? else { return Ok(None) };
    let entry = Entry::of_files(length);
    let read = inner.blobs.open(&digest, length).map_err(StoreError::from);
    match read.and_then(|opened| inner.verify_all(&opened, &digest, &entry)) {
        Ok(()) => {}
        Err(StoreError::Damaged { .. } | StoreError::File(FileError::NotFound { .. })) => return Ok(None),
        Err(error) => return Err(error),
    }
    // another put has replaced them meanwhile, and will enter them itself
    if inner.blobs.version(&digest)?.as_ref() != Some(&version) {
        return Ok(None);
    }
    let mut reserved = inner.space.reservation();
    // they count against the quota, and already take their space on the disk
    inner.make_room(&mut reserved, 0, length)?;
    let version = match version {
        files @ Version::Files { .. } => Some(Box::new(files)),
        Version::Objects { .. } => None,
    };
    let guard = EntryGuard { _claim: Some(claim), _reserved: reserved, _owner: None };
    Ok(Some(Complete { receipt: *receipt, bytes: None, version, guard }))
}
