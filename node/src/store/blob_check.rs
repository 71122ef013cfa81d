//! Checking the bytes of one stored blob, before a vote or a put that sends none.

use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

use super::StoreError;
use super::index::Entry;
use super::reading::BlobReader;
use crate::host::files::{Action, FileError};

/// The result of checking one blob's bytes.
#[derive(Debug)]
pub(super) enum BlobCheck {
    /// All bytes are right.
    Right,
    /// The blob is not stored, or cannot be read now.
    Missing,
    /// Bytes are wrong. The blob is marked as damaged.
    Damaged(StoreError),
}

impl BlobReader {
    /// Checks a blob's bytes, outboard included. Reads them unless they were read within 24 hours of running time and the files are
    /// unchanged. A damaged blob is no longer stored when this returns. Blocks until the disk has answered.
    ///
    /// # Errors
    /// When nothing can be said of any blob: the index or the place of the store fails.
    pub(super) fn confirm(&self, assignment: &Assignment) -> Result<BlobCheck, StoreError> {
        let digest = assignment.digest;
        match self.index.entry(&digest)? {
            Some(entry) if assignment.is_held(Some(entry.length)) => {
                if self.is_as_read(&digest, &entry) {
                    return Ok(BlobCheck::Right);
                }
            }
            _ => return Ok(BlobCheck::Missing),
        }
        let _turn = self.verified.turn(digest);
        // somebody else may have read it meanwhile, or found it damaged
        match self.index.entry(&digest)? {
            Some(entry) if self.is_as_read(&digest, &entry) => return Ok(BlobCheck::Right),
            Some(_) => {}
            None => return Ok(BlobCheck::Missing),
        }
        self.verified.count(assignment.length);
        match self.scrub(&digest) {
            Ok(()) => Ok(BlobCheck::Right),
            Err(StoreError::NotFound { .. } | StoreError::NotHeld { .. }) => Ok(BlobCheck::Missing),
            Err(error @ StoreError::Damaged { .. }) => {
                // If the disk is no longer mounted, the blob is not damaged.
                self.index.check()?;
                self.mark_damaged_and_wait(&digest)?;
                Ok(BlobCheck::Damaged(error))
            }
            // The failure may be temporary. Until then, do not vote for this blob.
            Err(StoreError::File(FileError::Io { action: Action::Read | Action::Open, .. })) => Ok(BlobCheck::Missing),
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
            self.blobs.remove_unless_entered(digest)?;
        }
        Ok(())
    }
}
