//! The database of the index, and what changes it.

use redb::{ReadableTable, WriteTransaction};
use vouch_core::digest::Digest;

use crate::durable::{Changes, Database};

/// The index of a store. Each module beside this one has the tables of its subject.
#[derive(Debug)]
pub(in super::super) struct Index(pub(in super::super) Database);

/// A change of the index. It runs in a write transaction, and returns a result and whether it changed anything.
pub(in super::super) trait Change<T>:
    FnOnce(&WriteTransaction) -> Result<(T, Changes), redb::Error> + Send + 'static
{
}

impl<T, F> Change<T> for F where F: FnOnce(&WriteTransaction) -> Result<(T, Changes), redb::Error> + Send + 'static {}

/// The rows after one, in order of their digests.
pub(super) fn rows_after<V: redb::Value + 'static, T>(
    table: &impl ReadableTable<[u8; 32], V>,
    after: Option<Digest>,
    limit: usize,
    make: impl Fn(Digest, V::SelfType<'_>) -> T,
) -> Result<Vec<T>, redb::Error> {
    use std::ops::Bound;
    let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.0));
    let rows = table.range::<[u8; 32]>((start, Bound::Unbounded))?.take(limit);
    rows.map(|row| row.map(|(digest, value)| make(Digest(digest.value()), value.value())).map_err(Into::into)).collect()
}
