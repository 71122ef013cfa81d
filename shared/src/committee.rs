//! The members of one epoch: their record, and the committee whose keys may be used.
//!
//! A [`CommitteeRecord`] is only well formed: its digest can be compared, but its keys cannot be used. It becomes a
//! [`Committee`] through [`Committee::proven`], which checks every proof of possession, or as part of a
//! [`CommitteeChain`](crate::chain::CommitteeChain), by the signatures of the previous committee. There is no other way.

mod error;
mod genesis;
mod lineage;
mod member;
#[cfg(feature = "nodes")]
mod offer;
mod policy;

pub use error::{CommitteeError, GenesisError, PossessionError};
pub(crate) use genesis::read_genesis;
pub use lineage::Lineage;
pub use member::{Member, MemberName};
#[cfg(feature = "nodes")]
pub use offer::{KeyOffer, KeyOfferError, KeyOfferFormatError, OfferedKey};
pub use policy::{OperatorKeyParseError, Policy, parse_operator_key};

use std::sync::Arc;

use crate::bls::{
    self, AggregateClaim, AggregateSignature, BlsError, CheckedKey, KeySum, Possession, ProvenVoteKey, VoteKey,
    VoteSignature, check_possessions,
};
use crate::codec::{DecodeError, Reader, first_repeated, in_range};
use crate::digest::{ClusterId, CommitteeDigest, History, derive};
use crate::limits::{Limits, MAX_MEMBERS, MAX_SAFE_INTEGER};
use crate::link::NodeKey;
use crate::quorum;

const MAGIC: &[u8; 7] = b"vouchcm";
const VERSION: u8 = 1;
const FAULT_RULE_THIRD: u8 = 1;
const NONCE_SIZE: usize = 16;
const HEADER_SIZE: usize = 148;
const MEMBER_SIZE: usize = 104;
const HISTORY_SIZE: usize = 32;
/// Size of the encoding of a later committee of [`MAX_MEMBERS`], the largest.
pub(crate) const MAX_COMMITTEE: usize = HEADER_SIZE + HISTORY_SIZE + MEMBER_SIZE * MAX_MEMBERS as usize;

/// What distinguishes a committee from others of the same members.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Genesis {
        nonce: [u8; 16],
    },
    /// Boxed: records are parts of messages.
    Later(Box<Lineage>),
}

/// A well-formed committee whose keys are not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitteeRecord {
    origin: Origin,
    policy: Policy,
    members: Vec<Member>,
    digest: CommitteeDigest,
}

impl CommitteeRecord {
    /// The genesis committee of the given members, in any order, with the open policy.
    ///
    /// # Errors
    /// A repeated key, no members, or more than [`MAX_MEMBERS`].
    pub fn genesis(nonce: [u8; 16], members: Vec<Member>) -> Result<Self, CommitteeError> {
        Self::genesis_under(Policy::Open, nonce, members)
    }

    /// As [`genesis`](Self::genesis), with this policy.
    ///
    /// # Errors
    /// As [`genesis`](Self::genesis).
    pub fn genesis_under(policy: Policy, nonce: [u8; 16], mut members: Vec<Member>) -> Result<Self, CommitteeError> {
        members.sort_by_key(|member| member.node_key);
        Self::new(Origin::Genesis { nonce }, policy, members)
    }

    /// A later committee of the given members, in any order.
    ///
    /// # Errors
    /// As for [`genesis`](Self::genesis), and for a lineage that no committee can have.
    pub fn later(lineage: Lineage, policy: Policy, mut members: Vec<Member>) -> Result<Self, CommitteeError> {
        lineage.check()?;
        members.sort_by_key(|member| member.node_key);
        Self::new(Origin::Later(Box::new(lineage)), policy, members)
    }

    /// Decodes a genesis committee.
    ///
    /// # Errors
    /// See [`CommitteeError`].
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, CommitteeError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        in_range("epoch of a genesis committee", reader.u64("epoch")?, 0, 0)?;
        reader.tag("cluster of a genesis committee", &[0; 32])?;
        reader.tag("previous digest of a genesis committee", &[0; 32])?;
        let nonce = reader.array("genesis nonce")?;
        let (policy, n) = read_rules(&mut reader, limits)?;
        Self::new(Origin::Genesis { nonce }, policy, read_members(reader, n)?)
    }

    /// Decodes a committee of an epoch above 0.
    ///
    /// # Errors
    /// See [`CommitteeError`].
    pub fn decode_later(bytes: &[u8], limits: &Limits) -> Result<Self, CommitteeError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let epoch = reader.u64("epoch")?;
        in_range("epoch of a later committee", epoch, 1, MAX_SAFE_INTEGER)?;
        let cluster = ClusterId(reader.array("cluster")?);
        let previous = CommitteeDigest(reader.array("previous digest")?);
        reader.tag("nonce of a later committee", &[0; NONCE_SIZE])?;
        let (policy, n) = read_rules(&mut reader, limits)?;
        let history = History(reader.array("history")?);
        let lineage = Lineage { epoch, cluster, previous, history };
        lineage.check()?;
        Self::new(Origin::Later(Box::new(lineage)), policy, read_members(reader, n)?)
    }

    fn new(origin: Origin, policy: Policy, members: Vec<Member>) -> Result<Self, CommitteeError> {
        in_range("n", members.len() as u64, 1, MAX_MEMBERS.into())?;
        for (position, pair) in members.windows(2).enumerate() {
            if pair[0].node_key >= pair[1].node_key {
                return Err(CommitteeError::Unsorted { member: position + 1, got: pair[1].node_key });
            }
        }
        if let Some((first, second)) = first_repeated(members.iter().map(|member| &member.vote_key.0[..])) {
            return Err(CommitteeError::RepeatedVoteKey { got: members[first].vote_key, first, second });
        }
        let mut record = Self { origin, policy, members, digest: CommitteeDigest([0; 32]) };
        record.digest = CommitteeDigest(derive("vouch committee v1", &[&record.encode()]));
        Ok(record)
    }

    /// The canonical encoding: 148 bytes for a genesis, 180 for a later committee, and 104 for each member.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_SIZE + HISTORY_SIZE + MEMBER_SIZE * self.members.len());
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.epoch().to_le_bytes());
        let (cluster, previous, nonce) = match &self.origin {
            Origin::Genesis { nonce } => ([0; 32], [0; 32], *nonce),
            Origin::Later(lineage) => (lineage.cluster.0, lineage.previous.0, [0; NONCE_SIZE]),
        };
        out.extend_from_slice(&cluster);
        out.extend_from_slice(&previous);
        out.extend_from_slice(&nonce);
        out.push(self.policy.number());
        out.push(FAULT_RULE_THIRD);
        out.extend_from_slice(&self.n().to_le_bytes());
        out.extend_from_slice(&self.policy.operator_key());
        if let Origin::Later(lineage) = &self.origin {
            out.extend_from_slice(&lineage.history.0);
        }
        for member in &self.members {
            out.extend_from_slice(&member.node_key.0);
            out.extend_from_slice(&member.vote_key.0);
            out.extend_from_slice(&member.name.encode());
        }
        out
    }

    /// The digest that statements and certificates name.
    pub fn digest(&self) -> CommitteeDigest {
        self.digest
    }

    /// The cluster identity: the digest of the genesis committee.
    pub fn cluster(&self) -> ClusterId {
        match &self.origin {
            Origin::Genesis { .. } => ClusterId(self.digest.0),
            Origin::Later(lineage) => lineage.cluster,
        }
    }

    /// The epoch: 0 for a genesis, and one more for each handoff.
    pub fn epoch(&self) -> u64 {
        match &self.origin {
            Origin::Genesis { .. } => 0,
            Origin::Later(lineage) => lineage.epoch,
        }
    }

    /// Whose signatures a change of members needs.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// What a later committee says of those before it; `None` for a genesis.
    pub fn lineage(&self) -> Option<&Lineage> {
        match &self.origin {
            Origin::Genesis { .. } => None,
            Origin::Later(lineage) => Some(lineage),
        }
    }

    /// The members, ascending by node key.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The number of members.
    pub fn n(&self) -> u16 {
        // `new` bounds the number by MAX_MEMBERS.
        u16::try_from(self.members.len()).unwrap_or(MAX_MEMBERS)
    }

    /// The number of members that must sign a statement.
    pub fn quorum(&self) -> u16 {
        quorum::quorum(self.n())
    }

    /// The index of the member with this node key.
    pub fn position(&self, node_key: &NodeKey) -> Option<u16> {
        let position = self.members.binary_search_by_key(node_key, |member| member.node_key).ok()?;
        u16::try_from(position).ok()
    }

    /// The member at an index.
    pub fn member(&self, index: u16) -> Option<&Member> {
        self.members.get(usize::from(index))
    }

    /// A member's name, for people; `member` and the index if there is no such member.
    pub fn name(&self, member: u16) -> String {
        match self.member(member) {
            Some(member) => member.name.to_string(),
            None => format!("member {member}"),
        }
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<(), CommitteeError> {
    reader.tag("magic", MAGIC)?;
    match reader.u8("version")? {
        VERSION => Ok(()),
        version => Err(CommitteeError::UnknownVersion(version)),
    }
}

/// Reads policy, fault rule, n and operator key. Returns the policy and n.
fn read_rules(reader: &mut Reader<'_>, limits: &Limits) -> Result<(Policy, u16), CommitteeError> {
    let policy = reader.u8("policy")?;
    if !Policy::is_known(policy) {
        return Err(CommitteeError::UnknownPolicy(policy));
    }
    reader.tag("fault rule", &[FAULT_RULE_THIRD])?;
    let n = reader.u16("n")?;
    in_range("n", n.into(), 1, limits.members.into())?;
    Ok((Policy::read(policy, reader)?, n))
}

/// Reads the members, and nothing after them.
fn read_members(mut reader: Reader<'_>, n: u16) -> Result<Vec<Member>, CommitteeError> {
    let members = (0..n)
        .map(|_| {
            Ok(Member {
                node_key: NodeKey(reader.array("node key")?),
                vote_key: VoteKey(reader.array("vote key")?),
                name: MemberName::decode(reader.array("member name")?)?,
            })
        })
        .collect::<Result<_, DecodeError>>()?;
    reader.finish()?;
    Ok(members)
}

/// A committee whose keys may be used: the proofs of possession were all verified, or a quorum of the previous committee has signed the
/// handoff to it. Votes and certificates are verified only with a `Committee`.
#[derive(Debug, Clone)]
pub struct Committee {
    record: Arc<CommitteeRecord>,
    possessions: Vec<Possession>,
    keys: KeySum,
}

impl Committee {
    /// Verifies a committee that no committee before it vouches for, a genesis or one that a verifier pins: checks every vote key and its
    /// proof of possession. Costs about 0.7 ms for each member.
    ///
    /// # Errors
    /// See [`GenesisError`].
    pub fn proven(record: CommitteeRecord, possessions: Vec<Possession>) -> Result<Self, GenesisError> {
        Self::proven_with(record, possessions, |_, _| None)
    }

    /// As [`proven`](Self::proven). The keys of members that `known` has with the same proofs are not verified again.
    ///
    /// # Errors
    /// As [`proven`](Self::proven).
    #[cfg(feature = "nodes")]
    pub fn proven_knowing(
        record: CommitteeRecord,
        possessions: Vec<Possession>,
        known: Option<&Self>,
    ) -> Result<Self, GenesisError> {
        Self::proven_with(record, possessions, |member, proof| known?.verified_key(member, proof))
    }

    /// As [`proven`](Self::proven). `verified` returns a member's key if its proof was verified before.
    fn proven_with(
        record: CommitteeRecord,
        possessions: Vec<Possession>,
        verified: impl Fn(&Member, &Possession) -> Option<CheckedKey>,
    ) -> Result<Self, GenesisError> {
        let expected = record.members.len();
        if possessions.len() != expected {
            return Err(CommitteeError::PossessionCount { expected, got: possessions.len() }.into());
        }
        let mut keys: Vec<_> =
            record.members.iter().zip(&possessions).map(|(member, proof)| verified(member, proof)).collect();
        let new: Vec<_> = (0..expected).filter(|position| keys[*position].is_none()).collect();
        let pairs: Vec<_> =
            new.iter().map(|position| (record.members[*position].vote_key, possessions[*position])).collect();
        let checked = check_possessions(&pairs).map_err(|(number, error)| match number {
            Some(number) => {
                let member = new.get(number).copied().unwrap_or(number);
                let name = record.members.get(member).map_or_else(String::new, |member| member.name.to_string());
                PossessionError::Point { member, name, error }
            }
            None => PossessionError::Together { members: expected },
        })?;
        new.into_iter().zip(checked).for_each(|(position, key)| keys[position] = Some(key));
        let Some(keys) = KeySum::new(keys.into_iter().flatten().collect()) else {
            return Err(CommitteeError::PossessionCount { expected: 1, got: 0 }.into());
        };
        Ok(Self { record: Arc::new(record), possessions, keys })
    }

    /// A genesis committee of members whose proofs of possession were verified. The members ascend by node key.
    ///
    /// # Errors
    /// The committee is not well formed.
    pub fn genesis_of_proven(
        policy: Policy,
        nonce: [u8; 16],
        members: Vec<(NodeKey, MemberName, ProvenVoteKey)>,
    ) -> Result<Self, CommitteeError> {
        let possessions = members.iter().map(|(_, _, proven)| proven.possession()).collect();
        let keys = members.iter().map(|(_, _, proven)| proven.checked()).collect();
        let member = |(node_key, name, proven): (NodeKey, MemberName, ProvenVoteKey)| Member {
            node_key,
            vote_key: proven.vote_key(),
            name,
        };
        let record = CommitteeRecord::genesis_under(policy, nonce, members.into_iter().map(member).collect())?;
        let keys = KeySum::new(keys).ok_or(CommitteeError::PossessionCount { expected: 1, got: 0 })?;
        Ok(Self { record: Arc::new(record), possessions, keys })
    }

    /// A member's vote key with its verified proof. `None` if there is no such member.
    pub fn proven_key(&self, member: u16) -> Option<ProvenVoteKey> {
        let member = usize::from(member);
        let vote_key = self.record.members.get(member)?.vote_key;
        let possession = self.possessions.get(member).copied()?;
        Some(ProvenVoteKey::of_member(vote_key, possession, *self.keys.key(member)?))
    }

    /// The key of this member, if it is one here too, with the same vote key and proof.
    #[cfg(feature = "nodes")]
    fn verified_key(&self, member: &Member, proof: &Possession) -> Option<CheckedKey> {
        let proven = self.proven_key(self.record.position(&member.node_key)?)?;
        let is_same = proven.vote_key() == member.vote_key && proven.possession() == *proof;
        is_same.then(|| proven.checked())
    }

    /// A later committee, of which the caller checks that the previous one has signed it, or that its members offered these keys. Only the
    /// points of its keys are checked here: proofs of possession are not.
    ///
    /// # Errors
    /// The index of a member whose key is not a valid point, and why.
    pub fn handed_over(record: Arc<CommitteeRecord>) -> Result<Self, (usize, BlsError)> {
        let mut keys = Vec::with_capacity(record.members.len());
        for (index, member) in record.members.iter().enumerate() {
            keys.push(bls::vouched_key(&member.vote_key).map_err(|error| (index, error))?);
        }
        // A record has at least one member.
        let keys = KeySum::new(keys).ok_or((0, BlsError::Infinity))?;
        Ok(Self { record, possessions: Vec::new(), keys })
    }

    /// The committee's record.
    pub fn record(&self) -> &CommitteeRecord {
        &self.record
    }

    /// The cluster identity.
    pub fn cluster(&self) -> ClusterId {
        self.record.cluster()
    }

    /// The proofs of possession, in member order. A later committee has none.
    pub fn possessions(&self) -> &[Possession] {
        &self.possessions
    }

    pub(crate) fn verify_vote(&self, member: u16, statement: &[u8], vote: &VoteSignature) -> Result<(), BlsError> {
        let key = self.keys.key(member.into()).ok_or(BlsError::Mismatch)?;
        key.verify(statement, vote)
    }

    /// Checks the votes of several members together. The vote of a non-member is not valid.
    pub(crate) fn verify_votes(&self, statement: &[u8], votes: &[(u16, VoteSignature)]) -> Result<(), BlsError> {
        let of_members: Option<Vec<_>> = votes
            .iter()
            .map(|(member, vote)| {
                let vote_key = &self.record.members().get(usize::from(*member))?.vote_key;
                Some((vote_key, self.keys.key((*member).into())?, vote))
            })
            .collect();
        bls::verify_together(statement, &of_members.ok_or(BlsError::Mismatch)?)
    }

    /// A signature of all members except `absent`, which is not verified yet.
    pub(crate) fn claim(
        &self,
        absent: impl Iterator<Item = usize>,
        signature: &AggregateSignature,
    ) -> Result<AggregateClaim, BlsError> {
        self.keys.claim(absent, signature)
    }

    pub(crate) fn verify_aggregate(
        &self,
        absent: impl Iterator<Item = usize>,
        statement: &[u8],
        signature: &AggregateSignature,
    ) -> Result<(), BlsError> {
        self.keys.verify(absent, statement, signature)
    }
}
