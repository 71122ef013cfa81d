//! What a certificate of availability is checked for beside its signature: the file, and the time.

use super::signed::{check_aggregate, check_signers, verify_signed};
use super::{CLOCK_TOLERANCE, Invalid, Subject, VerifiedAggregates};
use crate::certificate::Certificate;
use crate::committee::Committee;
use crate::statement::StoredClaim;

/// Judges a certificate by a committee that is already open and trusted.
///
/// # Errors
/// The first check from `epoch` on that fails.
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

/// The same, for a client of many puts: the pairing is spared where `verified` has this statement, with these signers and this
/// signature. Every other check is made each time; the path among them, for it is what leads from the receipt to the statement.
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

/// The checks `digest` and `length`: the certificate's value is what is expected, the file's is what was got.
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
