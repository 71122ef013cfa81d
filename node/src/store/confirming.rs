//! Before a vote: whether the bytes are there now, and right.

use std::sync::Arc;

use vouch_core::digest::Digest;
use vouch_core::receipt::Receipt;

use super::index::Entry;
use super::{Inner, StoreError, collecting};
use crate::bugs::{self, Bug};
use crate::host::files::{Action, FileError};

/// What became of the blobs of a batch.
#[derive(Debug, Default)]
pub struct Confirmed {
    /// The indices of the receipts whose bytes are not there, or not right.
    pub lacking: Vec<u16>,
    /// Blobs that were held and are not what they should be: they are held no more.
    pub damaged: Vec<(Digest, StoreError)>,
}

/// Confirms every blob of a batch. Bytes that came with the put of a receipt need not be read again.
pub(super) async fn confirm(inner: &Arc<Inner>, receipts: &[Receipt]) -> Result<Confirmed, StoreError> {
    inner.check()?;
    let doubtful = inner.verified.not_fresh(receipts);
    if doubtful.is_empty() || bugs::has(Bug::VoteWithoutBytes) {
        return Ok(Confirmed::default());
    }
    let (reader, receipts) = (inner.clone(), receipts.to_vec());
    collecting::blocking(&inner.host, move || {
        let mut confirmed = Confirmed::default();
        for index in doubtful {
            let Some(receipt) = receipts.get(index) else { continue };
            match reader.confirm(receipt)? {
                Bytes::Right => continue,
                Bytes::Damaged(error) => confirmed.damaged.push((receipt.digest, error)),
                Bytes::Missing => {}
            }
            confirmed.lacking.extend(u16::try_from(index));
        }
        Ok(confirmed)
    })
    .await
}

/// What was found of one blob.
#[derive(Debug)]
pub(super) enum Bytes {
    /// All of them are right.
    Right,
    /// It is not stored, or cannot be read now.
    Missing,
    /// They were not right; the blob is marked as damaged.
    Damaged(StoreError),
}

impl Inner {
    /// Looks at a blob's bytes, outboard included. They are read, unless that was done within a day and the files are
    /// the same. What is wrong is held no more when this returns. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When nothing can be said of any blob: the index or the place of the store fails.
    pub(super) fn confirm(&self, receipt: &Receipt) -> Result<Bytes, StoreError> {
        let digest = receipt.digest;
        match self.index.entry(&digest)? {
            Some(entry) if entry.length == receipt.length => {
                if self.is_as_read(&digest, &entry) {
                    return Ok(Bytes::Right);
                }
            }
            _ => return Ok(Bytes::Missing),
        }
        let _turn = self.verified.turn(digest);
        // somebody else may have read it meanwhile, or found it damaged
        match self.index.entry(&digest)? {
            Some(entry) if self.is_as_read(&digest, &entry) => return Ok(Bytes::Right),
            Some(_) => {}
            None => return Ok(Bytes::Missing),
        }
        self.verified.count(receipt.length);
        match self.scrub(&digest) {
            Ok(()) => Ok(Bytes::Right),
            Err(StoreError::NotFound { .. } | StoreError::NotHeld { .. }) => Ok(Bytes::Missing),
            Err(error @ StoreError::Damaged { .. }) => {
                // a disk that is not there any more has damaged nothing
                self.check()?;
                self.mark_damaged_and_wait(&digest)?;
                Ok(Bytes::Damaged(error))
            }
            // it may pass; until then this blob cannot be vouched for
            Err(StoreError::File(FileError::Io { action: Action::Read | Action::Open, .. })) => Ok(Bytes::Missing),
            Err(error) => Err(error),
        }
    }

    fn is_as_read(&self, digest: &Digest, entry: &Entry) -> bool {
        if !entry.in_files() {
            return false;
        }
        let Some(read) = self.verified.read_lately(digest) else { return false };
        matches!(self.blobs.version(digest), Ok(Some(now)) if now == read)
    }

    fn mark_damaged_and_wait(&self, digest: &Digest) -> Result<(), StoreError> {
        if let Some(removed) = self.index.mark_damaged_and_wait(*digest)?
            && removed.in_files
        {
            self.remove_unless_entered(digest)?;
        }
        Ok(())
    }
}
