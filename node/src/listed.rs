//! Verifying the certificates in another node's list, with a limit of wrong ones.

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::receipt::Receipt;
use vouch_core::verify::{Invalid, Subject, VerifiedAggregates, verify_certificate_of_batch};

/// Number of wrong certificates in one page after which the rest of the list is not read: each costs a pairing.
const MAX_INVALID: usize = 16;

/// Verifies the certificates of one page. Those of one batch share a pairing.
#[derive(Debug)]
pub(crate) struct PageVerifier<'a> {
    committee: &'a Committee,
    now: u64,
    aggregates: VerifiedAggregates,
    invalid: usize,
}

impl<'a> PageVerifier<'a> {
    /// `now`: seconds since 1970.
    pub(crate) fn new(committee: &'a Committee, now: u64) -> Self {
        Self { committee, now, aggregates: VerifiedAggregates::default(), invalid: 0 }
    }

    /// Verifies one certificate, for the digest and the length in its own receipt.
    ///
    /// # Errors
    /// The failed check. The certificate is counted as wrong.
    pub(crate) fn verify(&mut self, certificate: &Certificate) -> Result<(), Invalid> {
        let Receipt { digest, length, .. } = certificate.claim.receipt;
        let subject = Subject { digest, length: Some(length) };
        // This clock may be behind: accept the time that a quorum has signed.
        let now = self.now.max(certificate.claim.issued_at);
        let verified = verify_certificate_of_batch(certificate, self.committee, &subject, now, &mut self.aggregates);
        self.invalid += usize::from(verified.is_err());
        verified
    }

    /// Whether too many certificates were wrong to go on.
    pub(crate) fn is_garbage(&self) -> bool {
        self.invalid >= MAX_INVALID
    }
}
