//! Removing blobs from the index: expired or damaged ones.

use redb::{ReadableTable, WriteTransaction};
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;

use super::certificates::CERTIFICATES;
use super::database::{Change, Index};
use super::entries::{BLOBS, BYTES, EXPIRY, Entry};
use super::{damaged, totals};
use crate::durable::{Changes, DurableError};

/// A blob that was removed from the index.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Removed {
    pub(in super::super) digest: Digest,
    pub(in super::super) length: u64,
    /// Whether its files must be removed.
    pub(in super::super) in_files: bool,
}

impl Index {
    /// Like [`mark_damaged`], for a thread that may block.
    pub(in super::super) fn mark_damaged_and_wait(&self, digest: Digest) -> Result<Option<Removed>, DurableError> {
        self.0.commit_and_wait(move |transaction| take_damaged(transaction, digest))
    }
}

/// Removes up to `limit` blobs whose duty ended at `last` or before, with their certificates. A duty that an earlier commit
/// prolonged is respected. `None` if nothing was due.
pub(in super::super) fn remove_expired(last: u64, limit: usize) -> impl Change<Option<Vec<Removed>>> {
    move |transaction: &WriteTransaction| {
        let first = transaction.open_table(EXPIRY)?.first()?.map(|(row, _)| row.value().0);
        if first.is_none_or(|first| first > last) {
            return Ok((None, Changes::None));
        }
        Ok((Some(take_expired(transaction, last, limit)?), Changes::Made))
    }
}

/// Moves a blob from the stored to the damaged ones, with its duty. `None` if it is not stored.
pub(in super::super) fn mark_damaged(digest: Digest) -> impl Change<Option<Removed>> {
    move |transaction: &WriteTransaction| {
        let removed = take_damaged(transaction, digest)?;
        Ok((removed, if removed.is_some() { Changes::Made } else { Changes::None }))
    }
}

fn take_damaged(transaction: &WriteTransaction, digest: Digest) -> Result<Option<Removed>, redb::Error> {
    let Some(entry) = take(transaction, &digest)? else { return Ok(None) };
    damaged::add(transaction, &digest, (entry.length, entry.keep_until))?;
    Ok(Some(Removed { digest, length: entry.length, in_files: entry.in_files() }))
}

fn take_expired(transaction: &WriteTransaction, last: u64, limit: usize) -> Result<Vec<Removed>, redb::Error> {
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
        damaged::remove(transaction, &digest)?;
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
        totals::subtract(transaction, entry.kind(), entry.length)?;
    }
    Ok(entry)
}
