//! The journal of statements that this replica signs. An entry is durable before the signature leaves the replica.
//!
//! A statement is entered in the commit that records the duties that it promises, and only an entered statement is signed. So after any
//! crash, the journal has every statement for which a vote may exist. A kind of which a member may sign only one, for a height or an epoch, is
//! looked up here first. Acceptances of foundings have their own record, which exists before the committee.

use vouch_core::bls::{VoteSecretKey, VoteSignature};
use vouch_core::placement::Assignment;
use vouch_core::statement::{Body, Statement, StatementId, Stored};
use vouch_node_core::access::{Counted, Usage};

use super::index::{self, EnteredOnce, JournalEntry, Kept};
use super::{Store, StoreError};
use crate::bugs::{self, Bug};

/// A statement whose journal entry and duties are durable. Only such a statement can be signed.
#[derive(Debug)]
pub struct Journalled<B>(Statement<B>);

impl<B: Body> Journalled<B> {
    /// Signs the statement.
    pub fn sign(&self, key: &VoteSecretKey) -> VoteSignature {
        self.0.sign(key)
    }
}

/// The result of [`Store::promise`].
#[derive(Debug)]
pub enum Promise {
    /// Every duty is recorded and the statement is in the journal. The totals of the tokens that it counts for.
    Journalled(Journalled<Stored>, Vec<Usage>),
    /// The indices of the assignments whose blob is not stored or has another length. Nothing was changed.
    Lacking(Vec<u16>),
}

impl Store {
    /// Records the duties that a statement promises, as [`keep`](Self::keep) does, and enters the statement in the journal, in the same
    /// commit. `counted`: what counts for tokens. Only then may it be signed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn promise(
        &self,
        assignments: &[Assignment],
        counted: Vec<Counted>,
        statement: Statement<Stored>,
    ) -> Result<Promise, StoreError> {
        let entry = (!bugs::has(Bug::VoteWithoutJournal)).then(|| JournalEntry::of(&statement));
        Ok(match self.inner.index.change(index::keep(assignments, counted, entry)).await? {
            Kept::All(usage) => Promise::Journalled(Journalled(statement), usage),
            Kept::Lacking(lacking) => Promise::Lacking(lacking),
        })
    }

    /// The latest time or height of the statements of a kind that this replica has signed, or may have signed. Blocks until the disk has
    /// answered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn latest_signed(&self, kind: u16) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.index.latest_signed(kind)?)
    }

    /// Enters a statement of a kind of which a member signs one for each height, or for each epoch. Only then may it be signed.
    ///
    /// # Errors
    /// [`StoreError::SignedAnother`], [`StoreError::SignedLater`]; see [`StoreError`].
    pub async fn enter_once<B: Body>(&self, statement: Statement<B>) -> Result<Journalled<B>, StoreError> {
        let entry = JournalEntry::of(&statement);
        let JournalEntry { kind, ordinal: height, statement: got } = entry;
        match self.inner.index.change(index::enter_once(entry)).await? {
            EnteredOnce::Entered => Ok(Journalled(statement)),
            EnteredOnce::Another(expected) => Err(StoreError::SignedAnother { kind, height, expected, got }),
            EnteredOnce::TooLow(least) => Err(StoreError::SignedLater { kind, least, got: height }),
        }
    }

    /// The statements of a kind that this replica has signed, or may have signed, for a height or a time. Those of kind 1 are dropped
    /// ten minutes after the newest. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn signed(&self, kind: u16, ordinal: u64) -> Result<Vec<StatementId>, StoreError> {
        Ok(self.inner.index.signed(kind, ordinal)?)
    }
}
