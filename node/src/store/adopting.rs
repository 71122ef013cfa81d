//! Files of an index that is lost: taken in again where they are right, instead of fetched from other replicas.
//!
//! The files tell their digests, and nothing of the duty to keep them. So nobody scans for them: whoever has a blob's certificate
//! asks for its files, and the certificate's receipt tells length and expiry.

use std::sync::Arc;

use vouch_core::receipt::Receipt;

use super::incoming::{Complete, Guard};
use super::index::Entry;
use super::verified::Version;
use super::{Inner, MAX_SMALL, StoreError};
use crate::host::files::FileError;

/// Looks for the files of a blob that is not stored, and reads all of them. `None` when they are not there, or not right. Blocks for
/// as long as the disk takes.
pub(super) fn adopt(inner: &Arc<Inner>, receipt: &Receipt) -> Result<Option<Complete>, StoreError> {
    inner.check()?;
    let Receipt { digest, length, .. } = *receipt;
    if length <= MAX_SMALL {
        return Ok(None);
    }
    // from here on no sweep removes them
    let claim = inner.claims.claim(digest);
    let Some(version) = inner.blobs.version(&digest)? else { return Ok(None) };
    let entry = Entry::of_files(length);
    let read = inner.blobs.open(&digest, length).map_err(StoreError::from);
    match read.and_then(|opened| inner.look_through(&opened, &digest, &entry)) {
        Ok(()) => {}
        Err(StoreError::Damaged { .. } | StoreError::File(FileError::NotFound { .. })) => return Ok(None),
        Err(error) => return Err(error),
    }
    // another put replaced them meanwhile, and enters them itself
    if inner.blobs.version(&digest)?.as_ref() != Some(&version) {
        return Ok(None);
    }
    let mut room = inner.room.none();
    // they take room of the quota, and no more of the disk than they do
    inner.make_room(&mut room, 0, length)?;
    let version = match version {
        files @ Version::Files { .. } => Some(Box::new(files)),
        Version::Objects { .. } => None,
    };
    let guard = Guard { _claim: Some(claim), _room: room, _owner: None };
    Ok(Some(Complete { receipt: *receipt, bytes: None, version, guard }))
}
