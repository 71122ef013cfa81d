//! Evidence: two messages of the engine that one member must not both have signed. Anyone who has the committee can check it.

use thiserror::Error;

use super::engine_message::{EngineProposal, EngineSignature, EngineSignatureError, EngineVote, EngineVoteType};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::CommitteeRecord;
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{BlockDigest, ClusterId};
use crate::limits::MAX_SAFE_INTEGER;
use crate::link::NodeKey;

const MAGIC: &[u8; 7] = b"vouchev";
const VERSION: u8 = 1;
const PROPOSALS: u8 = 3;
const NO_ROUND: u32 = u32::MAX;

/// Two signed messages of one member, for the same height, round and step, with different blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Evidence {
    cluster: ClusterId,
    epoch: u64,
    member: NodeKey,
    conflict: Conflict,
}

/// The two messages, in ascending order of their blocks, so that one conflict has one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Conflict {
    Votes([(EngineVote, EngineSignature); 2]),
    Proposals([(EngineProposal, EngineSignature); 2]),
}

/// Why bytes are not evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvidenceFormatError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown format version: the rest cannot be decoded.
    UnknownVersion(u8),
    /// The two messages are for the same block, or in the wrong order.
    Order {
        /// The block of the first message.
        first: BlockDigest,
        /// The block of the second message.
        second: BlockDigest,
    },
}

impl EvidenceFormatError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("evidence"),
            Self::UnknownVersion(got) => Comparison::new(&"evidence version", &VERSION, got),
            Self::Order { first, second } => Comparison::new(
                &"blocks of the evidence",
                &format_args!("one above {} second", first.to_hex()),
                &second.to_hex(),
            ),
        }
    }
}

/// Why evidence proves nothing about a committee.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// The evidence is about another cluster.
    AnotherCluster {
        /// The committee's cluster.
        expected: ClusterId,
        /// The cluster in the evidence.
        got: ClusterId,
    },
    /// The evidence is about another epoch.
    AnotherEpoch {
        /// The committee's epoch.
        expected: u64,
        /// The epoch in the evidence.
        got: u64,
    },
    /// The accused is not a member of the committee.
    NotAMember(NodeKey),
    /// A message is not signed by the member.
    Signature(#[from] EngineSignatureError),
}

impl EvidenceError {
    /// What a proof requires, and what the evidence has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::AnotherCluster { expected, got } => Comparison::new(&"cluster of the evidence", expected, got),
            Self::AnotherEpoch { expected, got } => Comparison::new(&"epoch of the evidence", expected, got),
            Self::NotAMember(got) => Comparison::new(&"evidence", &"a member of the committee", got),
            Self::Signature(error) => error.comparison().within("evidence"),
        }
    }
}

display_comparison!(EvidenceFormatError, EvidenceError);

impl Evidence {
    /// Evidence from two votes of a member. `None` unless they are for the same height, round and step, and for different blocks.
    pub fn of_votes(
        cluster: ClusterId,
        epoch: u64,
        member: NodeKey,
        mut votes: [(EngineVote, EngineSignature); 2],
    ) -> Option<Self> {
        votes.sort_by_key(|(vote, _)| digest_or_zeros(vote));
        let [first, second] = votes.map(|(vote, _)| vote);
        if digest_or_zeros(&first) == digest_or_zeros(&second)
            || (EngineVote { block: second.block, ..first }) != second
        {
            return None;
        }
        Some(Self { cluster, epoch, member, conflict: Conflict::Votes(votes) })
    }

    /// Evidence from two proposals of a member. `None` unless they are for the same height and round, and for different blocks.
    pub fn of_proposals(
        cluster: ClusterId,
        epoch: u64,
        member: NodeKey,
        mut proposals: [(EngineProposal, EngineSignature); 2],
    ) -> Option<Self> {
        proposals.sort_by_key(|(proposal, _)| proposal.block);
        let [first, second] = proposals.map(|(proposal, _)| proposal);
        if first.block == second.block || (first.height, first.round) != (second.height, second.round) {
            return None;
        }
        Some(Self { cluster, epoch, member, conflict: Conflict::Proposals(proposals) })
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The epoch of the accused member's committee.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The accused member.
    pub fn member(&self) -> NodeKey {
        self.member
    }

    /// The height at which the member signed both messages.
    pub fn height(&self) -> u64 {
        self.place().0
    }

    /// The round in which the member signed both messages.
    pub fn round(&self) -> u32 {
        self.place().1
    }

    /// What the member signed twice, for people: `prevote`, `precommit` or `proposal`.
    pub fn what(&self) -> &'static str {
        match self.conflict {
            Conflict::Votes([(EngineVote { vote_type: EngineVoteType::Prevote, .. }, _), _]) => "prevote",
            Conflict::Votes(_) => "precommit",
            Conflict::Proposals(_) => "proposal",
        }
    }

    /// The blocks of the two messages with their signatures. `None`: a vote for no block.
    pub fn messages(&self) -> [(Option<BlockDigest>, EngineSignature); 2] {
        match self.conflict {
            Conflict::Votes(votes) => votes.map(|(vote, signature)| (vote.block, signature)),
            Conflict::Proposals(proposals) => proposals.map(|(proposal, signature)| (Some(proposal.block), signature)),
        }
    }

    fn place(&self) -> (u64, u32) {
        match &self.conflict {
            Conflict::Votes([(vote, _), _]) => (vote.height, vote.round),
            Conflict::Proposals([(proposal, _), _]) => (proposal.height, proposal.round),
        }
    }

    /// Checks that a member of this committee signed both messages. Returns its index in the committee.
    ///
    /// # Errors
    /// See [`EvidenceError`].
    pub fn verify(&self, committee: &CommitteeRecord) -> Result<u16, EvidenceError> {
        let (expected, got) = (committee.cluster(), self.cluster);
        if got != expected {
            return Err(EvidenceError::AnotherCluster { expected, got });
        }
        let (expected, got) = (committee.epoch(), self.epoch);
        if got != expected {
            return Err(EvidenceError::AnotherEpoch { expected, got });
        }
        let position = committee.position(&self.member).ok_or(EvidenceError::NotAMember(self.member))?;
        match &self.conflict {
            Conflict::Votes(votes) => {
                for (vote, signature) in votes {
                    vote.verify(&self.cluster, self.epoch, &self.member, signature)?;
                }
            }
            Conflict::Proposals(proposals) => {
                for (proposal, signature) in proposals {
                    proposal.verify(&self.cluster, self.epoch, &self.member, signature)?;
                }
            }
        }
        Ok(position)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.member.0);
        out.push(match &self.conflict {
            Conflict::Votes([(vote, _), _]) => vote.vote_type as u8,
            Conflict::Proposals(_) => PROPOSALS,
        });
        let (height, round) = self.place();
        out.extend_from_slice(&height.to_le_bytes());
        out.extend_from_slice(&round.to_le_bytes());
        match &self.conflict {
            Conflict::Votes(votes) => {
                for (vote, signature) in votes {
                    out.extend_from_slice(&digest_or_zeros(vote));
                    out.extend_from_slice(&signature.0);
                }
            }
            Conflict::Proposals(proposals) => {
                for (proposal, signature) in proposals {
                    out.extend_from_slice(&proposal.valid_round.unwrap_or(NO_ROUND).to_le_bytes());
                    out.extend_from_slice(&proposal.block.0);
                    out.extend_from_slice(&signature.0);
                }
            }
        }
        out
    }

    /// Decodes exactly one piece of evidence.
    ///
    /// # Errors
    /// See [`EvidenceFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceFormatError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(EvidenceFormatError::UnknownVersion(version));
        }
        let cluster = ClusterId(reader.array("cluster")?);
        let epoch = reader.safe_u64("epoch")?;
        let member = NodeKey(reader.array("member")?);
        let what = reader.u8("kind of message")?;
        in_range("kind of message", what.into(), 1, PROPOSALS.into())?;
        let height = reader.u64("height")?;
        in_range("height", height, 1, MAX_SAFE_INTEGER)?;
        let round = reader.u32("round")?;
        let mut message = || -> Result<(EngineProposal, EngineSignature), DecodeError> {
            let valid_round = if what == PROPOSALS { reader.u32("valid round")? } else { NO_ROUND };
            let valid_round = Some(valid_round).filter(|round| *round != NO_ROUND);
            let block = BlockDigest(reader.array("block")?);
            let signature = EngineSignature(reader.array("signature")?);
            Ok((EngineProposal { height, round, valid_round, block }, signature))
        };
        let both = [message()?, message()?];
        reader.finish()?;
        let [first, second] = both.map(|(proposal, _)| proposal.block);
        if first >= second {
            return Err(EvidenceFormatError::Order { first, second });
        }
        let vote = |vote_type, (proposal, signature): (EngineProposal, EngineSignature)| {
            let block = Some(proposal.block).filter(|block| *block != BlockDigest::GENESIS);
            (EngineVote { vote_type, height, round, block }, signature)
        };
        let conflict = match what {
            1 => Conflict::Votes(both.map(|message| vote(EngineVoteType::Prevote, message))),
            2 => Conflict::Votes(both.map(|message| vote(EngineVoteType::Precommit, message))),
            _ => Conflict::Proposals(both),
        };
        Ok(Self { cluster, epoch, member, conflict })
    }
}

/// The block of a vote as it is signed: 32 zero bytes for no block.
fn digest_or_zeros(vote: &EngineVote) -> [u8; 32] {
    vote.block.map_or([0; 32], |block| block.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::VoteSecretKey;
    use crate::committee::{Member, MemberName};
    use crate::link::NodeSecretKey;

    fn secret() -> NodeSecretKey {
        NodeSecretKey::from_bytes(&[1; 32])
    }

    fn committee(secret: &NodeSecretKey) -> CommitteeRecord {
        let vote_key = VoteSecretKey::generate(&[1; 32]).unwrap().vote_key();
        let member = Member { node_key: secret.node_key(), vote_key, name: MemberName::new("own").unwrap() };
        CommitteeRecord::genesis([0; 16], vec![member]).unwrap()
    }

    fn vote(block: Option<u8>) -> EngineVote {
        let block = block.map(|byte| BlockDigest([byte; 32]));
        EngineVote { vote_type: EngineVoteType::Precommit, height: 5, round: 1, block }
    }

    fn signed(vote: EngineVote) -> (EngineVote, EngineSignature) {
        (vote, vote.sign(&committee(&secret()).cluster(), 0, &secret()))
    }

    fn votes(first: EngineVote, second: EngineVote) -> Option<Evidence> {
        let cluster = committee(&secret()).cluster();
        Evidence::of_votes(cluster, 0, secret().node_key(), [signed(first), signed(second)])
    }

    fn proposals(first: EngineProposal, second: EngineProposal) -> Option<Evidence> {
        let cluster = committee(&secret()).cluster();
        let signed = |proposal: EngineProposal| (proposal, proposal.sign(&cluster, 0, &secret()));
        Evidence::of_proposals(cluster, 0, secret().node_key(), [signed(first), signed(second)])
    }

    fn proposal(block: u8, valid_round: Option<u32>) -> EngineProposal {
        EngineProposal { height: 5, round: 1, valid_round, block: BlockDigest([block; 32]) }
    }

    #[test]
    fn two_votes_or_proposals_with_different_blocks_are_evidence() {
        let record = committee(&secret());
        let pairs = [
            votes(vote(Some(1)), vote(Some(2))),
            votes(vote(Some(2)), vote(None)),
            proposals(proposal(2, None), proposal(1, Some(0))),
        ];
        for (evidence, size) in pairs.into_iter().flatten().zip([285, 285, 293]) {
            assert_eq!(evidence.verify(&record), Ok(0));
            assert_eq!((evidence.height(), evidence.round()), (5, 1));
            let bytes = evidence.encode();
            assert_eq!((bytes.len(), Evidence::decode(&bytes)), (size, Ok(evidence)));
            assert_eq!(Evidence::decode(&bytes).unwrap().encode(), bytes);
            for length in 0..bytes.len() {
                assert!(Evidence::decode(&bytes[..length]).is_err(), "{length}");
            }
            assert!(Evidence::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
        assert_eq!(pairs.iter().flatten().count(), 3);
        assert_eq!(pairs.map(|evidence| evidence.unwrap().what()), ["precommit", "precommit", "proposal"]);
        assert_eq!(votes(vote(Some(1)), vote(Some(2))), votes(vote(Some(2)), vote(Some(1))));
    }

    #[test]
    fn messages_that_an_honest_member_may_sign_are_no_evidence() {
        let one = vote(Some(1));
        assert_eq!(votes(one, one), None);
        let others = [
            EngineVote { height: 6, ..vote(Some(2)) },
            EngineVote { round: 2, ..vote(Some(2)) },
            EngineVote { vote_type: EngineVoteType::Prevote, ..vote(Some(2)) },
        ];
        for other in others {
            assert_eq!(votes(one, other), None, "{other:?}");
        }
        let first = proposal(1, None);
        assert_eq!(proposals(first, EngineProposal { valid_round: Some(0), ..first }), None);
        assert_eq!(proposals(first, EngineProposal { round: 2, ..proposal(2, None) }), None);
        assert_eq!(proposals(first, EngineProposal { height: 6, ..proposal(2, None) }), None);
    }

    #[test]
    fn evidence_holds_only_against_the_signer_in_its_own_committee() {
        let record = committee(&secret());
        let evidence = votes(vote(Some(1)), vote(Some(2))).unwrap();
        let other = NodeSecretKey::from_bytes(&[2; 32]);
        let others = committee(&other);
        let (expected, got) = (others.cluster(), record.cluster());
        assert_eq!(evidence.verify(&others), Err(EvidenceError::AnotherCluster { expected, got }));
        let later = Evidence { epoch: 1, ..evidence };
        assert_eq!(later.verify(&record), Err(EvidenceError::AnotherEpoch { expected: 0, got: 1 }));
        let accused = Evidence { member: other.node_key(), ..evidence };
        assert_eq!(accused.verify(&record), Err(EvidenceError::NotAMember(other.node_key())));
        let bytes = evidence.encode();
        for position in [92, 93, 101, 110, bytes.len() - 100, bytes.len() - 1] {
            let mut altered = bytes.clone();
            altered[position] ^= 1;
            if let Ok(forged) = Evidence::decode(&altered) {
                assert!(matches!(forged.verify(&record), Err(EvidenceError::Signature(_))), "{position}");
            }
        }
        let mut swapped = bytes[..93].to_vec();
        swapped.extend_from_slice(&bytes[189..]);
        swapped.extend_from_slice(&bytes[93..189]);
        assert!(matches!(Evidence::decode(&swapped), Err(EvidenceFormatError::Order { .. })));
        let mut version = bytes;
        version[7] = 2;
        assert_eq!(Evidence::decode(&version), Err(EvidenceFormatError::UnknownVersion(2)));
    }
}
