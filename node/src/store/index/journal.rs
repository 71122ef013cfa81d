//! The table of the [journal](crate::store::journal).

use redb::{TableDefinition, WriteTransaction};
use vouch_core::statement::{Body, Statement, StatementId, Stored};

use super::database::Index;
use crate::durable::{Changes, DurableError};

/// Kind, issued-at or height, statement identity.
const JOURNAL: TableDefinition<'_, (u16, u64, [u8; 32]), ()> = TableDefinition::new("journal");

/// How long statements of kind 1 stay in the journal, in seconds of `issued_at` before the newest. This is ten times as long as
/// anybody votes for one.
pub const STORED_KEPT: u64 = 600;

/// The key of one statement in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEntry {
    /// The statement's kind.
    pub kind: u16,
    /// Its time of issue, or the height that it is about; 0 if the kind has neither.
    pub ordinal: u64,
    /// The statement's identity.
    pub statement: StatementId,
}

impl JournalEntry {
    /// The entry of a statement.
    pub fn of<B: Body>(statement: &Statement<B>) -> Self {
        Self { kind: B::KIND, ordinal: statement.body().ordinal().unwrap_or(0), statement: statement.id() }
    }

    /// Entries of this kind with a lesser ordinal are dropped; `None`: all are kept.
    fn outdates(&self) -> Option<u64> {
        (self.kind == Stored::KIND).then(|| self.ordinal.saturating_sub(STORED_KEPT))
    }
}

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(JOURNAL).map(drop).map_err(Into::into)
}

/// Enters a statement unless it is there, and drops the entries that it outdates.
pub(super) fn enter(transaction: &WriteTransaction, entry: &JournalEntry) -> Result<Changes, redb::Error> {
    let mut journal = transaction.open_table(JOURNAL)?;
    if journal.insert((entry.kind, entry.ordinal, entry.statement.0), ())?.is_some() {
        return Ok(Changes::None);
    }
    if let Some(before) = entry.outdates() {
        journal.retain_in((entry.kind, 0, [0; 32])..(entry.kind, before, [0; 32]), |_, ()| false)?;
    }
    Ok(Changes::Made)
}

impl Index {
    /// Deletes the table, as in a folder of an earlier release.
    #[cfg(test)]
    pub(in super::super) fn forget_journal(&self) {
        let forget = |transaction: &WriteTransaction| Ok(transaction.delete_table(JOURNAL).map(drop)?);
        self.0.commit_and_wait(forget).unwrap();
    }

    /// See [`super::super::Store::signed`].
    pub(in super::super) fn signed(&self, kind: u16, ordinal: u64) -> Result<Vec<StatementId>, DurableError> {
        self.0.read(|transaction| {
            let journal = transaction.open_table(JOURNAL)?;
            let rows = journal.range((kind, ordinal, [0; 32])..=(kind, ordinal, [0xFF; 32]))?;
            rows.map(|row| Ok(StatementId(row?.0.value().2))).collect()
        })
    }
}
