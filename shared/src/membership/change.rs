//! A change of members: who joins and who leaves. An empty one gives every member a new vote key.

use thiserror::Error;

use crate::bls::{BlsError, VoteKey, VoteSecretKey, VoteSignature, vouched_key};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::{CommitteeRecord, MemberName};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ChangeId, ClusterId, CommitteeDigest, derive};
use crate::limits::{MAX_MEMBERS, MAX_SAFE_INTEGER};
use crate::link::NodeKey;
use crate::quorum;
use crate::statement::operator_statement;

const MAGIC: &[u8; 7] = b"vouchcc";
const VERSION: u8 = 1;

/// Who joins with the next committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedMember {
    /// Its node key.
    pub node_key: NodeKey,
    /// Its name.
    pub name: MemberName,
}

/// A change of members, for the committee after the one that it names. It cannot be proposed again in another epoch or cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitteeChange {
    /// The epoch of the committee before.
    pub epoch: u64,
    /// The cluster.
    pub cluster: ClusterId,
    /// The committee before.
    pub committee: CommitteeDigest,
    /// Random, so that the same members can be proposed again.
    pub nonce: [u8; 16],
    /// Whether the change may take effect before the new committee holds every blob.
    pub is_forced: bool,
    /// Who leaves, ascending.
    pub removed: Vec<NodeKey>,
    /// Who joins, ascending by node key.
    pub added: Vec<AddedMember>,
}

impl CommitteeChange {
    /// Maximum number of members that one change adds and removes, so that it fits into an op.
    pub const MAX_MEMBERS: usize = 64;

    /// A change of this committee. The members may be in any order.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn new(
        committee: &CommitteeRecord,
        nonce: [u8; 16],
        is_forced: bool,
        mut removed: Vec<NodeKey>,
        mut added: Vec<AddedMember>,
    ) -> Result<Self, ChangeError> {
        removed.sort_unstable();
        added.sort_unstable_by_key(|member| member.node_key);
        let (epoch, cluster, digest) = (committee.epoch(), committee.cluster(), committee.digest());
        let change = Self { epoch, cluster, committee: digest, nonce, is_forced, removed, added };
        change.check(committee)?;
        Ok(change)
    }

    /// Checks that the change can be made of this committee.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn check(&self, committee: &CommitteeRecord) -> Result<(), ChangeError> {
        let (expected, got) = (committee.digest(), self.committee);
        // The digest fixes the cluster and the epoch, too.
        if got != expected || self.cluster != committee.cluster() || self.epoch != committee.epoch() {
            return Err(ChangeError::AnotherCommittee { expected, got });
        }
        let names = self.removed.len() + self.added.len();
        if names > Self::MAX_MEMBERS {
            return Err(ChangeError::TooMany { got: names });
        }
        for (one, next) in self.removed.iter().zip(self.removed.iter().skip(1)) {
            if one >= next {
                return Err(ChangeError::Unsorted { got: *next });
            }
        }
        for (one, next) in self.added.iter().zip(self.added.iter().skip(1)) {
            if one.node_key >= next.node_key {
                return Err(ChangeError::Unsorted { got: next.node_key });
            }
        }
        if let Some(got) = self.removed.iter().find(|key| committee.position(key).is_none()) {
            return Err(ChangeError::NotAMember { got: *got });
        }
        if let Some(member) = self.added.iter().find(|member| committee.position(&member.node_key).is_some()) {
            return Err(ChangeError::AlreadyAMember { got: member.node_key });
        }
        let (n, removed) = (usize::from(committee.n()), self.removed.len());
        let most = usize::from(quorum::honest_holders(committee.n())).saturating_sub(1);
        if removed > most {
            return Err(ChangeError::TooManyRemoved { most, got: removed });
        }
        let after = n - removed + self.added.len();
        if after > usize::from(MAX_MEMBERS) {
            return Err(ChangeError::TooLarge { got: after });
        }
        Ok(())
    }

    /// The node keys and names of the next committee, ascending by node key.
    pub fn members_after(&self, committee: &CommitteeRecord) -> Vec<AddedMember> {
        let stays = committee.members().iter().filter(|member| self.removed.binary_search(&member.node_key).is_err());
        let stays = stays.map(|member| AddedMember { node_key: member.node_key, name: member.name });
        let mut all: Vec<_> = stays.chain(self.added.iter().copied()).collect();
        all.sort_unstable_by_key(|member| member.node_key);
        all
    }

    /// The change's identity.
    pub fn id(&self) -> ChangeId {
        ChangeId(derive("vouch committee change v1", &[&self.encode()]))
    }

    /// The operator's signature on the change.
    pub fn sign_as_operator(&self, key: &VoteSecretKey) -> VoteSignature {
        key.sign(&operator_statement(self.epoch, &self.cluster, &self.committee, &self.id()))
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.committee.0);
        out.extend_from_slice(&self.nonce);
        out.push(self.is_forced.into());
        // Cannot saturate: `check` bounds both.
        out.push(u8::try_from(self.removed.len()).unwrap_or(u8::MAX));
        out.push(u8::try_from(self.added.len()).unwrap_or(u8::MAX));
        self.removed.iter().for_each(|key| out.extend_from_slice(&key.0));
        for member in &self.added {
            out.extend_from_slice(&member.node_key.0);
            out.extend_from_slice(&member.name.encode());
        }
        out
    }

    /// Decodes exactly one change. Whether it can be made is not checked.
    ///
    /// # Errors
    /// See [`ChangeFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ChangeFormatError> {
        let mut reader = Reader::new(bytes);
        let change = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(change)
    }

    /// Reads one change, which ends where its members end.
    ///
    /// # Errors
    /// See [`ChangeFormatError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ChangeFormatError> {
        reader.tag("magic", MAGIC)?;
        match reader.u8("version")? {
            VERSION => {}
            version => return Err(ChangeFormatError::UnknownVersion(version)),
        }
        let epoch = reader.u64("epoch")?;
        // There must be a next epoch.
        in_range("epoch", epoch, 0, MAX_SAFE_INTEGER - 1)?;
        let cluster = ClusterId(reader.array("cluster")?);
        let committee = CommitteeDigest(reader.array("committee digest")?);
        let nonce = reader.array("nonce")?;
        let is_forced = reader.flag("forced")?;
        let (removed, added) = (reader.u8("number of removed members")?, reader.u8("number of added members")?);
        in_range("number of members", u64::from(removed) + u64::from(added), 0, Self::MAX_MEMBERS as u64)?;
        let removed =
            (0..removed).map(|_| Ok(NodeKey(reader.array("removed member")?))).collect::<Result<_, DecodeError>>()?;
        let member = |_| {
            let node_key = NodeKey(reader.array("added member")?);
            Ok(AddedMember { node_key, name: MemberName::decode(reader.array("name of an added member")?)? })
        };
        let added = (0..added).map(member).collect::<Result<_, DecodeError>>()?;
        Ok(Self { epoch, cluster, committee, nonce, is_forced, removed, added })
    }
}

/// Checks the operator's signature on a change.
///
/// # Errors
/// The key is not a valid point, or did not sign the change.
pub fn verify_operator(key: &VoteKey, change: &CommitteeChange, signature: &VoteSignature) -> Result<(), BlsError> {
    let signed = operator_statement(change.epoch, &change.cluster, &change.committee, &change.id());
    vouched_key(key)?.verify(&signed, signature)
}

/// Why bytes are not a change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeFormatError {
    /// The bytes do not follow the layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An unknown format version.
    #[error("expected version {VERSION} of a committee change, got {0}")]
    UnknownVersion(u8),
}

/// Why a change cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// The change is of another committee.
    AnotherCommittee {
        /// The digest of the committee at hand.
        expected: CommitteeDigest,
        /// The digest in the change.
        got: CommitteeDigest,
    },
    /// More members are added and removed than one change may.
    TooMany {
        /// Their number.
        got: usize,
    },
    /// The members do not ascend, or one occurs twice.
    Unsorted {
        /// The member out of order.
        got: NodeKey,
    },
    /// A removed node is not in the committee.
    NotAMember {
        /// The node.
        got: NodeKey,
    },
    /// An added node is in the committee.
    AlreadyAMember {
        /// The node.
        got: NodeKey,
    },
    /// So many members leave that no honest holder of a blob may stay.
    TooManyRemoved {
        /// The greatest number that may leave at once.
        most: usize,
        /// The number that would.
        got: usize,
    },
    /// The next committee would be too large.
    TooLarge {
        /// Its size.
        got: usize,
    },
}

impl ChangeError {
    /// What is required, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::AnotherCommittee { expected, got } => Comparison::new(&"committee that is to change", expected, got),
            Self::TooMany { got } => {
                let most = CommitteeChange::MAX_MEMBERS;
                Comparison::new(&"members added and removed", &format_args!("at most {most}"), got)
            }
            Self::Unsorted { got } => {
                let got = format_args!("{got} out of order").to_string();
                Comparison::new(&"members of the change", &"each once, ascending", &got)
            }
            Self::NotAMember { got } => Comparison::new(&"removed node", &"a member", got),
            Self::AlreadyAMember { got } => Comparison::new(&"added node", &"no member yet", got),
            Self::TooManyRemoved { most, got } => {
                let most = format!("at most {most} in one change, so that an honest holder of every file stays");
                Comparison::new(&"removed members", &most, got)
            }
            Self::TooLarge { got } => {
                Comparison::new(&"members of the next committee", &format_args!("at most {MAX_MEMBERS}"), got)
            }
        }
    }
}

display_comparison!(ChangeError);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::Member;
    use crate::link::NodeSecretKey;

    fn node(number: u8) -> NodeKey {
        NodeSecretKey::from_bytes(&[number; 32]).node_key()
    }

    fn added(number: u8) -> AddedMember {
        AddedMember { node_key: node(number), name: MemberName::new(&format!("replica-{number}")).unwrap() }
    }

    fn committee(n: u8) -> CommitteeRecord {
        let member = |number: u8| Member {
            node_key: node(number),
            vote_key: VoteSecretKey::generate(&[number; 32]).unwrap().vote_key(),
            name: added(number).name,
        };
        CommitteeRecord::genesis([0; 16], (1..=n).map(member).collect()).unwrap()
    }

    fn change(of: &CommitteeRecord, removed: &[u8], joins: &[u8]) -> Result<CommitteeChange, ChangeError> {
        let removed = removed.iter().map(|number| node(*number)).collect();
        CommitteeChange::new(of, [7; 16], false, removed, joins.iter().map(|number| added(*number)).collect())
    }

    #[test]
    fn a_change_has_one_encoding_and_names_the_next_members() {
        let four = committee(4);
        let one = change(&four, &[2], &[9, 8]).unwrap();
        assert_eq!(CommitteeChange::decode(&one.encode()), Ok(one.clone()));
        assert_eq!(one.id(), change(&four, &[2], &[8, 9]).unwrap().id());
        assert_ne!(one.id(), change(&four, &[2], &[8]).unwrap().id());
        let mut expected: Vec<_> = [1, 3, 4, 8, 9].map(node).into();
        expected.sort_unstable();
        let after: Vec<_> = one.members_after(&four).iter().map(|member| member.node_key).collect();
        assert_eq!(after, expected);
        let bytes = one.encode();
        for length in 0..bytes.len() {
            assert!(CommitteeChange::decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut newer = bytes.clone();
        newer[7] = 2;
        assert_eq!(CommitteeChange::decode(&newer), Err(ChangeFormatError::UnknownVersion(2)));
        let mut crowd = bytes;
        crowd[97] = 63;
        let refused = CommitteeChange::decode(&crowd).unwrap_err();
        assert!(refused.to_string().contains("0 to 64"), "{refused}");
    }

    #[test]
    fn a_change_that_cannot_be_made_is_refused_by_name() {
        let four = committee(4);
        assert!(matches!(change(&four, &[9], &[]), Err(ChangeError::NotAMember { got }) if got == node(9)));
        assert!(matches!(change(&four, &[], &[3]), Err(ChangeError::AlreadyAMember { got }) if got == node(3)));
        assert!(matches!(change(&four, &[1, 1], &[]), Err(ChangeError::Unsorted { .. })));
        assert!(matches!(change(&four, &[], &[9, 9]), Err(ChangeError::Unsorted { .. })));
        let other = change(&committee(5), &[], &[]).unwrap();
        assert!(matches!(other.check(&four), Err(ChangeError::AnotherCommittee { .. })));
        let crowd: Vec<u8> = (10..75).collect();
        assert!(matches!(change(&four, &[], &crowd), Err(ChangeError::TooMany { got: 65 })));
        // n, most: an honest holder of every blob must stay
        for (n, most) in [(1, 0), (2, 1), (3, 2), (4, 1), (7, 2), (10, 3)] {
            let leave: Vec<u8> = (1..=most + 1).collect();
            let refused = Err(ChangeError::TooManyRemoved { most: most.into(), got: leave.len() });
            assert_eq!(change(&committee(n), &leave, &[]), refused, "{n}");
            assert!(change(&committee(n), &leave[1..], &[]).is_ok(), "{n}");
        }
    }

    #[test]
    fn only_the_operators_signature_on_this_change_counts() {
        let (operator, other) = ([1, 2].map(|number| VoteSecretKey::generate(&[number; 32]).unwrap())).into();
        let four = committee(4);
        let change = change(&four, &[1], &[]).unwrap();
        let signature = change.sign_as_operator(&operator);
        assert_eq!(verify_operator(&operator.vote_key(), &change, &signature), Ok(()));
        assert!(verify_operator(&other.vote_key(), &change, &signature).is_err());
        let of_another = [
            CommitteeChange { nonce: [8; 16], ..change.clone() },
            CommitteeChange { is_forced: true, ..change.clone() },
            CommitteeChange { epoch: 1, ..change.clone() },
            CommitteeChange { cluster: ClusterId([1; 32]), ..change.clone() },
            CommitteeChange { committee: CommitteeDigest([1; 32]), ..change },
        ];
        for change in of_another {
            assert!(verify_operator(&operator.vote_key(), &change, &signature).is_err(), "{change:?}");
        }
    }
}
