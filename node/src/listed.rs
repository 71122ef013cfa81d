//! Certificates that somebody else lists: how they are verified, and how many wrong ones are borne.

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::receipt::Receipt;
use vouch_core::verify::{Invalid, Subject, VerifiedAggregates, verify_certificate_of_batch};

/// Wrong certificates in one page after which the rest of a list is not read: each costs a pairing.
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

    /// Verifies one certificate of what it says itself that it certifies.
    ///
    /// # Errors
    /// What is wrong with it; it is counted.
    pub(crate) fn verify(&mut self, certificate: &Certificate) -> Result<(), Invalid> {
        let Receipt { digest, length, .. } = certificate.claim.receipt;
        let subject = Subject { digest, length: Some(length) };
        // this clock may be behind: what a quorum signed is good
        let now = self.now.max(certificate.claim.issued_at);
        let verified = verify_certificate_of_batch(certificate, self.committee, &subject, now, &mut self.aggregates);
        self.invalid += usize::from(verified.is_err());
        verified
    }

    /// Whether so many were wrong that no more are looked at.
    pub(crate) fn is_garbage(&self) -> bool {
        self.invalid >= MAX_INVALID
    }
}
