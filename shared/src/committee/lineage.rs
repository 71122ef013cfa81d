//! Where a later committee comes from.

use crate::codec::{DecodeError, in_range, same};
use crate::digest::{ClusterId, CommitteeDigest, History, derive};
use crate::limits::MAX_SAFE_INTEGER;
use crate::statement::StatementId;

/// What a later committee states about the committees before it. A verifier that pins the committee pins this, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// The committee's epoch, from 1.
    pub epoch: u64,
    /// The cluster identity.
    pub cluster: ClusterId,
    /// The committee of the epoch before.
    pub previous: CommitteeDigest,
    /// The handoffs and seals of the epochs before. Zeros in epoch 1, which has none to name.
    pub history: History,
}

impl Lineage {
    /// Checks what no other committee is needed for: the range of the epoch; and in epoch 1, that the committee before is the genesis,
    /// and that there is no history yet.
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        in_range("epoch of a later committee", self.epoch, 1, MAX_SAFE_INTEGER)?;
        if self.epoch == 1 {
            same("previous digest in epoch 1", &self.cluster.0, &self.previous.0)?;
            same("history in epoch 1", &History::NONE.0, &self.history.0)?;
        }
        Ok(())
    }
}

impl History {
    /// That of epoch 1.
    pub const NONE: Self = Self([0; 32]);

    /// The history of epoch k, from 2 on. `self` is that of epoch k − 1, `handoff` the statement that handed over to k − 1, and `seal` the
    /// one that sealed k − 2.
    pub fn next(&self, handoff: &StatementId, seal: &StatementId) -> Self {
        Self(derive("vouch history v1", &[&self.0, &handoff.0, &seal.0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::VoteSecretKey;
    use crate::committee::{CommitteeRecord, Member, MemberName, Policy};
    use crate::limits::Limits;
    use crate::link::NodeSecretKey;

    fn members(count: u8) -> Vec<Member> {
        let member = |number| Member {
            node_key: NodeSecretKey::from_bytes(&[number; 32]).node_key(),
            vote_key: VoteSecretKey::generate(&[number; 32]).unwrap().vote_key(),
            name: MemberName::new(&format!("replica-{number}")).unwrap(),
        };
        (1..=count).map(member).collect()
    }

    fn lineage(epoch: u64) -> Lineage {
        let history = if epoch == 1 { History::NONE } else { History([3; 32]) };
        Lineage { epoch, cluster: ClusterId([1; 32]), previous: CommitteeDigest([1; 32]), history }
    }

    #[test]
    fn a_later_committee_keeps_the_cluster_and_names_its_history() {
        for epoch in [1, 2, MAX_SAFE_INTEGER] {
            let record = CommitteeRecord::later(lineage(epoch), Policy::Open, members(4)).unwrap();
            let bytes = record.encode();
            assert_eq!(bytes.len(), 180 + 4 * 104);
            assert_eq!(CommitteeRecord::decode_later(&bytes, &Limits::default()), Ok(record.clone()));
            assert_eq!((record.epoch(), record.cluster()), (epoch, ClusterId([1; 32])));
            assert_eq!(record.lineage(), Some(&lineage(epoch)));
            assert!(CommitteeRecord::decode(&bytes, &Limits::default()).is_err(), "it is no genesis");
        }
        let genesis = CommitteeRecord::genesis([0; 16], members(1)).unwrap();
        assert!(CommitteeRecord::decode_later(&genesis.encode(), &Limits::default()).is_err());
        assert_eq!((genesis.lineage(), genesis.cluster().0), (None, genesis.digest().0));
    }

    #[test]
    fn no_committee_follows_from_an_impossible_one() {
        let wrong = [
            Lineage { epoch: 0, ..lineage(1) },
            Lineage { epoch: MAX_SAFE_INTEGER + 1, ..lineage(2) },
            Lineage { previous: CommitteeDigest([2; 32]), ..lineage(1) },
            Lineage { history: History([1; 32]), ..lineage(1) },
        ];
        for lineage in wrong {
            assert!(CommitteeRecord::later(lineage, Policy::Open, members(1)).is_err(), "{lineage:?}");
        }
    }

    #[test]
    fn a_history_depends_on_each_of_its_parts() {
        let (a, b) = (StatementId([1; 32]), StatementId([2; 32]));
        let next = History::NONE.next(&a, &b);
        assert_ne!(next, History::NONE.next(&b, &a));
        assert_ne!(next, next.next(&a, &b));
    }
}
