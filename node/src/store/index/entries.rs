//! The entries of stored blobs, and the bytes of small ones.

use bytes::Bytes;
use redb::{ReadTransaction, TableDefinition, WriteTransaction};
use vouch_core::digest::Digest;

use super::database::{Index, rows_after};
use super::totals::{LARGE, SMALL};
use crate::durable::DurableError;

/// Digest → length, end of its duty and time of storing in seconds since 1970, and the key of its bytes in [`BYTES`]; none if
/// they are in files.
pub(super) const BLOBS: TableDefinition<'_, [u8; 32], EntryRow> = TableDefinition::new("blobs");
/// Small blobs, numbered in the order of their arrival: neighbours share pages, which random digests would not.
pub(super) const BYTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bytes");
/// Every duty that ends, ordered by its end, including those of damaged blobs.
pub(super) const EXPIRY: TableDefinition<'_, (u64, [u8; 32]), ()> = TableDefinition::new("expiry");

/// See [`BLOBS`].
pub(super) type EntryRow = (u64, u64, u64, Option<u64>);

/// A stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Length in bytes.
    pub length: u64,
    /// When its duty ends, in seconds since 1970.
    pub keep_until: u64,
    /// When it was stored, in seconds since 1970.
    pub stored_at: u64,
    /// The key of its bytes in the index; `None` if they are in files.
    pub(super) number: Option<u64>,
}

impl Entry {
    pub(super) fn from_row((length, keep_until, stored_at, number): EntryRow) -> Self {
        Self { length, keep_until, stored_at, number }
    }

    pub(super) fn row(&self) -> EntryRow {
        (self.length, self.keep_until, self.stored_at, self.number)
    }

    /// Whether its bytes are in files.
    pub(in super::super) fn in_files(&self) -> bool {
        self.number.is_none()
    }

    /// The kind that it is counted as.
    pub(super) fn kind(&self) -> &'static str {
        if self.in_files() { LARGE } else { SMALL }
    }
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(BLOBS)?;
    transaction.open_table(BYTES)?;
    transaction.open_table(EXPIRY)?;
    Ok(())
}

impl Index {
    pub(in super::super) fn entry(&self, digest: &Digest) -> Result<Option<Entry>, DurableError> {
        self.0.read(|transaction| entry(transaction, digest))
    }

    /// Whether a blob of this digest and length is stored.
    pub(in super::super) fn holds(&self, digest: &Digest, length: u64) -> Result<bool, DurableError> {
        Ok(self.entry(digest)?.is_some_and(|entry| entry.length == length))
    }

    /// An entry, and the blob's bytes if they are in the index, from one snapshot.
    pub(in super::super) fn entry_and_bytes(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Entry, Option<Bytes>)>, DurableError> {
        self.0.read(|transaction| {
            let Some(entry) = entry(transaction, digest)? else { return Ok(None) };
            let Some(number) = entry.number else { return Ok(Some((entry, None))) };
            let row = transaction.open_table(BYTES)?.get(number)?;
            // If the row is lost, return no bytes: they then fail verification.
            let bytes = row.map_or_else(Bytes::new, |row| Bytes::copy_from_slice(row.value()));
            Ok(Some((entry, Some(bytes))))
        })
    }

    /// The stored blobs after one, in order of their digests.
    pub(in super::super) fn entries_after(
        &self,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, Entry)>, DurableError> {
        self.0.read(|transaction| {
            let blobs = transaction.open_table(BLOBS)?;
            rows_after(&blobs, after, limit, |digest, row| (digest, Entry::from_row(row)))
        })
    }
}

fn entry(transaction: &ReadTransaction, digest: &Digest) -> Result<Option<Entry>, redb::Error> {
    let blobs = transaction.open_table(BLOBS)?;
    Ok(blobs.get(digest.0)?.map(|row| Entry::from_row(row.value())))
}
