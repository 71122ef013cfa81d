//! Entering blobs, and prolonging duties.

use bytes::Bytes;
use redb::{ReadableTable, WriteTransaction};
use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;
use vouch_core::receipt::NEVER;
use vouch_node_core::access::{Counted, Usage};

use super::database::Change;
use super::entries::{BLOBS, BYTES, EXPIRY, Entry, EntryRow};
use super::journal::{self, JournalEntry};
use super::{damaged, partials, tokens, totals};
use crate::durable::Changes;

/// A blob to enter. Without bytes, its files are durable.
#[derive(Debug)]
pub(in super::super) struct NewBlob {
    pub(in super::super) digest: Digest,
    pub(in super::super) length: u64,
    pub(in super::super) keep_until: u64,
    pub(in super::super) stored_at: u64,
    pub(in super::super) bytes: Option<Bytes>,
}

impl NewBlob {
    /// The blob of an assignment, stored at this time.
    pub(in super::super) fn of(assignment: &Assignment, stored_at: u64, bytes: Option<Bytes>) -> Self {
        let Assignment { digest, length, expires_at, .. } = *assignment;
        Self { digest, length, keep_until: expires_at, stored_at, bytes }
    }
}

/// Enters a blob, or prolongs its duty if it is stored. Returns the guard.
pub(in super::super) fn record<G: Send + 'static>(new: NewBlob, guard: G) -> impl Change<G> {
    move |transaction: &WriteTransaction| {
        if is_recorded(transaction, &new)? {
            return Ok((guard, Changes::None));
        }
        enter(transaction, &new)?;
        Ok((guard, Changes::Made))
    }
}

/// What [`keep`] did.
#[derive(Debug)]
pub(in super::super) enum Kept {
    /// Everything is recorded. The totals of the tokens.
    All(Vec<Usage>),
    /// The indices of the assignments whose blobs are not stored or have another length. Nothing was changed.
    Lacking(Vec<u16>),
}

/// Prolongs the duties of assignments, counts for tokens, and enters a statement in the journal. If some blobs are not stored or have
/// another length, changes nothing.
pub(in super::super) fn keep(
    assignments: &[Assignment],
    counted: Vec<Counted>,
    entry: Option<JournalEntry>,
) -> impl Change<Kept> + use<> {
    let assignments = assignments.to_vec();
    move |transaction: &WriteTransaction| {
        let mut blobs = transaction.open_table(BLOBS)?;
        let lacking = lacking(&blobs, &assignments)?;
        if !lacking.is_empty() {
            return Ok((Kept::Lacking(lacking), Changes::None));
        }
        let mut changes = Changes::None;
        let mut expiry = transaction.open_table(EXPIRY)?;
        for assignment in &assignments {
            changes = changes.and(prolong(&mut blobs, &mut expiry, &assignment.digest, assignment.expires_at)?);
        }
        if let Some(entry) = entry {
            changes = changes.and(journal::enter(transaction, &entry)?);
        }
        let (usage, counting) = tokens::count(transaction, &counted)?;
        Ok((Kept::All(usage), changes.and(counting)))
    }
}

type BlobsTable<'t> = redb::Table<'t, [u8; 32], EntryRow>;
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
    if let Some(duty) = damaged::remove(transaction, &digest)? {
        expiry.remove((duty, digest.0))?;
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
    totals::add(transaction, entry.kind(), entry.length)
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
    blobs: &impl ReadableTable<[u8; 32], EntryRow>,
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
