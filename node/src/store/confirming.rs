//! Confirming blobs before a vote: their bytes must be here now, and right.

use std::sync::Arc;

use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

use super::blob_check::BlobCheck;
use super::reading::BlobReader;
use super::{Store, StoreError, blocking};
use crate::bugs::{self, Bug};
use crate::host::Host;

/// The result of confirming the blobs of a batch.
#[derive(Debug, Default)]
pub struct Confirmed {
    /// The indices of the assignments whose bytes are missing or wrong.
    pub lacking: Vec<u16>,
    /// Blobs that were stored and are damaged. They are no longer stored.
    pub damaged: Vec<(Digest, StoreError)>,
}

impl Store {
    /// Confirms that the bytes of every blob of a batch are here now and right, as each vote requires. They are read again,
    /// outboard included, unless they arrived with the put of the receipt, or were read within 24 hours of running time and
    /// the files are unchanged. Small blobs are always read, from the index's memory if they are there.
    /// Damaged blobs are no longer stored afterwards.
    ///
    /// # Errors
    /// [`StoreError::Displaced`], if anything had to be read; see [`StoreError`]. Then no blob is confirmed.
    /// [`promise`](Self::promise) checks the place of the store again, in every case.
    pub async fn confirm(&self, assignments: &[Assignment]) -> Result<Confirmed, StoreError> {
        confirm(&self.inner.host, &self.inner.reader, assignments).await
    }

    /// Number of bytes read to confirm blobs since the store was opened.
    pub fn bytes_confirmed(&self) -> u64 {
        self.inner.reader.verified.bytes_read()
    }
}

/// Confirms every blob of a batch. Bytes that arrived with the put of a receipt need not be read again.
async fn confirm(host: &Host, reader: &Arc<BlobReader>, assignments: &[Assignment]) -> Result<Confirmed, StoreError> {
    let doubtful = reader.verified.not_fresh(assignments);
    if doubtful.is_empty() {
        // whether the store is still in its place is checked when the statement is entered in the journal
        return Ok(Confirmed::default());
    }
    let (reader, assignments) = (reader.clone(), assignments.to_vec());
    blocking(host, move || {
        reader.index.check()?;
        if bugs::has(Bug::VoteWithoutBytes) {
            return Ok(Confirmed::default());
        }
        let mut confirmed = Confirmed::default();
        for index in doubtful {
            let Some(assignment) = assignments.get(index) else { continue };
            match reader.confirm(assignment)? {
                BlobCheck::Right => continue,
                BlobCheck::Damaged(error) => confirmed.damaged.push((assignment.digest, error)),
                BlobCheck::Missing => {}
            }
            confirmed.lacking.extend(u16::try_from(index));
        }
        Ok(confirmed)
    })
    .await
}
