//! Verifying the certificates in another node's list, with a limit of wrong ones.

use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::receipt::Receipt;
use vouch_core::verify::{Invalid, Subject, VerifiedAggregates, verify_certificate_of_batch};

/// Number of wrong certificates in one page after which the rest of the list is not read. Each costs a pairing.
const MAX_INVALID: usize = 16;

/// Verifies the certificates of one page. Those of one batch share a pairing.
#[derive(Debug)]
pub(crate) struct PageVerifier<'a> {
    committee: &'a Committee,
    aggregates: VerifiedAggregates,
    invalid: usize,
}

impl<'a> PageVerifier<'a> {
    /// A verifier for one page.
    pub(crate) fn new(committee: &'a Committee) -> Self {
        Self { committee, aggregates: VerifiedAggregates::default(), invalid: 0 }
    }

    /// Verifies one certificate, for the digest and the length in its own receipt, at the time when it was issued. A list says what
    /// was certified. Whether it is in force is not checked here, because this node's clock may be wrong.
    ///
    /// # Errors
    /// The failed check. The certificate is counted as wrong.
    pub(crate) fn verify(&mut self, certificate: &Certificate) -> Result<(), Invalid> {
        let Receipt { digest, length, .. } = certificate.claim.receipt;
        let subject = Subject { digest, length: Some(length) };
        let issued_at = certificate.claim.issued_at;
        let verified =
            verify_certificate_of_batch(certificate, self.committee, &subject, issued_at, &mut self.aggregates);
        self.invalid += usize::from(verified.is_err());
        verified
    }

    /// Whether too many certificates were wrong, so that the rest of the list is not read.
    pub(crate) fn is_garbage(&self) -> bool {
        self.invalid >= MAX_INVALID
    }
}
