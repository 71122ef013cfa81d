//! The latest proposals on one link. A replica builds its own certificates from them.

use std::collections::VecDeque;
use std::sync::Arc;

use vouch_core::bls::AggregateSignature;
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::Committee;
use vouch_core::message::Stream;
use vouch_core::receipt::Receipt;
use vouch_core::statement::Batch;
use vouch_core::verify::{Invalid, Subject, verify_certificate};

/// Maximum number of proposals remembered on one link, and of receipts in all of them: 4 MiB.
const PROPOSALS: usize = 64;
const RECEIPTS: usize = 1 << 16;

/// A batch proposed by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The statement's `issued_at`, in seconds since 1970.
    pub issued_at: u64,
    /// The batch's leaves, in order.
    pub receipts: Arc<[Receipt]>,
}

impl Proposal {
    /// Builds the certificates of the batch, and verifies their common signature, because servers are not trusted. This takes one pairing
    /// for all of them.
    ///
    /// # Errors
    /// The failed check. Time and expiry are not checked here.
    pub fn certificates(
        &self,
        committee: &Committee,
        signers: &Signers,
        signature: &AggregateSignature,
    ) -> Result<Vec<Certificate>, Invalid> {
        let record = committee.record();
        // Decoding refuses empty and too large batches.
        let Some(batch) = Batch::new(self.issued_at, self.receipts.to_vec()) else { return Ok(Vec::new()) };
        let certificate = |claim| Certificate::new(record, claim, signers.clone(), *signature);
        let certificates: Vec<Certificate> = batch.claims().map(certificate).collect();
        if let Some(first) = certificates.first() {
            let Receipt { digest, length, .. } = first.claim.receipt;
            let subject = Subject { digest, length: Some(length) };
            verify_certificate(first, committee, &subject, first.claim.issued_at, true)?;
        }
        Ok(certificates)
    }
}

/// The latest proposals, the newest first.
#[derive(Debug, Default)]
pub struct Proposals {
    last: VecDeque<(Stream, Proposal)>,
    receipts: usize,
}

impl Proposals {
    /// Remembers a proposal, and forgets the oldest ones beyond the limits.
    pub fn add(&mut self, stream: Stream, proposal: Proposal) {
        self.receipts += proposal.receipts.len();
        self.last.push_front((stream, proposal));
        while self.last.len() > PROPOSALS || (self.receipts > RECEIPTS && self.last.len() > 1) {
            if let Some((_, oldest)) = self.last.pop_back() {
                self.receipts -= oldest.receipts.len();
            }
        }
    }

    /// Removes and returns the newest proposal with this stream number.
    pub fn take(&mut self, stream: Stream) -> Option<Proposal> {
        let position = self.last.iter().position(|(of, _)| *of == stream)?;
        let (_, proposal) = self.last.remove(position)?;
        self.receipts -= proposal.receipts.len();
        Some(proposal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::TestCommittee;
    use vouch_core::digest::Digest;

    fn proposal(count: u16) -> Proposal {
        let receipt = |number: u16| Receipt {
            salt: [1; 16],
            digest: Digest::of(&number.to_le_bytes()),
            length: 2,
            expires_at: 9,
        };
        Proposal { issued_at: 100, receipts: (0..count).map(receipt).collect() }
    }

    #[test]
    fn the_last_proposals_are_remembered_and_memory_is_bounded() {
        let mut proposals = Proposals::default();
        for number in 1..=65 {
            proposals.add(Stream(number), proposal(1));
        }
        assert_eq!(proposals.take(Stream(1)), None, "64 are remembered");
        assert_eq!(proposals.take(Stream(2)), Some(proposal(1)));
        assert_eq!(proposals.take(Stream(2)), None, "once");
        for number in 100..117 {
            proposals.add(Stream(number), proposal(4096));
        }
        assert_eq!(proposals.receipts, 16 * 4096);
        assert!(proposals.take(Stream(100)).is_none() && proposals.take(Stream(65)).is_none());
        assert!(proposals.take(Stream(101)).is_some());
    }

    #[test]
    fn certificates_need_a_signature_by_a_quorum() {
        let fixture = TestCommittee::new(4);
        let committee = &fixture.committee;
        let proposal = proposal(3);
        let expected = fixture.certify_by(proposal.issued_at, &proposal.receipts, [0, 2, 3]);
        let (signers, signature) = (&expected[0].signers, &expected[0].signature);
        assert_eq!(proposal.certificates(committee, signers, signature), Ok(expected.clone()));

        let others = Signers::new(4, [0, 1, 3]).unwrap();
        assert!(matches!(proposal.certificates(committee, &others, signature), Err(Invalid::Signature(_))));
        let two = Signers::new(4, [0, 2]).unwrap();
        assert!(matches!(proposal.certificates(committee, &two, signature), Err(Invalid::BelowQuorum { .. })));
        let another = Proposal { issued_at: 101, ..proposal.clone() };
        assert!(matches!(another.certificates(committee, signers, signature), Err(Invalid::Signature(_))));
    }
}
