//! The order in which the rows of a table arrived, so that a reader that remembers its position gets only new rows.
//!
//! A replaced row gets a new position and keeps its old one. A removed row keeps its position. Readers look the row up by its key, so
//! they see the newest value, perhaps twice, or nothing. Positions without a row are dropped when
//! the database is opened, once they are the majority.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use vouch_core::MAX_SAFE_INTEGER;
use vouch_core::message::ListPosition;

/// Position, from 1 → the row's key, and its [`origin`]; 0 if the origin does not matter.
const ORDER: TableDefinition<'_, u64, ([u8; 32], u64)> = TableDefinition::new("rows in order");
/// `number` → the list's number.
const LIST: TableDefinition<'_, &str, u64> = TableDefinition::new("list");
/// Node key of another list's owner → that list's number, and the last position read.
const READ: TableDefinition<'_, [u8; 32], (u64, u64)> = TableDefinition::new("lists read");

const NUMBER: &str = "number";
/// Number of positions without a row that never cause a renumbering.
const SPARE: u64 = 1024;
/// Maximum number of positions that one page examines. It bounds the work if few of them have a row.
const POSITIONS: usize = 1 << 14;

/// Identifies the node that a row came from: the first bytes of its node key.
pub(crate) fn origin(node_key: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&node_key[..8]);
    u64::from_le_bytes(first)
}

/// Creates the tables. If the rows have no positions yet, or most positions have no row any more, gives `keys` new positions and
/// makes `random` the list's number, because positions of the old numbering are no longer valid.
pub(crate) fn create(
    transaction: &WriteTransaction,
    random: [u8; 8],
    rows: u64,
    keys: impl FnOnce() -> Result<Vec<[u8; 32]>, redb::Error>,
) -> Result<(), redb::Error> {
    transaction.open_table(READ)?;
    let mut list = transaction.open_table(LIST)?;
    let positions = transaction.open_table(ORDER)?.len()?;
    if list.get(NUMBER)?.is_some() && positions <= rows.saturating_mul(2).saturating_add(SPARE) {
        return Ok(());
    }
    let keys = keys()?;
    transaction.delete_table(ORDER)?;
    let mut order = transaction.open_table(ORDER)?;
    for (position, key) in (1..).zip(keys) {
        order.insert(position, (key, 0))?;
    }
    // 0 means no list
    list.insert(NUMBER, (u64::from_le_bytes(random) & MAX_SAFE_INTEGER).max(1))?;
    Ok(())
}

/// Gives the next positions to rows that were inserted or replaced. Returns the first of them.
pub(crate) fn note(
    transaction: &WriteTransaction,
    keys: impl IntoIterator<Item = [u8; 32]>,
    origin: u64,
) -> Result<u64, redb::Error> {
    let mut order = transaction.open_table(ORDER)?;
    let next = order.last()?.map_or(1, |(last, _)| last.value() + 1);
    for (position, key) in (next..).zip(keys) {
        order.insert(position, (key, origin))?;
    }
    Ok(next)
}

/// Drops the position of a removed row, if it still belongs to this row: rows may have been renumbered. The last position is
/// kept: a reader whose position is beyond the end would start again.
pub(crate) fn forget(transaction: &WriteTransaction, position: u64, key: &[u8; 32]) -> Result<(), redb::Error> {
    let mut order = transaction.open_table(ORDER)?;
    let is_last = order.last()?.is_none_or(|(last, _)| last.value() == position);
    let is_its_own = order.get(position)?.is_some_and(|row| row.value().0 == *key);
    if is_its_own && !is_last {
        order.remove(position)?;
    }
    Ok(())
}

/// Calls `take` with the keys after a position, and the origin of each, until it returns `false`. Returns the position reached, and
/// whether more keys follow.
pub(crate) fn read(
    transaction: &ReadTransaction,
    from: ListPosition,
    mut take: impl FnMut([u8; 32], u64) -> Result<bool, redb::Error>,
) -> Result<(ListPosition, bool), redb::Error> {
    let list = transaction.open_table(LIST)?.get(NUMBER)?.map_or(0, |number| number.value());
    let order = transaction.open_table(ORDER)?;
    let last = order.last()?.map_or(0, |(last, _)| last.value());
    // A position beyond the end is from a longer list, before a backup was restored.
    let after = if from.list == list && from.after <= last { from.after } else { 0 };
    let mut end = ListPosition { list, after };
    for row in order.range(after + 1..)?.take(POSITIONS) {
        let (position, key) = row?;
        end.after = position.value();
        let (key, origin) = key.value();
        if !take(key, origin)? {
            break;
        }
    }
    Ok((end, end.after < last))
}

/// The position up to which each other list was read, by the node key of its owner.
pub(crate) fn lists_read(transaction: &ReadTransaction) -> Result<BTreeMap<[u8; 32], ListPosition>, redb::Error> {
    let mut lists = BTreeMap::new();
    for row in transaction.open_table(READ)?.iter()? {
        let (owner, position) = row?;
        let (list, after) = position.value();
        lists.insert(owner.value(), ListPosition { list, after });
    }
    Ok(lists)
}

/// Remembers the position up to which a list was read.
pub(crate) fn remember(
    transaction: &WriteTransaction,
    owner: &[u8; 32],
    position: ListPosition,
) -> Result<(), redb::Error> {
    transaction.open_table(READ)?.insert(owner, (position.list, position.after))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durable::Database;
    use crate::host::Host;

    const ROWS: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("rows");

    fn open(folder: &std::path::Path, random: u8) -> Database {
        let path = folder.join("database");
        let prepare = |transaction: &WriteTransaction| {
            let rows = transaction.open_table(ROWS)?;
            let keys = || rows.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<Vec<_>, redb::Error>>();
            create(transaction, [random; 8], rows.len()?, keys)
        };
        Database::open_with(&Host::system(), &path, prepare).unwrap()
    }

    fn insert(database: &Database, keys: &'static [u8]) {
        let commit = database.commit_and_wait(move |transaction| {
            let mut rows = transaction.open_table(ROWS)?;
            for key in keys {
                rows.insert([*key; 32], 0)?;
            }
            note(transaction, keys.iter().map(|key| [*key; 32]), origin(&[9; 32])).map(drop)
        });
        commit.unwrap();
    }

    /// The first bytes of up to `limit` keys, and the end.
    fn page(database: &Database, from: ListPosition, limit: usize) -> (Vec<u8>, ListPosition, bool) {
        let mut keys = Vec::new();
        let read = database.read(|transaction| {
            read(transaction, from, |key, from| {
                assert!(from == 0 || from == origin(&[9; 32]));
                keys.push(key[0]);
                Ok(keys.len() < limit)
            })
        });
        let (end, more) = read.unwrap();
        (keys, end, more)
    }

    #[test]
    fn a_reader_gets_the_rows_after_its_position() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path(), 1);
        assert!(page(&database, ListPosition::default(), 9).0.is_empty());
        insert(&database, &[5, 3, 4]);
        let (keys, end, more) = page(&database, ListPosition::default(), 2);
        assert_eq!((&keys[..], more), (&[5, 3][..], true), "in the order in which they came");
        let (keys, end, more) = page(&database, end, 2);
        assert_eq!((&keys[..], more), (&[4][..], false));
        assert_eq!(page(&database, end, 2), (vec![], end, false));
        insert(&database, &[5]);
        let (keys, end, _) = page(&database, end, 2);
        assert_eq!(keys, [5], "one that is replaced is new");
        drop(database);
        let database = open(folder.path(), 2);
        assert_eq!(page(&database, end, 2), (vec![], end, false), "the same list after a restart");
        // a position of another list, and one of this list when it was longer
        for from in [ListPosition { list: end.list + 1, ..end }, ListPosition { after: end.after + 1, ..end }] {
            assert_eq!(page(&database, from, 9).0, [5, 3, 4, 5]);
        }
    }

    #[test]
    fn only_the_position_of_a_removed_row_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path(), 1);
        insert(&database, &[5, 3, 4]);
        let (_, end, _) = page(&database, ListPosition::default(), 9);
        for (position, key) in [(1, 5), (2, 9), (3, 4), (8, 5)] {
            database.commit_and_wait(move |transaction| forget(transaction, position, &[key; 32])).unwrap();
        }
        assert_eq!(page(&database, ListPosition::default(), 9).0, [3, 4], "another row's and the last one stay");
        assert_eq!(page(&database, end, 9), (vec![], end, false), "nothing follows the end of the list");
    }

    #[test]
    fn a_table_without_an_order_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("database");
        let fill = |transaction: &WriteTransaction| {
            let mut rows = transaction.open_table(ROWS)?;
            (0..3).try_for_each(|key| rows.insert([key; 32], 0).map(drop))?;
            Ok(())
        };
        drop(Database::open_with(&Host::system(), &path, fill).unwrap());
        let database = open(folder.path(), 1);
        assert_eq!(page(&database, ListPosition::default(), 9).0, [0, 1, 2]);
    }

    #[test]
    fn positions_without_a_row_do_not_accumulate() {
        let folder = tempfile::tempdir().unwrap();
        let database = open(folder.path(), 1);
        for _ in 0..SPARE / 100 + 1 {
            insert(&database, &[7; 100]);
        }
        let (_, before, _) = page(&database, ListPosition::default(), usize::MAX);
        drop(database);
        let database = open(folder.path(), 2);
        let (keys, after, _) = page(&database, before, usize::MAX);
        assert_eq!(keys, [7]);
        assert_ne!(before.list, after.list);
    }

    #[test]
    fn read_positions_of_other_lists_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let position = ListPosition { list: 8, after: 9 };
        let database = open(folder.path(), 1);
        database.commit_and_wait(move |transaction| remember(transaction, &[6; 32], position)).unwrap();
        drop(database);
        let database = open(folder.path(), 1);
        assert_eq!(database.read(lists_read).unwrap(), BTreeMap::from([([6; 32], position)]));
    }
}
