//! How many blobs there are of each kind, and their bytes.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::database::Index;
use crate::durable::DurableError;

/// Name of a kind → number of blobs, and their bytes.
const TOTALS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("totals");

// The kinds.
pub(super) const SMALL: &str = "small";
pub(super) const LARGE: &str = "large";
pub(super) const DAMAGED: &str = "damaged";

/// Number of blobs, and their bytes, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Totals {
    pub(in super::super) small: (u64, u64),
    pub(in super::super) large: (u64, u64),
    pub(in super::super) damaged: (u64, u64),
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(TOTALS)?;
    Ok(())
}

impl Index {
    pub(in super::super) fn totals(&self) -> Result<Totals, DurableError> {
        self.0.read(|transaction| {
            let totals = transaction.open_table(TOTALS)?;
            let of = |kind: &str| Ok::<_, redb::Error>(totals.get(kind)?.map_or((0, 0), |row| row.value()));
            Ok(Totals { small: of(SMALL)?, large: of(LARGE)?, damaged: of(DAMAGED)? })
        })
    }
}

/// Counts a blob.
pub(super) fn add(transaction: &WriteTransaction, kind: &str, length: u64) -> Result<(), redb::Error> {
    let mut totals = transaction.open_table(TOTALS)?;
    let (blobs, bytes) = totals.get(kind)?.map_or((0, 0), |row| row.value());
    totals.insert(kind, (blobs.saturating_add(1), bytes.saturating_add(length)))?;
    Ok(())
}

/// Counts a blob no longer.
pub(super) fn subtract(transaction: &WriteTransaction, kind: &str, length: u64) -> Result<(), redb::Error> {
    let mut totals = transaction.open_table(TOTALS)?;
    let (blobs, bytes) = totals.get(kind)?.map_or((0, 0), |row| row.value());
    totals.insert(kind, (blobs.saturating_sub(1), bytes.saturating_sub(length)))?;
    Ok(())
}
