//! The committees of a cluster, one per epoch, and the name of a member across epochs.

mod checkpoint;
mod error;
#[cfg(feature = "nodes")]
mod fork;
mod link;
#[cfg(feature = "nodes")]
mod update;

use std::fmt;
use std::sync::Arc;

use crate::certificate::Certificate;
use crate::committee::{Committee, CommitteeRecord};
use crate::digest::{ClusterId, CommitteeDigest};
use crate::statement::{Handoff, StatementId};

pub use checkpoint::{Checkpoint, ParseCheckpointError};
pub use error::ChainError;
#[cfg(feature = "nodes")]
pub use fork::ChainComparison;
pub use link::EpochLink;
#[cfg(feature = "nodes")]
pub use update::ChainUpdate;

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

/// The verified committees of one cluster, from the genesis or from a committee that the verifier pins to the newest one that is known.
#[derive(Debug, Clone)]
pub struct CommitteeChain {
    /// The proofs of possession of its keys were verified.
    first: Arc<Committee>,
    /// The statement that handed over to the first committee. `None` for a genesis.
    handed_by: Option<StatementId>,
    /// The epochs after the first, without a gap.
    later: Arc<Vec<Arc<Epoch>>>,
    /// The committee of the last epoch.
    current: Arc<Committee>,
}

/// An epoch after the first.
#[derive(Debug)]
struct Epoch {
    handoff: Certificate<Handoff>,
    /// The statement that the handoff certifies.
    identity: StatementId,
    /// The seal that the committee's history names. `None` in epoch 1.
    seal: Option<StatementId>,
    committee: EpochCommittee,
}

impl Epoch {
    fn link(&self) -> EpochLink {
        let Self { handoff, seal, committee, .. } = self;
        EpochLink { handoff: handoff.clone(), committee: committee.record().clone(), seal: *seal }
    }
}

#[derive(Debug)]
enum EpochCommittee {
    /// The committee before has signed the handoff to this one.
    Verified(Arc<Committee>),
    /// A later committee, which the verifier trusts, fixes this one. Its keys are not looked at until it must have signed something.
    Named(Arc<CommitteeRecord>),
}

impl EpochCommittee {
    fn record(&self) -> &CommitteeRecord {
        match self {
            Self::Verified(committee) => committee.record(),
            Self::Named(record) => record,
        }
    }
}

impl CommitteeChain {
    /// The chain of a cluster whose committee never changed.
    pub fn new(genesis: Arc<Committee>) -> Self {
        Self::starting_with(genesis, None)
    }

    /// A chain that starts with this committee. `handed_by`: the statement that handed over to it; `None` for a genesis.
    pub(crate) fn starting_with(first: Arc<Committee>, handed_by: Option<StatementId>) -> Self {
        Self { current: first.clone(), first, handed_by, later: Arc::default() }
    }

    /// The cluster identity.
    pub fn cluster(&self) -> ClusterId {
        self.first.cluster()
    }

    /// The first committee. Its proofs of possession were verified.
    pub fn first(&self) -> &Arc<Committee> {
        &self.first
    }

    /// The statement that handed over to the first committee. `None` for a genesis.
    pub(crate) fn handed_by(&self) -> Option<StatementId> {
        self.handed_by
    }

    /// The committee that signs new statements, as far as is known.
    pub fn current(&self) -> &Arc<Committee> {
        &self.current
    }

    /// Place of an epoch's entry in `later`. `None` for the first epoch and those before it.
    fn place(&self, epoch: u64) -> Option<usize> {
        usize::try_from(epoch.checked_sub(self.first.record().epoch())?.checked_sub(1)?).ok()
    }

    /// What each epoch after the first, up to this one, says of itself, in order.
    pub fn links(&self, epoch: u64) -> impl Iterator<Item = EpochLink> {
        let count = self.place(epoch).map_or(0, |place| place.saturating_add(1));
        self.later.iter().take(count).map(|epoch| epoch.link())
    }

    /// What each epoch above this one says of itself, in order.
    pub fn links_after(&self, epoch: u64) -> impl Iterator<Item = EpochLink> {
        let known = self.place(epoch).map_or(0, |place| place.saturating_add(1));
        self.later.iter().skip(known).map(|epoch| epoch.link())
    }

    /// The record of an epoch's committee.
    pub fn record(&self, epoch: u64) -> Option<&CommitteeRecord> {
        if epoch == self.first.record().epoch() {
            return Some(self.first.record());
        }
        Some(self.later.get(self.place(epoch)?)?.committee.record())
    }

    /// The committee of an epoch, if its keys were looked at.
    pub fn of_epoch(&self, epoch: u64) -> Option<&Arc<Committee>> {
        if epoch == self.first.record().epoch() {
            return Some(&self.first);
        }
        match &self.later.get(self.place(epoch)?)?.committee {
            EpochCommittee::Verified(committee) => Some(committee),
            EpochCommittee::Named(_) => None,
        }
    }

    /// The committee that a certificate names, if its keys were looked at.
    pub fn with_digest(&self, digest: &CommitteeDigest) -> Option<&Arc<Committee>> {
        let first = self.first.record().epoch();
        let epochs = first..=self.current.record().epoch();
        epochs.filter_map(|epoch| self.of_epoch(epoch)).find(|committee| committee.record().digest() == *digest)
    }

    /// The handoff by which an epoch ended; `None` while none is known.
    pub fn handoff_from(&self, epoch: u64) -> Option<&Handoff> {
        self.later.get(self.place(epoch.checked_add(1)?)?).map(|next| &next.handoff.claim)
    }

    /// The latest `issued_at` of a certificate of an epoch, seconds since 1970; `None` while no handoff from it is known.
    pub fn closing(&self, epoch: u64) -> Option<u64> {
        self.handoff_from(epoch).map(|handoff| handoff.closing)
    }

    /// The identity of an epoch's seal; `None` while no committee is known whose history names it.
    pub fn seal_of(&self, epoch: u64) -> Option<StatementId> {
        self.later.get(self.place(epoch.checked_add(2)?)?)?.seal
    }

    /// The identifier of a member of the current committee, for use beyond one message.
    pub fn member(&self, index: u16) -> MemberId {
        MemberId { epoch: self.current().record().epoch(), index }
    }

    /// A member's name, for people.
    pub fn name(&self, member: MemberId) -> String {
        match self.record(member.epoch) {
            Some(record) => record.name(member.index),
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
        let chain = CommitteeChain::new(Arc::new(Committee::proven(record, vec![vote.prove_possession()]).unwrap()));
        assert_eq!(chain.member(0), MemberId { epoch: 0, index: 0 });
        assert_eq!(chain.name(chain.member(0)), "own");
        assert_eq!(chain.name(MemberId { epoch: 1, index: 0 }), "member 0 of epoch 1");
        assert!(chain.of_epoch(1).is_none());
        let digest = chain.current().record().digest();
        assert!(chain.with_digest(&digest).is_some() && chain.with_digest(&CommitteeDigest([7; 32])).is_none());
    }
}
