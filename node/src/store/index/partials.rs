//! What is durable of blobs that came in part.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::digest::Digest;
use vouch_core::tree::{BLOCK, Suspended};

use super::Index;
use crate::durable::DurableError;

type RowKey = ([u8; 32], u64);
type Row<'t> = (u64, u64, &'t [u8]);

/// Digest and length of the blob → durable bytes, the second since 1970 of the last put, and the chaining values of
/// those bytes, 32 bytes each. The length is what a put claimed: two that claim different ones do not meet.
const PARTIALS: TableDefinition<'_, RowKey, Row<'_>> = TableDefinition::new("partials");

/// What is durable of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct PartialRow {
    pub(in super::super) digest: Digest,
    /// Of the whole blob.
    pub(in super::super) length: u64,
    /// The second since 1970 in which a put last left it.
    pub(in super::super) touched: u64,
    /// The bytes, and how their hashing goes on.
    pub(in super::super) had: Suspended,
}

impl PartialRow {
    /// `None` for a row that nobody wrote: the disk's doing.
    fn from_row((digest, length): RowKey, (durable, touched, stack): Row<'_>) -> Option<Self> {
        let (values, rest) = stack.as_chunks::<32>();
        let is_some_blocks = durable > 0 && durable < length && durable.is_multiple_of(BLOCK as u64);
        (is_some_blocks && rest.is_empty()).then(|| Self {
            digest: Digest(digest),
            length,
            touched,
            had: Suspended { length: durable, stack: values.to_vec() },
        })
    }
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(PARTIALS)?;
    Ok(())
}

pub(super) fn is_noted(transaction: &ReadTransaction, digest: &Digest, length: u64) -> Result<bool, redb::Error> {
    Ok(transaction.open_table(PARTIALS)?.get((digest.0, length))?.is_some())
}

pub(super) fn forget(transaction: &WriteTransaction, digest: &Digest, length: u64) -> Result<(), redb::Error> {
    transaction.open_table(PARTIALS)?.remove((digest.0, length))?;
    Ok(())
}

impl Index {
    /// All that are whole, and the keys of those that are not.
    #[expect(clippy::type_complexity, reason = "two lists, for one caller")]
    pub(in super::super) fn partials(&self) -> Result<(Vec<PartialRow>, Vec<(Digest, u64)>), DurableError> {
        self.0.read(|transaction| {
            let (mut whole, mut malformed) = (Vec::new(), Vec::new());
            for row in transaction.open_table(PARTIALS)?.iter()? {
                let (key, value) = row?;
                match PartialRow::from_row(key.value(), value.value()) {
                    Some(row) => whole.push(row),
                    None => malformed.push((Digest(key.value().0), key.value().1)),
                }
            }
            Ok((whole, malformed))
        })
    }

    /// `None` for a malformed one, too.
    pub(in super::super) fn partial(&self, digest: &Digest, length: u64) -> Result<Option<PartialRow>, DurableError> {
        self.0.read(|transaction| {
            let row = transaction.open_table(PARTIALS)?.get((digest.0, length))?;
            Ok(row.and_then(|row| PartialRow::from_row((digest.0, length), row.value())))
        })
    }

    /// Notes what is durable. Blocks until that is.
    pub(in super::super) fn note_partial(&self, row: PartialRow) -> Result<(), DurableError> {
        self.0.commit_and_wait(move |transaction| {
            let stack = row.had.stack.concat();
            let mut partials = transaction.open_table(PARTIALS)?;
            partials.insert((row.digest.0, row.length), (row.had.length, row.touched, stack.as_slice()))?;
            Ok(())
        })
    }

    /// Forgets some, without a commit when none is noted. Blocks until that is durable.
    pub(in super::super) fn forget_partials(&self, keys: &[(Digest, u64)]) -> Result<(), DurableError> {
        let noted = self.0.read(|transaction| {
            keys.iter().try_fold(false, |noted, (digest, length)| Ok(noted || is_noted(transaction, digest, *length)?))
        })?;
        if !noted {
            return Ok(());
        }
        let keys = keys.to_vec();
        self.0.commit_and_wait(move |transaction| {
            keys.iter().try_for_each(|(digest, length)| forget(transaction, digest, *length))
        })
    }
}
