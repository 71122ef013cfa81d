//! Values about the store itself: its id, and the history of the wall clock.

use std::time::Duration;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::database::{Change, Index};
use crate::durable::{Changes, DurableError};
use crate::store::settling::WallClockHistory;

/// Name → value.
pub(super) const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
/// The id of the folder or prefix with the blobs.
const STORE_ID: &str = "store-id";
const WALL_CLOCK: &str = "wall clock by running time";

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(ABOUT)?;
    Ok(())
}

impl Index {
    /// The id of the place of the blobs, if it has one.
    pub(in super::super) fn store_id(&self) -> Result<Option<String>, DurableError> {
        self.0.read(|transaction| {
            let about = transaction.open_table(ABOUT)?;
            Ok(about.get(STORE_ID)?.map(|row| String::from_utf8_lossy(row.value()).into_owned()))
        })
    }

    pub(in super::super) fn set_store_id(&self, id: &str) -> Result<(), DurableError> {
        let id = id.to_owned();
        self.0.commit_and_wait(move |transaction| {
            transaction.open_table(ABOUT)?.insert(STORE_ID, id.as_bytes())?;
            Ok(())
        })
    }

    #[cfg(test)]
    pub(in super::super) fn forget_store_id(&self) {
        let forget = |transaction: &WriteTransaction| {
            transaction.open_table(ABOUT)?.remove(STORE_ID)?;
            Ok(())
        };
        self.0.commit_and_wait(forget).unwrap();
    }
}

/// Adds the wall clock's time, after so much more running time, to its history. Returns the time to judge expiry by, if any blob may
/// be deleted.
pub(in super::super) fn note_wall_clock(wall: u64, ran: Duration, window: Duration) -> impl Change<Option<u64>> {
    move |transaction: &WriteTransaction| {
        let mut about = transaction.open_table(ABOUT)?;
        let mut history = about
            .get(WALL_CLOCK)?
            .map_or_else(WallClockHistory::default, |row| WallClockHistory::from_bytes(row.value()));
        let judged = history.note(history.running() + ran.as_secs(), wall, window);
        about.insert(WALL_CLOCK, history.to_bytes().as_slice())?;
        Ok((judged, Changes::Made))
    }
}
