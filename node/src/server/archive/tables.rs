//! The tables of the archive, and which certificates they keep.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::Limits;
use vouch_core::certificate::{Certificate, CertificateError};
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;
use vouch_core::statement::StoredClaim;

use crate::durable::listing;

/// Digest of the blob → the [best](Certificate::supersedes) certificate.
pub(super) const CERTIFICATES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("certificates");
/// `expires_at`, digest → position in the list of certificates, 0 if unknown. Only of certificates that expire.
pub(super) const EXPIRY: TableDefinition<'_, (u64, [u8; 32]), u64> = TableDefinition::new("certificates by expiry");
/// `newest` → the latest time at which a certificate was issued.
pub(super) const TIMES: TableDefinition<'_, &str, u64> = TableDefinition::new("times");

pub(super) const NEWEST: &str = "newest";

/// Seconds for which an expired certificate is kept.
pub(super) const KEPT_EXPIRED: u64 = 24 * 3600;
/// Maximum number of expired certificates that one commit deletes, in addition to as many as it inserts.
const DROPPED: usize = 64;

pub(super) fn insert(transaction: &WriteTransaction, certificates: &[Certificate]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(CERTIFICATES)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    let mut kept = Vec::new();
    for certificate in certificates {
        let digest = certificate.claim.receipt.digest;
        // a damaged certificate counts as none
        let old = table.get(&digest.0)?.and_then(|old| decode(old.value()).ok());
        if old.as_ref().is_none_or(|old| !old.supersedes(certificate)) {
            table.insert(&digest.0, certificate.encode().as_slice())?;
            if let Some(old) = old.filter(|old| old.claim.receipt.expires_at != certificate.claim.receipt.expires_at) {
                expiry.remove((old.claim.receipt.expires_at, digest.0))?;
            }
            kept.push(certificate);
        }
    }
    let first = listing::note(transaction, kept.iter().map(|certificate| certificate.claim.receipt.digest.0), 0)?;
    // If there are several of one blob, the last one is saved.
    let kept_of: BTreeMap<[u8; 32], (u64, u64)> = (first..)
        .zip(&kept)
        .map(|(position, certificate)| (position, &certificate.claim.receipt))
        .map(|(position, receipt)| (receipt.digest.0, (receipt.expires_at, position)))
        .collect();
    for (digest, (expires_at, position)) in kept_of {
        if expires_at != NEVER {
            expiry.insert((expires_at, digest), position)?;
        }
    }
    let mut times = transaction.open_table(TIMES)?;
    let before = times.get(NEWEST)?.map_or(0, |newest| newest.value());
    let newest = kept.iter().map(|certificate| certificate.claim.issued_at).fold(before, u64::max);
    times.insert(NEWEST, newest)?;
    drop((table, expiry, times));
    drop_expired(transaction, newest, kept.len() + DROPPED)
}

/// Certificates with this expiry or an earlier one are deleted, if the newest certificate was issued at `newest`.
pub(super) fn dropped_until(newest: u64) -> Option<u64> {
    newest.checked_sub(KEPT_EXPIRED)
}

/// Deletes certificates that expired a day before the newest one was issued, the earliest first.
fn drop_expired(transaction: &WriteTransaction, newest: u64, limit: usize) -> Result<(), redb::Error> {
    let Some(last) = dropped_until(newest) else { return Ok(()) };
    let mut expiry = transaction.open_table(EXPIRY)?;
    let mut due = Vec::new();
    for row in expiry.range(..=(last, [u8::MAX; 32]))?.take(limit) {
        let (key, position) = row?;
        due.push((key.value(), position.value()));
    }
    let mut table = transaction.open_table(CERTIFICATES)?;
    for ((expires_at, digest), position) in due {
        expiry.remove((expires_at, digest))?;
        let kept = table.get(&digest)?.map(|kept| decode(kept.value()));
        // A damaged certificate is deleted as well.
        if kept.is_some_and(|kept| kept.is_ok_and(|kept| kept.claim.receipt.expires_at != expires_at)) {
            continue;
        }
        table.remove(&digest)?;
        listing::forget(transaction, position, &digest)?;
    }
    Ok(())
}

/// Creates the tables by expiry for certificates of an earlier release.
pub(super) fn sort_by_expiry(
    transaction: &WriteTransaction,
    certificates: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
) -> Result<(), redb::Error> {
    let mut times = transaction.open_table(TIMES)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    if times.get(NEWEST)?.is_some() {
        return Ok(());
    }
    let mut newest = 0;
    for row in certificates.iter()? {
        // a damaged certificate counts as none
        let Ok(Certificate { claim: StoredClaim { receipt, issued_at, .. }, .. }) = decode(row?.1.value()) else {
            continue;
        };
        newest = newest.max(issued_at);
        if receipt.expires_at != NEVER {
            expiry.insert((receipt.expires_at, receipt.digest.0), 0)?;
        }
    }
    times.insert(NEWEST, newest)?;
    Ok(())
}

pub(super) fn find(
    transaction: &ReadTransaction,
    digest: &Digest,
) -> Result<Option<Result<Certificate, CertificateError>>, redb::Error> {
    let table = transaction.open_table(CERTIFICATES)?;
    Ok(table.get(&digest.0)?.map(|bytes| decode(bytes.value())))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::decode(bytes, &Limits::default())
}
