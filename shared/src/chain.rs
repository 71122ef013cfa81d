//! The committees of a cluster, one per epoch, and the name of a member across epochs.

mod error;
mod link;

use std::fmt;
use std::sync::Arc;

use crate::committee::Committee;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::statement::{Handoff, StatementId};

pub use error::ChainError;
pub use link::EpochLink;

/// A member of one epoch's committee. The same index means another member in another epoch, so an index that is kept for longer
/// than one message must be kept with its epoch. To name a member across epochs, use its node key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// The committee's epoch.
    pub epoch: u64,
    /// The member's index in that committee, from 0.
    pub index: u16,
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "member {} of epoch {}", self.index, self.epoch)
    }
}

/// The verified committees of one cluster, from genesis to the newest one that is known.
#[derive(Debug, Clone)]
pub struct CommitteeChain {
    /// The proofs of possession of its keys were verified.
    genesis: Arc<Committee>,
    /// The epochs after the genesis, without a gap.
    later: Arc<Vec<Epoch>>,
}

/// An epoch above 0. The committee before has signed the handoff to this one.
#[derive(Debug, Clone)]
struct Epoch {
    handoff: MadeHandoff,
    committee: Arc<Committee>,
}

/// A verified handoff.
#[derive(Debug, Clone, Copy)]
struct MadeHandoff {
    claim: Handoff,
    identity: StatementId,
}

impl CommitteeChain {
    /// The chain of a cluster whose committee never changed.
    pub fn new(genesis: Arc<Committee>) -> Self {
        Self { genesis, later: Arc::default() }
    }

    /// The cluster identity.
    pub fn cluster(&self) -> ClusterId {
        self.genesis.cluster()
    }

    /// The committee that signs new statements, as far as is known.
    pub fn current(&self) -> &Arc<Committee> {
        self.later.last().map_or(&self.genesis, |epoch| &epoch.committee)
    }

    /// The committee of an epoch.
    pub fn of_epoch(&self, epoch: u64) -> Option<&Arc<Committee>> {
        match epoch.checked_sub(1) {
            None => Some(&self.genesis),
            Some(place) => self.later.get(usize::try_from(place).ok()?).map(|epoch| &epoch.committee),
        }
    }

    /// The committee that a certificate names.
    pub fn with_digest(&self, digest: &CommitteeDigest) -> Option<&Arc<Committee>> {
        let later = self.later.iter().map(|epoch| &epoch.committee);
        std::iter::once(&self.genesis).chain(later).find(|committee| committee.record().digest() == *digest)
    }

    /// The latest `issued_at` of a certificate of an epoch, seconds since 1970; `None` while no handoff from it is known.
    pub fn closing(&self, epoch: u64) -> Option<u64> {
        self.later.get(usize::try_from(epoch).ok()?).map(|next| next.handoff.claim.closing)
    }

    /// The identifier of a member of the current committee, for use beyond one message.
    pub fn member(&self, index: u16) -> MemberId {
        MemberId { epoch: self.current().record().epoch(), index }
    }

    /// A member's name, for people.
    pub fn name(&self, member: MemberId) -> String {
        match self.of_epoch(member.epoch) {
            Some(committee) => committee.record().name(member.index),
            None => member.to_string(),
        }
    }
}

impl From<Arc<Committee>> for CommitteeChain {
    fn from(genesis: Arc<Committee>) -> Self {
        Self::new(genesis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::VoteSecretKey;
    use crate::committee::{CommitteeRecord, Member, MemberName};
    use crate::link::NodeSecretKey;

    #[test]
    fn a_member_is_found_only_in_its_own_epoch() {
        let vote = VoteSecretKey::generate(&[1; 32]).unwrap();
        let node_key = NodeSecretKey::from_bytes(&[1; 32]).node_key();
        let member = Member { node_key, vote_key: vote.vote_key(), name: MemberName::new("own").unwrap() };
        let record = CommitteeRecord::genesis([0; 16], vec![member]).unwrap();
        let chain = CommitteeChain::new(Arc::new(Committee::genesis(record, vec![vote.prove_possession()]).unwrap()));
        assert_eq!(chain.member(0), MemberId { epoch: 0, index: 0 });
        assert_eq!(chain.name(chain.member(0)), "own");
        assert_eq!(chain.name(MemberId { epoch: 1, index: 0 }), "member 0 of epoch 1");
        assert!(chain.of_epoch(1).is_none());
        let digest = chain.current().record().digest();
        assert!(chain.with_digest(&digest).is_some() && chain.with_digest(&CommitteeDigest([7; 32])).is_none());
    }
}
