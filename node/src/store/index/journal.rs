//! The table of the [journal](crate::store::journal).

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::statement::{Body, LogHead, Statement, StatementId, Stored};

use super::database::{Change, Index};
use crate::durable::{Changes, DurableError};

/// Kind, issued-at or height, statement identity.
const JOURNAL: TableDefinition<'_, (u16, u64, [u8; 32]), ()> = TableDefinition::new("journal");

/// How long statements of kind 1 stay in the journal, in seconds of `issued_at` before the newest. This is ten times as long as
/// anybody votes for one.
pub const STORED_KEPT: u64 = 600;

/// How far below the newest statement of its kind a statement stays in the journal, if its kind allows one for each height. A statement
/// below is not entered any more: nobody could tell whether another one was.
pub const HEIGHTS_KEPT: u64 = 10_000;

/// The result of entering a statement of a kind of which a member signs one for each height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnteredOnce {
    /// It is in the journal.
    Entered,
    /// Another statement for this height is there. Nothing was changed.
    Another(StatementId),
    /// Statements of so low a height are no longer there. Nothing was changed. The lowest height that may be entered.
    TooLow(u64),
}

/// The key of one statement in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEntry {
    /// The statement's kind.
    pub kind: u16,
    /// Its time of issue, or the height that it is about; the epoch of its committee if the kind has neither.
    pub ordinal: u64,
    /// The statement's identity.
    pub statement: StatementId,
}

impl JournalEntry {
    /// The entry of a statement.
    pub fn of<B: Body>(statement: &Statement<B>) -> Self {
        Self {
            kind: B::KIND,
            ordinal: statement.body().ordinal().unwrap_or(statement.epoch()),
            statement: statement.id(),
        }
    }

    /// Entries of this kind with a lesser ordinal are dropped; `None`: all are kept.
    fn outdates(&self) -> Option<u64> {
        match self.kind {
            Stored::KIND => Some(self.ordinal.saturating_sub(STORED_KEPT)),
            LogHead::KIND => Some(self.ordinal.saturating_sub(HEIGHTS_KEPT)),
            _ => None,
        }
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

/// Enters a statement unless another one is there for its height.
pub(in super::super) fn enter_once(entry: JournalEntry) -> impl Change<EnteredOnce> {
    move |transaction: &WriteTransaction| {
        let newest = {
            let journal = transaction.open_table(JOURNAL)?;
            let at_height = (entry.kind, entry.ordinal, [0; 32])..=(entry.kind, entry.ordinal, [0xFF; 32]);
            if let Some(row) = journal.range(at_height)?.next() {
                let found = StatementId(row?.0.value().2);
                let is_same = found == entry.statement;
                let result = if is_same { EnteredOnce::Entered } else { EnteredOnce::Another(found) };
                return Ok((result, Changes::None));
            }
            let of_kind = (entry.kind, 0, [0; 32])..=(entry.kind, u64::MAX, [0xFF; 32]);
            journal.range(of_kind)?.next_back().transpose()?.map_or(0, |row| row.0.value().1)
        };
        let least = newest.saturating_sub(HEIGHTS_KEPT);
        if entry.ordinal < least {
            return Ok((EnteredOnce::TooLow(least), Changes::None));
        }
        Ok((EnteredOnce::Entered, enter(transaction, &entry)?))
    }
}

impl Index {
    /// See [`super::super::Store::latest_signed`].
    pub(in super::super) fn latest_signed(&self, kind: u16) -> Result<Option<u64>, DurableError> {
        self.0.read(|transaction| {
            let journal = transaction.open_table(JOURNAL)?;
            let last = journal.range((kind, 0, [0; 32])..=(kind, u64::MAX, [0xFF; 32]))?.next_back();
            Ok(last.transpose()?.map(|row| row.0.value().1))
        })
    }

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
