//! The blobs that were stored, are damaged, and are to be fetched again.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::digest::Digest;

use super::database::{Index, rows_after};
use super::totals;
use crate::durable::DurableError;

/// Digest → length and end of its duty.
const DAMAGED: TableDefinition<'_, [u8; 32], (u64, u64)> = TableDefinition::new("damaged");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(DAMAGED)?;
    Ok(())
}

impl Index {
    /// The damaged blobs after one, in order of their digests: length, and end of the duty.
    pub(in super::super) fn damaged_after(
        &self,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64, u64)>, DurableError> {
        self.0.read(|transaction| {
            let damaged = transaction.open_table(DAMAGED)?;
            rows_after(&damaged, after, limit, |digest, (length, keep_until)| (digest, length, keep_until))
        })
    }
}

/// The length of a damaged blob.
pub(super) fn length(transaction: &WriteTransaction, digest: &Digest) -> Result<Option<u64>, redb::Error> {
    Ok(transaction.open_table(DAMAGED)?.get(digest.0)?.map(|row| row.value().0))
}

/// Adds a blob that was stored, with its duty.
pub(super) fn add(
    transaction: &WriteTransaction,
    digest: &Digest,
    (length, keep_until): (u64, u64),
) -> Result<(), redb::Error> {
    transaction.open_table(DAMAGED)?.insert(digest.0, (length, keep_until))?;
    totals::add(transaction, totals::DAMAGED, length)
}

/// Removes a blob and returns the end of its duty. `None` if it is not there.
pub(super) fn remove(transaction: &WriteTransaction, digest: &Digest) -> Result<Option<u64>, redb::Error> {
    let removed = transaction.open_table(DAMAGED)?.remove(digest.0)?.map(|row| row.value());
    let Some((length, keep_until)) = removed else { return Ok(None) };
    totals::subtract(transaction, totals::DAMAGED, length)?;
    Ok(Some(keep_until))
}
