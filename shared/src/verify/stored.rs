//! The checks of a certificate of availability besides its signature: the file and the time.

use super::signed::{check_aggregate, check_signers, verify_signed};
use super::{CLOCK_TOLERANCE, Invalid, Subject, VerifiedAggregates};
use crate::certificate::Certificate;
use crate::committee::Committee;
use crate::statement::StoredClaim;

/// Checks a certificate against a verified, trusted committee.
///
/// # Errors
/// The first check that fails, from `epoch` on.
pub fn verify_certificate(
    certificate: &Certificate,
    committee: &Committee,
    subject: &Subject,
    now: u64,
    waive_expiry: bool,
) -> Result<(), Invalid> {
    verify_signed(certificate, committee)?;
    check_subject(&certificate.claim, subject)?;
    check_in_force(&certificate.claim, now, waive_expiry)
}

/// As [`verify_certificate`], for a client with many puts. It skips the pairing if `verified` has the same statement, signers and
/// signature. Every other check is made each time, including that of the path, which connects the receipt to the statement.
///
/// # Errors
/// As [`verify_certificate`].
pub fn verify_certificate_of_batch(
    certificate: &Certificate,
    committee: &Committee,
    subject: &Subject,
    now: u64,
    verified: &mut VerifiedAggregates,
) -> Result<(), Invalid> {
    let statement = check_signers(certificate, committee.record())?.encode();
    if !verified.contains(&statement, &certificate.signers, &certificate.signature) {
        check_aggregate(certificate, committee, &statement)?;
        verified.add(statement, certificate.signers.clone(), certificate.signature);
    }
    check_subject(&certificate.claim, subject)?;
    check_in_force(&certificate.claim, now, false)
}

/// The checks `digest` and `length`. `expected` is the certificate's value, `got` the file's.
pub(super) fn check_subject(claim: &StoredClaim, subject: &Subject) -> Result<(), Invalid> {
    let receipt = &claim.receipt;
    if subject.digest != receipt.digest {
        return Err(Invalid::DigestDiffers { expected: receipt.digest, got: subject.digest });
    }
    if let Some(got) = subject.length.filter(|length| *length != receipt.length) {
        return Err(Invalid::LengthDiffers { expected: receipt.length, got });
    }
    Ok(())
}

/// The checks `time` and `expiry`.
pub(super) fn check_in_force(claim: &StoredClaim, now: u64, waive_expiry: bool) -> Result<(), Invalid> {
    if claim.issued_at > now.saturating_add(CLOCK_TOLERANCE) {
        return Err(Invalid::FromTheFuture { issued_at: claim.issued_at, now });
    }
    let receipt = &claim.receipt;
    if receipt.is_expired(now) && !waive_expiry {
        return Err(Invalid::Expired { expires_at: receipt.expires_at, now });
    }
    Ok(())
}
