//! Verifying the certificates in another node's list, with a limit of wrong ones.

use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::receipt::Receipt;
use vouch_core::verify::{Invalid, Subject, VerifiedAggregates, signing_committee, verify_certificate_of_batch};

/// Number of wrong certificates in one page after which the rest of the list is not read. Each costs a pairing.
const MAX_INVALID: usize = 16;

/// Verifies the certificates of one page. Those of one batch share a pairing.
#[derive(Debug)]
pub struct PageVerifier<'a> {
    chain: &'a CommitteeChain,
    aggregates: VerifiedAggregates,
    invalid: usize,
}

impl<'a> PageVerifier<'a> {
    /// A verifier for one page of certificates by any of these committees.
    pub fn new(chain: &'a CommitteeChain) -> Self {
        Self { chain, aggregates: VerifiedAggregates::default(), invalid: 0 }
    }

    /// Verifies one certificate, for the digest and the length in its own receipt, at the time when it was issued. A list says what
    /// was certified. Whether it is in force is not checked here, because this node's clock may be wrong.
    ///
    /// # Errors
    /// The failed check. The certificate is counted as wrong.
    pub fn verify(&mut self, certificate: &Certificate) -> Result<(), Invalid> {
        let verified = self.verify_one(certificate);
        self.invalid += usize::from(verified.is_err());
        verified
    }

    fn verify_one(&mut self, certificate: &Certificate) -> Result<(), Invalid> {
        let Receipt { digest, length, .. } = certificate.claim.receipt;
        let subject = Subject { digest, length: Some(length) };
        let got = certificate.claim.issued_at;
        let committee = signing_committee(certificate, self.chain)?;
        verify_certificate_of_batch(certificate, committee, &subject, got, &mut self.aggregates)?;
        match self.chain.closing(certificate.epoch).filter(|closing| got > *closing) {
            Some(expected) => Err(Invalid::AfterClosing { expected, got }),
            None => Ok(()),
        }
    }

    /// Whether too many certificates were wrong, so that the rest of the list is not read.
    pub fn is_garbage(&self) -> bool {
        self.invalid >= MAX_INVALID
    }
}

/// The certificates of a page that were valid when they were issued. Wrong ones are skipped.
///
/// # Errors
/// Too many are wrong. The failed check of the last one.
pub fn valid_certificates(certificates: Vec<Certificate>, chain: &CommitteeChain) -> Result<Vec<Certificate>, Invalid> {
    let mut verifier = PageVerifier::new(chain);
    let mut valid = Vec::new();
    for certificate in certificates {
        match verifier.verify(&certificate) {
            Ok(()) => valid.push(certificate),
            Err(error) if verifier.is_garbage() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(valid)
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::AggregateSignature;

    use super::*;
    use crate::fixture::{ISSUED, TestCommittee, TestEpochs, receipt};

    fn forged(certificate: &Certificate) -> Certificate {
        Certificate { signature: AggregateSignature([5; 96]), ..certificate.clone() }
    }

    #[test]
    fn wrong_certificates_are_skipped() {
        let committee = TestCommittee::new(4);
        let valid = committee.certify(ISSUED, &["one", "two", "three"].map(receipt));
        let mut moved = valid[0].clone();
        moved.claim.receipt = valid[1].claim.receipt;
        let listed = vec![valid[0].clone(), forged(&valid[1]), valid[1].clone(), moved, valid[2].clone()];
        assert_eq!(valid_certificates(listed, &committee.committee.clone().into()), Ok(valid));
    }

    #[test]
    fn certificates_that_have_expired_since_are_valid() {
        let committee = TestCommittee::new(4);
        let expired = committee.certify(ISSUED, &[Receipt { expires_at: ISSUED + 1, ..receipt("blob") }]);
        assert_eq!(valid_certificates(expired.clone(), &committee.committee.clone().into()), Ok(expired));
    }

    #[test]
    fn a_page_with_too_many_wrong_certificates_is_refused() {
        let committee = TestCommittee::new(4);
        let valid = committee.certify(ISSUED, &[receipt("blob")]);
        let mut listed = vec![forged(&valid[0]); MAX_INVALID - 1];
        listed.extend(valid.clone());
        assert_eq!(valid_certificates(listed.clone(), &committee.committee.clone().into()), Ok(valid.clone()));
        listed.push(forged(&valid[0]));
        assert!(valid_certificates(listed, &committee.committee.clone().into()).is_err());
    }

    #[test]
    fn certificates_of_every_epoch_are_valid_until_its_closing() {
        let epochs = TestEpochs::new(4, 2);
        // Epoch k closes at ISSUED + k + 1.
        let valid: Vec<_> = (0..3).map(|epoch| epochs.certify(epoch, ISSUED, receipt("blob"))).collect();
        assert_eq!(valid_certificates(valid.clone(), &epochs.chain), Ok(valid));
        let late = epochs.certify(0, ISSUED + 2, receipt("blob"));
        let error = PageVerifier::new(&epochs.chain).verify(&late).unwrap_err();
        assert_eq!(error, Invalid::AfterClosing { expected: ISSUED + 1, got: ISSUED + 2 });
        let open = epochs.certify(2, ISSUED + 9999, receipt("blob"));
        assert_eq!(PageVerifier::new(&epochs.chain).verify(&open), Ok(()));
        let foreign = TestCommittee::new(5).certify_one(ISSUED, receipt("blob"));
        assert!(matches!(PageVerifier::new(&epochs.chain).verify(&foreign), Err(Invalid::AnotherCommittee { .. })));
    }
}
