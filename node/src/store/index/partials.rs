//! The table of partial uploads.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::digest::Digest;
use vouch_core::tree::{BLOCK, Suspended};

use super::database::Index;
use crate::durable::DurableError;

type RowKey = ([u8; 32], u64);
type Row<'t> = (u64, u64, &'t [u8]);

/// Digest and claimed length of the blob → number of durable bytes, time of the last put in seconds since 1970, and the chaining
/// values of those bytes, 32 bytes each. Puts that claim different lengths have different rows.
const PARTIALS: TableDefinition<'_, RowKey, Row<'_>> = TableDefinition::new("partials");

/// The durable state of one partial upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct PartialRow {
    pub(in super::super) digest: Digest,
    /// Length of the whole blob.
    pub(in super::super) length: u64,
    /// When a put last left it, in seconds since 1970.
    pub(in super::super) touched: u64,
    /// Number of durable bytes, and the hasher's state after them.
    pub(in super::super) had: Suspended,
}

impl PartialRow {
    /// `None` if the row is malformed: the disk has damaged it.
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

pub(super) fn is_noted(transaction: &WriteTransaction, digest: &Digest, length: u64) -> Result<bool, redb::Error> {
    Ok(transaction.open_table(PARTIALS)?.get((digest.0, length))?.is_some())
}

pub(super) fn forget(transaction: &WriteTransaction, digest: &Digest, length: u64) -> Result<(), redb::Error> {
    transaction.open_table(PARTIALS)?.remove((digest.0, length))?;
    Ok(())
}

impl Index {
    /// All well-formed rows, and the keys of malformed ones.
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

    /// One row; also `None` if it is malformed.
    pub(in super::super) fn partial(&self, digest: &Digest, length: u64) -> Result<Option<PartialRow>, DurableError> {
        self.0.read(|transaction| {
            let row = transaction.open_table(PARTIALS)?.get((digest.0, length))?;
            Ok(row.and_then(|row| PartialRow::from_row((digest.0, length), row.value())))
        })
    }

    /// Records durable bytes. Blocks until the record is durable.
    pub(in super::super) fn note_partial(&self, row: PartialRow) -> Result<(), DurableError> {
        self.0.commit_and_wait(move |transaction| {
            let stack = row.had.stack.concat();
            let mut partials = transaction.open_table(PARTIALS)?;
            partials.insert((row.digest.0, row.length), (row.had.length, row.touched, stack.as_slice()))?;
            Ok(())
        })
    }

    /// Removes rows, without a commit if none exists. Blocks until that is durable.
    pub(in super::super) fn forget_partials(&self, keys: &[(Digest, u64)]) -> Result<(), DurableError> {
        let noted = self.0.read(|transaction| {
            let partials = transaction.open_table(PARTIALS)?;
            keys.iter()
                .try_fold(false, |noted, (digest, length)| Ok(noted || partials.get((digest.0, *length))?.is_some()))
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
