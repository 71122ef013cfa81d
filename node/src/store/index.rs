//! The index: the stored blobs, their duties, and the small blobs themselves.
//!
//! A change to a blob's entry changes its expiry row and the totals in the same transaction.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::limits::Limits;
use vouch_core::placement::Assignment;
use vouch_core::receipt::NEVER;
use vouch_node_core::replica::assigned_blob::AssignedBlob;

use super::journal::JournalEntry;
use super::settling::WallClockHistory;
use crate::durable::{Changes, Database, DurableError, Replaced, listing};
use crate::host::Host;

mod journal;
mod lists;
mod partials;
mod removal;

pub(super) use lists::remember as remember_lists;
pub(super) use partials::PartialRow;
pub(super) use removal::{Removed, mark_damaged, remove_expired};

/// Digest → length, end of its duty and time of storing in seconds since 1970, and the key of its bytes in [`BYTES`]; none if
/// they are in files.
const BLOBS: TableDefinition<'_, [u8; 32], (u64, u64, u64, Option<u64>)> = TableDefinition::new("blobs");
/// Small blobs, numbered in the order of their arrival: neighbours share pages, which random digests would not.
const BYTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bytes");
/// Every duty that ends, ordered by its end, including those of damaged blobs.
const EXPIRY: TableDefinition<'_, (u64, [u8; 32]), ()> = TableDefinition::new("expiry");
/// Digest → length and end of its duty, of blobs that were stored, are damaged, and are to be fetched again.
const DAMAGED: TableDefinition<'_, [u8; 32], (u64, u64)> = TableDefinition::new("damaged");
/// Digest → `issued_at` and encoding of the [best](Certificate::supersedes) certificate.
const CERTIFICATES: TableDefinition<'_, [u8; 32], (u64, &[u8])> = TableDefinition::new("certificates");
/// Name of a kind → number of blobs, and their bytes.
const TOTALS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("totals");

/// Values about the store itself, by name.
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
/// The id of the folder or prefix with the blobs.
const STORE_ID: &str = "store-id";
const WALL_CLOCK: &str = "wall clock by running time";

// The kinds in `TOTALS`.
const SMALL: &str = "small";
const LARGE: &str = "large";
const BAD: &str = "damaged";

/// A stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Length in bytes.
    pub length: u64,
    /// When its duty ends, in seconds since 1970.
    pub keep_until: u64,
    /// When it was stored, in seconds since 1970.
    pub stored_at: u64,
    /// The key of its bytes in the index; `None` if they are in files.
    number: Option<u64>,
}

impl Entry {
    fn from_row((length, keep_until, stored_at, number): (u64, u64, u64, Option<u64>)) -> Self {
        Self { length, keep_until, stored_at, number }
    }

    fn row(&self) -> (u64, u64, u64, Option<u64>) {
        (self.length, self.keep_until, self.stored_at, self.number)
    }

    /// Whether its bytes are in files.
    pub(super) fn in_files(&self) -> bool {
        self.number.is_none()
    }

    fn kind(&self) -> &'static str {
        if self.in_files() { LARGE } else { SMALL }
    }
}

/// Number of blobs, and their bytes, of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) small: (u64, u64),
    pub(super) large: (u64, u64),
    pub(super) damaged: (u64, u64),
}

/// A blob to enter. Without bytes, its files are durable.
#[derive(Debug)]
pub(super) struct NewBlob {
    pub(super) digest: Digest,
    pub(super) length: u64,
    pub(super) keep_until: u64,
    pub(super) stored_at: u64,
    pub(super) bytes: Option<Bytes>,
}

impl NewBlob {
    /// The blob of an assignment, stored at this time.
    pub(super) fn of(assignment: &Assignment, stored_at: u64, bytes: Option<Bytes>) -> Self {
        let Assignment { digest, length, expires_at, .. } = *assignment;
        Self { digest, length, keep_until: expires_at, stored_at, bytes }
    }
}

#[derive(Debug)]
pub(super) struct Index(pub(super) Database);

impl Index {
    /// Opens the index. Moves a damaged one aside; then nothing is stored until it is fetched from the other replicas.
    pub(super) fn open(host: &Host, path: &Path) -> Result<(Self, Option<Replaced>), DurableError> {
        let random = host.random();
        let (database, replaced) = Database::open_or_replace(host, path, |transaction| {
            transaction.open_table(BLOBS)?;
            transaction.open_table(BYTES)?;
            transaction.open_table(EXPIRY)?;
            transaction.open_table(DAMAGED)?;
            transaction.open_table(CERTIFICATES)?;
            transaction.open_table(TOTALS)?;
            transaction.open_table(ABOUT)?;
            journal::create(transaction)?;
            partials::create(transaction)?;
            lists::create(transaction, random)?;
            Ok(())
        })?;
        Ok((Self(database), replaced))
    }

    /// The id of the place of the blobs, if it has one.
    pub(super) fn store_id(&self) -> Result<Option<String>, DurableError> {
        self.0.read(|transaction| {
            let about = transaction.open_table(ABOUT)?;
            Ok(about.get(STORE_ID)?.map(|row| String::from_utf8_lossy(row.value()).into_owned()))
        })
    }

    pub(super) fn set_store_id(&self, id: &str) -> Result<(), DurableError> {
        let id = id.to_owned();
        self.0.commit_and_wait(move |transaction| {
            transaction.open_table(ABOUT)?.insert(STORE_ID, id.as_bytes())?;
            Ok(())
        })
    }

    #[cfg(test)]
    pub(super) fn forget_store_id(&self) {
        let forget = |transaction: &WriteTransaction| {
            transaction.open_table(ABOUT)?.remove(STORE_ID)?;
            Ok(())
        };
        self.0.commit_and_wait(forget).unwrap();
    }

    pub(super) fn entry(&self, digest: &Digest) -> Result<Option<Entry>, DurableError> {
        self.0.read(|transaction| entry(transaction, digest))
    }

    /// Whether a blob of this digest and length is stored.
    pub(super) fn holds(&self, digest: &Digest, length: u64) -> Result<bool, DurableError> {
        Ok(self.entry(digest)?.is_some_and(|entry| entry.length == length))
    }

    /// An entry, and the blob's bytes if they are in the index, from one snapshot.
    pub(super) fn entry_and_bytes(&self, digest: &Digest) -> Result<Option<(Entry, Option<Bytes>)>, DurableError> {
        self.0.read(|transaction| {
            let Some(entry) = entry(transaction, digest)? else { return Ok(None) };
            let Some(number) = entry.number else { return Ok(Some((entry, None))) };
            let row = transaction.open_table(BYTES)?.get(number)?;
            // If the row is lost, return no bytes: they then fail verification.
            let bytes = row.map_or_else(Bytes::new, |row| Bytes::copy_from_slice(row.value()));
            Ok(Some((entry, Some(bytes))))
        })
    }

    /// The stored blobs after one, in order of their digests.
    pub(super) fn entries_after(
        &self,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, Entry)>, DurableError> {
        self.0.read(|transaction| {
            let blobs = transaction.open_table(BLOBS)?;
            rows_after(&blobs, after, limit, |digest, row| (digest, Entry::from_row(row)))
        })
    }

    /// The damaged blobs after one, in order of their digests: length, and end of the duty.
    pub(super) fn damaged_after(
        &self,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, u64, u64)>, DurableError> {
        self.0.read(|transaction| {
            let damaged = transaction.open_table(DAMAGED)?;
            rows_after(&damaged, after, limit, |digest, (length, keep_until)| (digest, length, keep_until))
        })
    }

    pub(super) fn totals(&self) -> Result<Totals, DurableError> {
        self.0.read(|transaction| {
            let totals = transaction.open_table(TOTALS)?;
            let of = |kind: &str| Ok::<_, redb::Error>(totals.get(kind)?.map_or((0, 0), |row| row.value()));
            Ok(Totals { small: of(SMALL)?, large: of(LARGE)?, damaged: of(BAD)? })
        })
    }

    /// The encoding of the certificate that is kept of a blob.
    pub(super) fn certificate(&self, digest: &Digest) -> Result<Option<Vec<u8>>, DurableError> {
        self.0.read(|transaction| {
            let certificates = transaction.open_table(CERTIFICATES)?;
            Ok(certificates.get(digest.0)?.map(|row| row.value().1.to_vec()))
        })
    }
}

/// A change of the index. It runs in a write transaction, and returns a result and whether it changed anything.
pub(super) trait Change<T>:
    FnOnce(&WriteTransaction) -> Result<(T, Changes), redb::Error> + Send + 'static
{
}

impl<T, F> Change<T> for F where F: FnOnce(&WriteTransaction) -> Result<(T, Changes), redb::Error> + Send + 'static {}

/// Enters a blob, or prolongs its duty if it is stored. Returns the guard.
pub(super) fn record<G: Send + 'static>(new: NewBlob, guard: G) -> impl Change<G> {
    move |transaction: &WriteTransaction| {
        if is_recorded(transaction, &new)? {
            return Ok((guard, Changes::None));
        }
        enter(transaction, &new)?;
        Ok((guard, Changes::Made))
    }
}

/// Prolongs the duties of assignments and enters a statement in the journal. If some blobs are not stored or have another length,
/// changes nothing and returns the indices of their assignments.
pub(super) fn keep(assignments: &[Assignment], entry: Option<JournalEntry>) -> impl Change<Vec<u16>> + use<> {
    let assignments = assignments.to_vec();
    move |transaction: &WriteTransaction| {
        let mut blobs = transaction.open_table(BLOBS)?;
        let lacking = lacking(&blobs, &assignments)?;
        if !lacking.is_empty() {
            return Ok((lacking, Changes::None));
        }
        let mut changes = Changes::None;
        let mut expiry = transaction.open_table(EXPIRY)?;
        for assignment in &assignments {
            changes = changes.and(prolong(&mut blobs, &mut expiry, &assignment.digest, assignment.expires_at)?);
        }
        if let Some(entry) = entry {
            changes = changes.and(journal::enter(transaction, &entry)?);
        }
        Ok((lacking, changes))
    }
}

/// Keeps certificates of blobs that are stored or damaged. A certificate replaces one of the same blob only if it [supersedes](Certificate::supersedes) it.
pub(super) fn archive(assigned: Vec<AssignedBlob>, origin: u64) -> impl Change<()> {
    move |transaction: &WriteTransaction| {
        let (blobs, damaged) = (transaction.open_table(BLOBS)?, transaction.open_table(DAMAGED)?);
        let mut table = transaction.open_table(CERTIFICATES)?;
        let mut kept = Vec::new();
        for AssignedBlob { certificate, assignment } in &assigned {
            let digest = assignment.digest;
            let stored = blobs.get(digest.0)?.map(|row| row.value().0);
            let held = match stored {
                None => damaged.get(digest.0)?.map(|row| row.value().0),
                stored => stored,
            };
            // a certificate that does not decode counts as none
            let old = table.get(digest.0)?;
            let old = old.and_then(|row| Certificate::decode(row.value().1, &Limits::default()).ok());
            if assignment.is_held(held) && old.is_none_or(|old| certificate.supersedes(&old)) {
                table.insert(digest.0, (certificate.claim.issued_at, certificate.encode().as_slice()))?;
                kept.push(digest.0);
            }
        }
        let changes = if kept.is_empty() { Changes::None } else { Changes::Made };
        listing::note(transaction, kept, origin)?;
        Ok(((), changes))
    }
}

/// Adds the wall clock's time, after so much more running time, to its history. Returns the time to judge expiry by, if any blob may
/// be deleted.
pub(super) fn note_wall_clock(wall: u64, ran: Duration, window: Duration) -> impl Change<Option<u64>> {
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

fn entry(transaction: &ReadTransaction, digest: &Digest) -> Result<Option<Entry>, redb::Error> {
    let blobs = transaction.open_table(BLOBS)?;
    Ok(blobs.get(digest.0)?.map(|row| Entry::from_row(row.value())))
}

fn rows_after<V: redb::Value + 'static, T>(
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

type BlobsTable<'t> = redb::Table<'t, [u8; 32], (u64, u64, u64, Option<u64>)>;
type ExpiryTable<'t> = redb::Table<'t, (u64, [u8; 32]), ()>;

/// Whether entering this blob would change nothing.
fn is_recorded(transaction: &WriteTransaction, new: &NewBlob) -> Result<bool, redb::Error> {
    let old = transaction.open_table(BLOBS)?.get(new.digest.0)?.map(|row| Entry::from_row(row.value()));
    let Some(old) = old else { return Ok(false) };
    if partials::is_noted(transaction, &new.digest, new.length)? {
        return Ok(false);
    }
    let same = match (old.number, &new.bytes) {
        (Some(number), Some(bytes)) => {
            transaction.open_table(BYTES)?.get(number)?.is_some_and(|row| row.value() == &bytes[..])
        }
        (None, None) => true,
        _ => false,
    };
    Ok(same && new.keep_until <= old.keep_until)
}

fn enter(transaction: &WriteTransaction, new: &NewBlob) -> Result<(), redb::Error> {
    partials::forget(transaction, &new.digest, new.length)?;
    let mut blobs = transaction.open_table(BLOBS)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    let digest = new.digest;
    let old = blobs.get(digest.0)?.map(|row| Entry::from_row(row.value()));
    if let Some(old) = old {
        if let (Some(number), Some(bytes)) = (old.number, &new.bytes) {
            // Replace the bytes: these were just verified, those may have decayed.
            transaction.open_table(BYTES)?.insert(number, &bytes[..])?;
        }
        return prolong(&mut blobs, &mut expiry, &digest, new.keep_until).map(drop);
    }
    let mut keep_until = new.keep_until;
    let damaged = transaction.open_table(DAMAGED)?.remove(digest.0)?.map(|row| row.value());
    if let Some((length, duty)) = damaged {
        expiry.remove((duty, digest.0))?;
        subtract(transaction, BAD, length)?;
        keep_until = keep_until.max(duty);
    }
    let number = match &new.bytes {
        None => None,
        Some(bytes) => {
            let mut table = transaction.open_table(BYTES)?;
            let number = table.last()?.map_or(0, |(last, _)| last.value() + 1);
            table.insert(number, &bytes[..])?;
            Some(number)
        }
    };
    let entry = Entry { length: new.length, keep_until, stored_at: new.stored_at, number };
    blobs.insert(digest.0, entry.row())?;
    if keep_until != NEVER {
        expiry.insert((keep_until, digest.0), ())?;
    }
    add(transaction, entry.kind(), entry.length)
}

/// Moves the end of a stored blob's duty to a later time, never to an earlier one.
fn prolong(
    blobs: &mut BlobsTable<'_>,
    expiry: &mut ExpiryTable<'_>,
    digest: &Digest,
    until: u64,
) -> Result<Changes, redb::Error> {
    let old = blobs.get(digest.0)?.map(|row| Entry::from_row(row.value()));
    let Some(old) = old.filter(|old| until > old.keep_until) else { return Ok(Changes::None) };
    expiry.remove((old.keep_until, digest.0))?;
    if until != NEVER {
        expiry.insert((until, digest.0), ())?;
    }
    blobs.insert(digest.0, Entry { keep_until: until, ..old }.row())?;
    Ok(Changes::Made)
}

/// The indices of assignments whose blob is not stored or has another length.
fn lacking(
    blobs: &impl ReadableTable<[u8; 32], (u64, u64, u64, Option<u64>)>,
    assignments: &[Assignment],
) -> Result<Vec<u16>, redb::Error> {
    let mut lacking = Vec::new();
    for (index, assignment) in (0..=u16::MAX).zip(assignments) {
        if !assignment.is_held(blobs.get(assignment.digest.0)?.map(|row| row.value().0)) {
            lacking.push(index);
        }
    }
    Ok(lacking)
}

fn add(transaction: &WriteTransaction, kind: &str, length: u64) -> Result<(), redb::Error> {
    let mut totals = transaction.open_table(TOTALS)?;
    let (blobs, bytes) = totals.get(kind)?.map_or((0, 0), |row| row.value());
    totals.insert(kind, (blobs.saturating_add(1), bytes.saturating_add(length)))?;
    Ok(())
}

fn subtract(transaction: &WriteTransaction, kind: &str, length: u64) -> Result<(), redb::Error> {
    let mut totals = transaction.open_table(TOTALS)?;
    let (blobs, bytes) = totals.get(kind)?.map_or((0, 0), |row| row.value());
    totals.insert(kind, (blobs.saturating_sub(1), bytes.saturating_sub(length)))?;
    Ok(())
}
