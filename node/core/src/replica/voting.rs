//! The checks before a vote that need no disk: times and expiry.

use vouch_core::clocks::{self, Seconds};
use vouch_core::committee::Committee;
use vouch_core::message::{Code, Failed, Stream};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Statement, Stored};
use vouch_core::verify::CLOCK_TOLERANCE;

/// Checks a proposal's times.
///
/// # Errors
/// The two clocks differ too much, or receipts have expired.
pub fn check(stream: Stream, issued_at: u64, receipts: &[Receipt], now: u64) -> Result<(), Failed> {
    if issued_at.abs_diff(now) > CLOCK_TOLERANCE {
        let difference = clocks::describe_difference(now, issued_at);
        let detail = format!(
            "the clock of this replica is {difference} the server's; expected at most {} between them",
            Seconds(CLOCK_TOLERANCE)
        );
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

/// Checks that this replica has not promised to sign no statement that was issued so late: the epoch ends.
///
/// # Errors
/// It has.
pub fn check_stop(stream: Stream, issued_at: u64, stops_at: Option<u64>) -> Result<(), Failed> {
    match stops_at.filter(|stops_at| issued_at > *stops_at) {
        None => Ok(()),
        Some(stops_at) => {
            let detail = format!("the epoch ends: expected a batch issued at {stops_at} or before, got {issued_at}");
            Err(Failed::new(stream, Code::NewEpoch, detail))
        }
    }
}

/// Checks a proposal's times again, after reading its blobs, which may take minutes: a late signature would claim that the bytes were
/// there at a time long past.
///
/// # Errors
/// Voting has closed, or as [`check`].
pub fn check_again(stream: Stream, issued_at: u64, receipts: &[Receipt], now: u64) -> Result<(), Failed> {
    let age = now.saturating_sub(issued_at);
    if age > CLOCK_TOLERANCE {
        let detail = format!(
            "voting closes {} after a batch is issued; when its blobs were confirmed, {} had passed",
            Seconds(CLOCK_TOLERANCE),
            Seconds(age)
        );
        return Err(Failed::new(stream, Code::TimedOut, detail));
    }
    check(stream, issued_at, receipts, now)
}

/// The statement over a batch. `None` for an empty or too large batch, which decoding refuses.
pub fn statement(committee: &Committee, issued_at: u64, receipts: &[Receipt]) -> Option<Statement<Stored>> {
    let batch = Batch::new(issued_at, receipts.to_vec())?;
    Some(Statement::new(committee.record(), batch.body()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouch_core::digest::Digest;

    #[test]
    fn times_are_compared_with_the_replicas_clock() {
        let receipt = |expires_at| Receipt { salt: [0; 16], digest: Digest::of(b"x"), length: 1, expires_at };
        let code = |issued_at, expires_at| {
            check(Stream(1), issued_at, &[receipt(expires_at)], 1000).map_err(|failed| failed.code)
        };
        assert_eq!(code(1060, 2000), Ok(()));
        assert_eq!(code(940, 2000), Ok(()));
        assert_eq!(code(1061, 2000), Err(Code::Clock));
        assert_eq!(code(939, 2000), Err(Code::Clock));
        assert_eq!(code(1000, 1000), Err(Code::Expired));
        let failed = check(Stream(1), 1000, &[receipt(2000)], 1190).unwrap_err();
        assert!(failed.detail.starts_with("the clock of this replica is 3 min 10 s ahead of the server's"), "{failed}");
        assert_eq!(code(1000, 1001), Ok(()));
    }
}
