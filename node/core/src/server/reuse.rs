//! Whether a put is answered with the certificate of an earlier one.

use vouch_core::certificate::Certificate;
use vouch_core::committee::CommitteeRecord;
use vouch_core::receipt::Receipt;
use vouch_core::verify::CLOCK_TOLERANCE;

/// Whether a certificate promises at least as much as the receipt: of the same bytes, by this committee, and for as long. A client would
/// refuse one that was issued after its own time, which is about `unix_seconds`.
pub fn promises_as_much(
    earlier: &Certificate,
    wanted: &Receipt,
    committee: &CommitteeRecord,
    unix_seconds: u64,
) -> bool {
    let Receipt { digest, length, expires_at, .. } = earlier.claim.receipt;
    earlier.committee == committee.digest()
        && digest == wanted.digest
        && length == wanted.length
        && expires_at >= wanted.expires_at
        && earlier.claim.issued_at <= unix_seconds.saturating_add(CLOCK_TOLERANCE)
}

#[cfg(test)]
mod tests {
    use vouch_core::digest::{CommitteeDigest, Digest};
    use vouch_core::receipt::NEVER;

    use super::*;
    use crate::fixture::{TestCommittee, certificate};

    const TODAY: u64 = 1_000_000;

    #[test]
    fn a_certificate_answers_a_put_of_the_same_bytes_for_as_long() {
        let committee = TestCommittee::new(4).committee;
        let mut earlier = certificate("blob", TODAY);
        earlier.committee = committee.record().digest();
        earlier.claim.receipt.expires_at = TODAY + 100;
        let wanted = Receipt { salt: [9; 16], ..earlier.claim.receipt };
        let answers =
            |earlier: &Certificate, wanted: &Receipt| promises_as_much(earlier, wanted, committee.record(), TODAY);
        assert!(answers(&earlier, &wanted), "another salt");
        assert!(answers(&earlier, &Receipt { expires_at: TODAY + 99, ..wanted }), "for longer");
        assert!(!answers(&earlier, &Receipt { expires_at: TODAY + 101, ..wanted }));
        assert!(!answers(&earlier, &Receipt { expires_at: NEVER, ..wanted }));
        assert!(!answers(&earlier, &Receipt { length: wanted.length + 1, ..wanted }));
        assert!(!answers(&earlier, &Receipt { digest: Digest::of(b"other"), ..wanted }));
        let foreign = Certificate { committee: CommitteeDigest([7; 32]), ..earlier.clone() };
        assert!(!answers(&foreign, &wanted), "another committee's");
        let mut issued = |issued_at| {
            earlier.claim.issued_at = issued_at;
            answers(&earlier, &wanted)
        };
        assert!(issued(TODAY + CLOCK_TOLERANCE));
        assert!(!issued(TODAY + CLOCK_TOLERANCE + 1), "from the client's future");
    }
}
