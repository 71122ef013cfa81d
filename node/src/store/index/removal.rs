//! Removing blobs from the index: expired or damaged ones.

use redb::{ReadableTable, WriteTransaction};
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;

use super::{BAD, BLOBS, BYTES, CERTIFICATES, DAMAGED, EXPIRY, Entry, Index, add, subtract};
use crate::durable::DurableError;

/// A blob that was removed from the index.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Removed {
    pub(in super::super) digest: Digest,
    pub(in super::super) length: u64,
    /// Whether its files must be removed.
    pub(in super::super) in_files: bool,
}

impl Index {
    /// Removes up to `limit` blobs whose duty ended at `last` or before, with their certificates. A duty that an earlier commit
    /// prolonged is respected. `None` if nothing was due.
    pub(in super::super) async fn remove_expired(
        &self,
        last: u64,
        limit: usize,
    ) -> Result<Option<Vec<Removed>>, DurableError> {
        // Check first, so that nothing is committed if nothing is due.
        let due = self.0.read(|transaction| {
            let expiry = transaction.open_table(EXPIRY)?;
            let first = expiry.first()?.map(|(row, _)| row.value().0);
            Ok(first.is_some_and(|first| first <= last))
        })?;
        if !due {
            return Ok(None);
        }
        self.0.commit(move |transaction| remove_expired(transaction, last, limit)).await.map(Some)
    }

    /// Moves a blob from the stored to the damaged ones, with its duty. `None` if it is not stored.
    pub(in super::super) async fn mark_damaged(&self, digest: Digest) -> Result<Option<Removed>, DurableError> {
        self.0.commit(move |transaction| mark_damaged(transaction, digest)).await
    }

    /// Like [`mark_damaged`](Self::mark_damaged), for a thread that may block.
    pub(in super::super) fn mark_damaged_and_wait(&self, digest: Digest) -> Result<Option<Removed>, DurableError> {
        self.0.commit_and_wait(move |transaction| mark_damaged(transaction, digest))
    }
}

fn mark_damaged(transaction: &WriteTransaction, digest: Digest) -> Result<Option<Removed>, redb::Error> {
    let Some(entry) = take(transaction, &digest)? else { return Ok(None) };
    transaction.open_table(DAMAGED)?.insert(digest.0, (entry.length, entry.keep_until))?;
    add(transaction, BAD, entry.length)?;
    Ok(Some(Removed { digest, length: entry.length, in_files: entry.in_files() }))
}

fn remove_expired(transaction: &WriteTransaction, last: u64, limit: usize) -> Result<Vec<Removed>, redb::Error> {
    let mut expiry = transaction.open_table(EXPIRY)?;
    let mut due = Vec::new();
    for row in expiry.range(..=(last.min(NEVER - 1), [u8::MAX; 32]))?.take(limit) {
        due.push(row?.0.value());
    }
    let mut removed = Vec::new();
    for (until, digest) in due {
        expiry.remove((until, digest))?;
        transaction.open_table(CERTIFICATES)?.remove(digest)?;
        let digest = Digest(digest);
        if let Some(entry) = take(transaction, &digest)? {
            removed.push(Removed { digest, length: entry.length, in_files: entry.in_files() });
            continue;
        }
        let damaged = transaction.open_table(DAMAGED)?.remove(digest.0)?.map(|row| row.value());
        if let Some((length, _)) = damaged {
            subtract(transaction, BAD, length)?;
        }
    }
    Ok(removed)
}

/// Removes an entry and its bytes, but not its expiry row.
fn take(transaction: &WriteTransaction, digest: &Digest) -> Result<Option<Entry>, redb::Error> {
    let entry = transaction.open_table(BLOBS)?.remove(digest.0)?.map(|row| Entry::from_row(row.value()));
    if let Some(entry) = &entry {
        if let Some(number) = entry.number {
            transaction.open_table(BYTES)?.remove(number)?;
        }
        subtract(transaction, entry.kind(), entry.length)?;
    }
    Ok(entry)
}
