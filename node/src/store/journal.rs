//! What this replica signs, written down before anybody has the signature.
//!
//! A statement is entered in the commit that records what it promises, and only what was entered is signed. So after any crash
//! the journal has every statement that a vote may be out for, and a kind of which a member may sign only one for a height, say,
//! is asked about here first. Acceptances of foundings have a record of their own, which is as old as the committee.

use vouch_core::bls::{VoteSecretKey, VoteSignature};
use vouch_core::statement::{Body, Statement, StatementId, Stored};

/// Seconds of `issued_at` for which statements of kind 1 stay in the journal, counted from the newest: ten times as long as
/// anybody votes for one.
pub const STORED_KEPT: u64 = 600;

/// One statement in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its kind.
    pub kind: u16,
    /// When it was issued, or the height it is about; 0 where the kind has neither.
    pub ordinal: u64,
    /// Which it is.
    pub statement: StatementId,
}

impl JournalEntry {
    /// Of a statement.
    pub fn of<B: Body>(statement: &Statement<B>) -> Self {
        Self { kind: B::KIND, ordinal: statement.body().ordinal().unwrap_or(0), statement: statement.id() }
    }

    /// The entries before this ordinal may go; `None`: they stay.
    pub(super) fn outdates(&self) -> Option<u64> {
        (self.kind == Stored::KIND).then(|| self.ordinal.saturating_sub(STORED_KEPT))
    }
}

/// A statement that is in the journal, durably, with the duties that it promises. There is no other way to sign one here.
#[derive(Debug)]
pub struct Journalled<B>(Statement<B>);

impl<B: Body> Journalled<B> {
    /// The caller has just made the entry durable.
    pub(super) fn new(statement: Statement<B>) -> Self {
        Self(statement)
    }

    /// Signs.
    pub fn sign(&self, key: &VoteSecretKey) -> VoteSignature {
        self.0.sign(key)
    }
}

/// What became of a promise.
#[derive(Debug)]
pub enum Promise {
    /// Every duty is recorded and the statement is in the journal.
    Journalled(Journalled<Stored>),
    /// The indices of the receipts whose blob is not stored or has another length; nothing was changed.
    Lacking(Vec<u16>),
}
