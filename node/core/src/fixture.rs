//! A committee for tests, with the secret keys of its members; and certificates that no committee signed.

use std::sync::Arc;

use vouch_core::bls::{AggregateSignature, VoteSecretKey};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::{Committee, CommitteeRecord, Member, MemberName};
use vouch_core::digest::{CommitteeDigest, Digest};
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::StoredClaim;

/// A committee whose replica number `i` has keys made from `i`; its member index follows from the order of the node keys.
pub(crate) struct TestCommittee {
    pub(crate) committee: Arc<Committee>,
    /// The vote keys, in member order.
    pub(crate) votes: Vec<VoteSecretKey>,
}

/// The node key of replica number `i`, whether a member or not.
pub(crate) fn node_key(i: u8) -> NodeKey {
    NodeSecretKey::from_bytes(&[i; 32]).node_key()
}

impl TestCommittee {
    /// A committee of the replicas 1 to `n`.
    pub(crate) fn new(n: u8) -> Self {
        Self::of(1..=n)
    }

    /// A committee of these replicas. The member at index `i` is named `replica-i`.
    pub(crate) fn of(numbers: impl IntoIterator<Item = u8>) -> Self {
        let mut replicas: Vec<_> =
            numbers.into_iter().map(|i| (node_key(i), VoteSecretKey::generate(&[i; 32]).unwrap())).collect();
        replicas.sort_by_key(|(node_key, _)| *node_key);
        let name = |i: usize| MemberName::new(&format!("replica-{i}")).unwrap();
        let member = |(i, (node_key, vote)): (usize, &(NodeKey, VoteSecretKey))| Member {
            node_key: *node_key,
            vote_key: vote.vote_key(),
            name: name(i),
        };
        let record = CommitteeRecord::genesis([0; 16], replicas.iter().enumerate().map(member).collect()).unwrap();
        let votes: Vec<_> = replicas.into_iter().map(|(_, vote)| vote).collect();
        let possessions = votes.iter().map(VoteSecretKey::prove_possession).collect();
        Self { committee: Arc::new(Committee::genesis(record, possessions).unwrap()), votes }
    }
}

/// A certificate of a blob with these bytes, "signed" by the members 0 to 2 of four. The signature is not valid.
pub(crate) fn certificate(blob: &str, issued_at: u64) -> Certificate {
    let (digest, length) = (Digest::of(blob.as_bytes()), blob.len() as u64);
    let receipt = Receipt { salt: [2; 16], digest, length, expires_at: NEVER };
    Certificate {
        epoch: 0,
        committee: CommitteeDigest([1; 32]),
        claim: StoredClaim { issued_at, count: 1, index: 0, receipt, path: Vec::new() },
        signers: Signers::new(4, 0..3).unwrap(),
        signature: AggregateSignature([5; 96]),
    }
}
