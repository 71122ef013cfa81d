//! A cache of verified aggregate signatures: the certificates of one batch share one signature.

use std::collections::VecDeque;

use crate::bls::AggregateSignature;
use crate::certificate::Signers;

/// Number of cached batches. A link has at most 64 puts in progress, so its certificates are of at most 64 batches.
const CAPACITY: usize = 64;

/// The last statements whose aggregate signature was verified, with the signers and the signature.
///
/// A statement's bytes name its committee by digest, so an entry holds for any committee that is asked about.
#[derive(Debug, Clone, Default)]
pub struct VerifiedAggregates {
    last: VecDeque<Entry>,
    pairings: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    statement: Vec<u8>,
    signers: Signers,
    signature: AggregateSignature,
}

impl VerifiedAggregates {
    /// Number of signatures verified so far.
    pub fn pairings(&self) -> u64 {
        self.pairings
    }

    pub(super) fn contains(&self, statement: &[u8], signers: &Signers, signature: &AggregateSignature) -> bool {
        let is_same =
            |entry: &Entry| entry.signature == *signature && entry.signers == *signers && entry.statement == *statement;
        self.last.iter().any(is_same)
    }

    pub(super) fn add(&mut self, statement: Vec<u8>, signers: Signers, signature: AggregateSignature) {
        self.pairings += 1;
        self.last.push_front(Entry { statement, signers, signature });
        self.last.truncate(CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_entries_are_cached_and_every_field_must_match() {
        let signers = |member| Signers::new(4, [member]).unwrap();
        let mut verified = VerifiedAggregates::default();
        verified.add(vec![1], signers(1), AggregateSignature([1; 96]));
        assert!(verified.contains(&[1], &signers(1), &AggregateSignature([1; 96])));
        assert!(!verified.contains(&[2], &signers(1), &AggregateSignature([1; 96])));
        assert!(!verified.contains(&[1], &signers(2), &AggregateSignature([1; 96])));
        assert!(!verified.contains(&[1], &signers(1), &AggregateSignature([2; 96])));
        for _ in 0..CAPACITY {
            verified.add(vec![3], signers(1), AggregateSignature([3; 96]));
        }
        assert!(!verified.contains(&[1], &signers(1), &AggregateSignature([1; 96])));
        assert_eq!(verified.last.len(), CAPACITY);
    }
}
