//! What a replica votes for: everything that can be decided without the disk.

use vouch_core::bls::{VoteSecretKey, VoteSignature};
use vouch_core::committee::Committee;
use vouch_core::merkle::Batch;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Body, Statement};
use vouch_core::verify::CLOCK_TOLERANCE;

/// Looks at a proposal's times.
///
/// # Errors
/// A clock too far off, or receipts that have expired.
pub(super) fn check(stream: Stream, issued_at: u64, receipts: &[Receipt], now: u64) -> Result<(), Failed> {
    if issued_at.abs_diff(now) > CLOCK_TOLERANCE {
        let detail = format!("expected issued_at within {CLOCK_TOLERANCE} s of {now}, got {issued_at}");
        return Err(Failed::new(stream, Code::Clock, detail));
    }
    let expired: Vec<u16> =
        (0..).zip(receipts).filter(|(_, receipt)| receipt.is_expired(now)).map(|(index, _)| index).collect();
    if expired.is_empty() {
        return Ok(());
    }
    let detail = format!("{} receipts expired before {now}", expired.len());
    Err(Failed::new(stream, Code::Expired, detail).with_subjects(expired))
}

/// Signs the statement over a batch. The caller holds every blob durably and has recorded until when. `None` for a batch of a
/// forbidden size, which decoding rules out.
pub(super) fn sign(
    key: &VoteSecretKey,
    committee: &Committee,
    issued_at: u64,
    receipts: &[Receipt],
) -> Option<VoteSignature> {
    let batch = Batch::new(receipts)?;
    let body = Body::Stored { issued_at, count: batch.count(), root: batch.root() };
    Some(Statement::new(committee.record(), body).sign(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouch_core::digest::Digest;

    #[test]
    fn times_are_held_against_the_own_clock() {
        let receipt = |expires_at| Receipt { salt: [0; 16], digest: Digest::of(b"x"), length: 1, expires_at };
        let code = |issued_at, expires_at| {
            check(Stream(1), issued_at, &[receipt(expires_at)], 1000).map_err(|failed| failed.code)
        };
        assert_eq!(code(1060, 2000), Ok(()));
        assert_eq!(code(940, 2000), Ok(()));
        assert_eq!(code(1061, 2000), Err(Code::Clock));
        assert_eq!(code(939, 2000), Err(Code::Clock));
        assert_eq!(code(1000, 1000), Err(Code::Expired));
        assert_eq!(code(1000, 1001), Ok(()));
    }
}
