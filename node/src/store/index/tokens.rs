//! What each token has stored.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::access::TokenKey;
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;
use vouch_node_core::access::{Counted, Usage};

use super::database::{Change, Index};
use crate::durable::{Changes, DurableError};

/// Token and digest → length, and until when it counts.
const PUTS: TableDefinition<'_, PutKey, (u64, u64)> = TableDefinition::new("token puts");
/// Every count that ends, ordered by its end.
const ENDS: TableDefinition<'_, (u64, [u8; 32], [u8; 32]), ()> = TableDefinition::new("token ends");
/// Token → sum of the lengths.
const TOTALS: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("token totals");

type PutKey = ([u8; 32], [u8; 32]);

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(PUTS)?;
    transaction.open_table(ENDS)?;
    transaction.open_table(TOTALS)?;
    Ok(())
}

impl Index {
    /// What every token has stored.
    pub(in super::super) fn token_usage(&self) -> Result<Vec<Usage>, DurableError> {
        self.0.read(|transaction| {
            let totals = transaction.open_table(TOTALS)?;
            let rows = totals.iter()?;
            rows.map(|row| row.map(|(token, bytes)| usage(token.value(), bytes.value())).map_err(Into::into)).collect()
        })
    }

    /// Whether a blob is counted for a token.
    pub(in super::super) fn is_counted(&self, token: &TokenKey, digest: &Digest) -> Result<bool, DurableError> {
        self.0.read(|transaction| Ok(transaction.open_table(PUTS)?.get((token.0, digest.0))?.is_some()))
    }
}

fn usage(token: [u8; 32], bytes: u64) -> Usage {
    Usage { token: TokenKey(token), bytes }
}

/// Counts puts for their tokens, each blob once for a token. Returns the tokens' totals.
pub(super) fn count(transaction: &WriteTransaction, counted: &[Counted]) -> Result<(Vec<Usage>, Changes), redb::Error> {
    if counted.is_empty() {
        return Ok((Vec::new(), Changes::None));
    }
    let (mut puts, mut ends) = (transaction.open_table(PUTS)?, transaction.open_table(ENDS)?);
    let mut totals = transaction.open_table(TOTALS)?;
    let mut usages = Vec::new();
    for Counted { token, digest, length, expires_at } in counted {
        let key = (token.0, digest.0);
        let old = puts.get(key)?.map(|row| row.value());
        let mut total = totals.get(token.0)?.map_or(0, |row| row.value());
        let until = old.map_or(*expires_at, |(_, until)| until.max(*expires_at));
        if let Some((length, until)) = old {
            ends.remove((until, token.0, digest.0))?;
            total = total.saturating_sub(length);
        }
        puts.insert(key, (*length, until))?;
        if until != NEVER {
            ends.insert((until, token.0, digest.0), ())?;
        }
        total = total.saturating_add(*length);
        totals.insert(token.0, total)?;
        usages.push(usage(token.0, total));
    }
    Ok((usages, Changes::Made))
}

/// Ends up to `limit` counts that ended at `last` or before. Returns the totals of their tokens; `None` if there were none.
pub(in super::super) fn end_counts(last: u64, limit: usize) -> impl Change<Option<Vec<Usage>>> {
    move |transaction: &WriteTransaction| {
        let mut ends = transaction.open_table(ENDS)?;
        let mut due = Vec::new();
        for row in ends.range(..=(last.min(NEVER - 1), [u8::MAX; 32], [u8::MAX; 32]))?.take(limit) {
            due.push(row?.0.value());
        }
        if due.is_empty() {
            return Ok((None, Changes::None));
        }
        let (mut puts, mut totals) = (transaction.open_table(PUTS)?, transaction.open_table(TOTALS)?);
        let mut usages = Vec::new();
        for (until, token, digest) in due {
            ends.remove((until, token, digest))?;
            let length = puts.remove((token, digest))?.map_or(0, |row| row.value().0);
            let total = totals.get(token)?.map_or(0, |row| row.value()).saturating_sub(length);
            match total {
                0 => drop(totals.remove(token)?),
                total => drop(totals.insert(token, total)?),
            }
            usages.push(usage(token, total));
        }
        Ok((Some(usages), Changes::Made))
    }
}
