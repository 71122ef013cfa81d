//! The index: the stored blobs, their duties, and the small blobs themselves. Each module has the tables of one subject.
//!
//! A change to a blob's entry changes its expiry row and the totals in the same transaction.

use std::path::Path;

use crate::durable::{Database, DurableError, Replaced};
use crate::host::Host;

mod about;
mod certificates;
mod damaged;
mod database;
mod entries;
mod journal;
mod lists;
mod partials;
mod recording;
mod removal;
mod tokens;
mod totals;

pub(super) use about::note_wall_clock;
pub(super) use certificates::archive;
pub(super) use database::{Change, Index};
pub use entries::Entry;
#[cfg(test)]
pub(super) use journal::STORED_KEPT;
pub(super) use journal::{EnteredOnce, JournalEntry, enter_once};
pub(super) use lists::remember as remember_lists;
pub(super) use partials::PartialRow;
pub(super) use recording::{Kept, NewBlob, keep, record};
pub(super) use removal::{Removed, mark_damaged, remove_expired};
pub(super) use tokens::end_counts;

/// The index's file name.
pub(crate) const INDEX: &str = "index.redb";

impl Index {
    /// Opens the index. Moves a damaged one aside; then nothing is stored until it is fetched from the other replicas.
    pub(super) fn open(host: &Host, path: &Path) -> Result<(Self, Option<Replaced>), DurableError> {
        let random = host.random();
        let (database, replaced) = Database::open_or_replace(host, path, |transaction| {
            entries::create(transaction)?;
            damaged::create(transaction)?;
            certificates::create(transaction)?;
            totals::create(transaction)?;
            about::create(transaction)?;
            journal::create(transaction)?;
            partials::create(transaction)?;
            lists::create(transaction, random)?;
            tokens::create(transaction)?;
            Ok(())
        })?;
        Ok((Self(database), replaced))
    }
}
