//! Signing and verifying. The bytes that are signed and the bytes that are verified come from one function in `vouch_core`: the
//! library panics when it cannot verify a certificate that it made.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;
use vouch_core::bugs::{self, Bug};
use vouch_core::digest::ClusterId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{EngineProposal, EngineSignature, EngineVote, EngineVoteType, Op, SignedOp};
use vouch_core::quorum::{quorum, tolerated_faults};

use crate::log::messages::{RoundCertificate, RoundReason, SignedProposal, SignedVote, VoteCertificate};

/// Remembered signatures. A height rarely sees more; beyond that, signatures are verified again.
const MAX_REMEMBERED: usize = 8192;

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// A signer is not a voter of this height.
    #[error("certificate: expected signatures of voters, got one of {signer}")]
    Stranger {
        /// The signer.
        signer: NodeKey,
    },
    /// A signer stands in it twice.
    #[error("certificate: expected each voter once, got {signer} twice")]
    Twice {
        /// The signer.
        signer: NodeKey,
    },
    /// Too few signers.
    #[error("certificate: expected {expected} signers, got {got}")]
    TooFew {
        /// The number needed.
        expected: usize,
        /// The number of signers.
        got: usize,
    },
    /// A signature does not verify.
    #[error("certificate: expected a signature of {signer}, got another")]
    Signature {
        /// The signer.
        signer: NodeKey,
    },
    /// A vote of this node that it does not know, because it lost its write-ahead log since.
    #[error("certificate: expected no vote of this node but those that it knows, got another")]
    Forgotten,
    /// A vote of the wrong step.
    #[error("certificate: expected precommits, got a prevote of {signer}")]
    Step {
        /// The signer.
        signer: NodeKey,
    },
}

/// Signs for this node, and verifies signatures of one cluster and epoch.
#[derive(Debug)]
pub(in crate::log) struct Signing {
    cluster: ClusterId,
    epoch: u64,
    key: Arc<NodeSecretKey>,
    /// Signer, signature and digest of the signed bytes, of signatures that were verified: the library verifies each vote when it
    /// arrives and again in every certificate that has it.
    verified: BTreeSet<([u8; 32], [u8; 64], [u8; 32])>,
    /// This node's own signatures on votes of the height.
    own: BTreeSet<[u8; 64]>,
}

/// The number of voters that decide.
fn deciding(voters: usize) -> usize {
    let n = u16::try_from(voters).unwrap_or(u16::MAX);
    let needed = if bugs::has(Bug::LogAcceptsFewer) { tolerated_faults(n) + 1 } else { quorum(n) };
    usize::from(needed)
}

impl Signing {
    pub(in crate::log) fn new(cluster: ClusterId, epoch: u64, key: Arc<NodeSecretKey>) -> Self {
        Self { cluster, epoch, key, verified: BTreeSet::new(), own: BTreeSet::new() }
    }

    pub(in crate::log) fn node_key(&self) -> NodeKey {
        self.key.node_key()
    }

    /// The epoch of the height that is decided or checked.
    pub(in crate::log) fn set_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Submits an op in this node's name.
    pub(in crate::log) fn submit(&self, op: Op) -> SignedOp {
        SignedOp::sign(op, &self.cluster, &self.key)
    }

    pub(super) fn sign_vote(&mut self, vote: &EngineVote) -> EngineSignature {
        let signature = vote.sign(&self.cluster, self.epoch, &self.key);
        self.own.insert(signature.0);
        signature
    }

    /// This node signed a vote in an earlier run: its write-ahead log has it.
    pub(super) fn has_signed(&mut self, vote: &SignedVote) {
        if vote.voter == self.node_key() {
            self.own.insert(vote.signature.0);
        }
    }

    pub(super) fn sign_proposal(&self, proposal: &EngineProposal) -> EngineSignature {
        proposal.sign(&self.cluster, self.epoch, &self.key)
    }

    /// Forgets the signatures of a height, at its end.
    pub(in crate::log) fn forget(&mut self) {
        self.verified.clear();
        self.own.clear();
    }

    pub(in crate::log) fn is_vote(&mut self, signed: &SignedVote) -> bool {
        let SignedVote { vote, voter, signature } = signed;
        let bytes = vote.signed_bytes(&self.cluster, self.epoch);
        self.remembered(voter, signature, &bytes, |signing| {
            vote.verify(&signing.cluster, signing.epoch, voter, signature).is_ok()
        })
    }

    pub(in crate::log) fn is_proposal(&mut self, signed: &SignedProposal) -> bool {
        let SignedProposal { proposal, proposer, signature } = signed;
        let bytes = proposal.signed_bytes(&self.cluster, self.epoch);
        self.remembered(proposer, signature, &bytes, |signing| {
            proposal.verify(&signing.cluster, signing.epoch, proposer, signature).is_ok()
        })
    }

    fn remembered(
        &mut self,
        signer: &NodeKey,
        signature: &EngineSignature,
        bytes: &[u8],
        verify: impl FnOnce(&Self) -> bool,
    ) -> bool {
        let entry = (signer.0, signature.0, vouch_core::digest::Digest::of(bytes).0);
        if self.verified.contains(&entry) {
            return true;
        }
        let is_valid = verify(self);
        if is_valid && self.verified.len() < MAX_REMEMBERED {
            self.verified.insert(entry);
        }
        is_valid
    }

    /// Checks that a quorum of voters precommitted this block.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub(in crate::log) fn check_commit(
        &mut self,
        certificate: &VoteCertificate,
        voters: &[NodeKey],
    ) -> Result<(), CertificateError> {
        self.check_votes(certificate, EngineVoteType::Precommit, voters)
    }

    pub(super) fn check_polka(
        &mut self,
        certificate: &VoteCertificate,
        voters: &[NodeKey],
    ) -> Result<(), CertificateError> {
        self.check_votes(certificate, EngineVoteType::Prevote, voters)
    }

    fn check_votes(
        &mut self,
        certificate: &VoteCertificate,
        vote_type: EngineVoteType,
        voters: &[NodeKey],
    ) -> Result<(), CertificateError> {
        let VoteCertificate { height, round, block, signatures } = certificate;
        check_signers(signatures.iter().map(|(signer, _)| *signer), deciding(voters.len()), voters)?;
        for (voter, signature) in signatures {
            let vote = EngineVote { vote_type, height: *height, round: *round, block: Some(*block) };
            self.check_vote(SignedVote { vote, voter: *voter, signature: *signature })?;
        }
        Ok(())
    }

    fn check_vote(&mut self, vote: SignedVote) -> Result<(), CertificateError> {
        if self.is_vote(&vote) { Ok(()) } else { Err(CertificateError::Signature { signer: vote.voter }) }
    }

    /// Checks that the votes let a member enter a round: f + 1 votes of that round, or a quorum of precommits of the round before.
    pub(super) fn check_round(
        &mut self,
        certificate: &RoundCertificate,
        voters: &[NodeKey],
    ) -> Result<(), CertificateError> {
        let n = u16::try_from(voters.len()).unwrap_or(u16::MAX);
        let needed = match certificate.reason {
            // More than a third of the voters, which is f + 1 or more.
            RoundReason::Skip => usize::from(n / 3 + 1),
            RoundReason::Precommits => deciding(voters.len()),
        };
        check_signers(certificate.votes.iter().map(|vote| vote.voter), needed, voters)?;
        // One that this node does not know is of before its write-ahead log was lost: the operator of a small committee lets it vote
        // again at the same height. The library would record both as its own, and could not replay them. A polka is recorded as a
        // whole, and others may be locked on its block, so it counts.
        let own = self.node_key();
        if certificate.votes.iter().any(|vote| vote.voter == own && !self.own.contains(&vote.signature.0)) {
            return Err(CertificateError::Forgotten);
        }
        for vote in certificate.votes() {
            if certificate.reason == RoundReason::Precommits && vote.vote.vote_type != EngineVoteType::Precommit {
                return Err(CertificateError::Step { signer: vote.voter });
            }
            self.check_vote(vote)?;
        }
        Ok(())
    }
}

fn check_signers(
    signers: impl Iterator<Item = NodeKey>,
    needed: usize,
    voters: &[NodeKey],
) -> Result<(), CertificateError> {
    let mut seen = BTreeSet::new();
    for signer in signers {
        if voters.binary_search(&signer).is_err() {
            return Err(CertificateError::Stranger { signer });
        }
        if !seen.insert(signer) {
            return Err(CertificateError::Twice { signer });
        }
    }
    if seen.len() < needed {
        return Err(CertificateError::TooFew { expected: needed, got: seen.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vouch_core::log::BlockDigest;

    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 32]);
    const BLOCK: BlockDigest = BlockDigest([4; 32]);

    fn signed_vote(
        key: &NodeSecretKey,
        cluster: &ClusterId,
        vote_type: EngineVoteType,
        height: u64,
        block: Option<BlockDigest>,
    ) -> SignedVote {
        let vote = EngineVote { vote_type, height, round: 0, block };
        SignedVote { vote, voter: key.node_key(), signature: vote.sign(cluster, 0, key) }
    }

    fn secret(i: u8) -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[i; 32])
    }

    fn voters() -> Vec<NodeKey> {
        let mut voters: Vec<_> = (1..=4).map(|i| secret(i).node_key()).collect();
        voters.sort();
        voters
    }

    fn commit(signers: &[u8]) -> VoteCertificate {
        let vote = |i: &u8| {
            let vote = signed_vote(&secret(*i), &CLUSTER, EngineVoteType::Precommit, 1, Some(BLOCK));
            (vote.voter, vote.signature)
        };
        VoteCertificate { height: 1, round: 0, block: BLOCK, signatures: signers.iter().map(vote).collect() }
    }

    fn signing() -> Signing {
        Signing::new(CLUSTER, 0, Arc::new(secret(1)))
    }

    #[test]
    fn a_commit_needs_a_quorum_of_different_voters() {
        let key = |i| secret(i).node_key();
        let check = |certificate: &VoteCertificate| signing().check_commit(certificate, &voters());
        assert_eq!(check(&commit(&[1, 2, 3])), Ok(()));
        assert_eq!(check(&commit(&[1, 2])), Err(CertificateError::TooFew { expected: 3, got: 2 }));
        assert_eq!(check(&commit(&[1, 2, 2])), Err(CertificateError::Twice { signer: key(2) }));
        assert_eq!(check(&commit(&[1, 2, 5])), Err(CertificateError::Stranger { signer: key(5) }));
        let mut forged = commit(&[1, 2, 3]);
        forged.signatures[1].1 = forged.signatures[0].1;
        assert_eq!(check(&forged), Err(CertificateError::Signature { signer: key(2) }));
        // The signatures are for another block, height and round.
        assert!(check(&VoteCertificate { block: BlockDigest([5; 32]), ..commit(&[1, 2, 3]) }).is_err());
        assert!(check(&VoteCertificate { height: 2, ..commit(&[1, 2, 3]) }).is_err());
        assert!(check(&VoteCertificate { round: 1, ..commit(&[1, 2, 3]) }).is_err());
        // Precommits are no prevotes.
        assert!(signing().check_polka(&commit(&[1, 2, 3]), &voters()).is_err());
    }

    /// Seeds 53 and 153 of the simulation.
    #[test]
    fn an_own_vote_of_before_the_write_ahead_log_was_lost_does_not_count() {
        let prevote = |i: u8| signed_vote(&secret(i), &CLUSTER, EngineVoteType::Prevote, 1, Some(BLOCK));
        let votes: Vec<_> = [1, 2, 3].map(prevote).into();
        let signatures = votes.iter().map(|vote| (vote.voter, vote.signature)).collect();
        let polka = VoteCertificate { height: 1, round: 0, block: BLOCK, signatures };
        let round_votes = votes.iter().map(|SignedVote { vote, voter, signature }| crate::log::messages::RoundVote {
            vote_type: vote.vote_type,
            block: vote.block,
            voter: *voter,
            signature: *signature,
        });
        let round = RoundCertificate { height: 1, round: 0, reason: RoundReason::Skip, votes: round_votes.collect() };
        let mut signing = signing();
        assert_eq!(signing.check_round(&round, &voters()), Err(CertificateError::Forgotten));
        // What others may be locked on, and what decided a block, counts.
        assert_eq!(signing.check_polka(&polka, &voters()), Ok(()));
        assert_eq!(signing.check_commit(&commit(&[1, 2, 3]), &voters()), Ok(()));
        // The write-ahead log has it, or it was signed just now.
        signing.has_signed(&votes[0]);
        assert_eq!(signing.check_round(&round, &voters()), Ok(()));
        signing.forget();
        signing.sign_vote(&votes[0].vote);
        assert_eq!(signing.check_round(&round, &voters()), Ok(()));
    }

    #[test]
    fn a_remembered_signature_is_no_signature_on_other_bytes() {
        let mut signing = signing();
        let vote = signed_vote(&secret(2), &CLUSTER, EngineVoteType::Prevote, 1, Some(BLOCK));
        assert!(signing.is_vote(&vote) && signing.is_vote(&vote));
        let mut other = vote;
        other.vote.height = 2;
        assert!(!signing.is_vote(&other));
        assert!(!signing.is_vote(&SignedVote { voter: secret(3).node_key(), ..vote }));
    }

    #[test]
    fn a_round_certificate_needs_enough_votes_of_its_kind() {
        let certificate = |reason, votes: &[(u8, EngineVoteType)]| RoundCertificate {
            height: 1,
            round: 0,
            reason,
            votes: votes
                .iter()
                .map(|(i, vote_type)| {
                    let signed = signed_vote(&secret(*i), &CLUSTER, *vote_type, 1, None);
                    let SignedVote { vote, voter, signature } = signed;
                    crate::log::messages::RoundVote { vote_type: vote.vote_type, block: None, voter, signature }
                })
                .collect(),
        };
        let (pre, com) = (EngineVoteType::Prevote, EngineVoteType::Precommit);
        let mut signing = Signing::new(CLUSTER, 0, Arc::new(secret(4)));
        let mut check = |reason, votes: &[_]| signing.check_round(&certificate(reason, votes), &voters());
        assert_eq!(check(RoundReason::Skip, &[(1, pre), (2, com)]), Ok(()));
        assert!(matches!(check(RoundReason::Skip, &[(1, pre)]), Err(CertificateError::TooFew { .. })));
        assert_eq!(check(RoundReason::Precommits, &[(1, com), (2, com), (3, com)]), Ok(()));
        let mixed = check(RoundReason::Precommits, &[(1, com), (2, com), (3, pre)]);
        assert!(matches!(mixed, Err(CertificateError::Step { .. })));
        assert!(matches!(check(RoundReason::Skip, &[(1, pre), (1, com)]), Err(CertificateError::Twice { .. })));
        assert!(matches!(check(RoundReason::Skip, &[]), Err(CertificateError::TooFew { .. })));
        assert!(matches!(check(RoundReason::Skip, &[(1, pre), (9, pre)]), Err(CertificateError::Stranger { .. })));
    }
}
