//! The types that the consensus library is instantiated with. They are private to the engine: other modules use the plain types of
//! `vouch_core::log`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_malachitebft_core_types as core_types;
use core_types::{Context, LinearTimeouts, NilOrVal, Round, SignedExtension, VoteType, VotingPower};
use vouch_core::link::NodeKey;
use vouch_core::log::BlockDigest;

/// Instantiates the library. It has no state: proposers follow from the set of voters alone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LogContext;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Height(pub(super) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core_types::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A voter: its node key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(pub(super) NodeKey);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core_types::Address for Address {}

/// What is decided: the digest of a block. The block's bytes travel beside each proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockValue(pub(super) BlockDigest);

impl fmt::Display for BlockValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core_types::Value for BlockValue {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Voter(pub(super) Address);

impl core_types::Validator<LogContext> for Voter {
    fn address(&self) -> &Address {
        &self.0
    }

    fn public_key(&self) -> &Address {
        &self.0
    }

    fn voting_power(&self) -> VotingPower {
        1
    }
}

/// The voters of one height, ascending by node key, and who proposes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VoterSet {
    voters: Arc<[Voter]>,
    first: usize,
}

impl VoterSet {
    /// `voters`: ascending and unique. `first`: the index of the proposer of round 0.
    pub(super) fn new(voters: &[NodeKey], first: usize) -> Self {
        Self { voters: voters.iter().map(|key| Voter(Address(*key))).collect(), first }
    }
}

impl core_types::ValidatorSet<LogContext> for VoterSet {
    fn count(&self) -> usize {
        self.voters.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.voters.len() as u64
    }

    fn get_by_address(&self, address: &Address) -> Option<&Voter> {
        let index = self.voters.binary_search_by(|voter| voter.0.cmp(address)).ok()?;
        self.voters.get(index)
    }

    fn get_by_index(&self, index: usize) -> Option<&Voter> {
        self.voters.get(index)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LibraryVote {
    pub(super) kind: VoteType,
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) value: NilOrVal<BlockValue>,
    pub(super) voter: Address,
}

impl core_types::Vote<LogContext> for LibraryVote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockValue> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockValue> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedExtension<LogContext>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<LogContext>> {
        None
    }

    // The policy is `Disabled`, so the library never extends a vote.
    fn extend(self, _: SignedExtension<LogContext>) -> Self {
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LibraryProposal {
    pub(super) height: Height,
    pub(super) round: Round,
    pub(super) value: BlockValue,
    pub(super) pol_round: Round,
    pub(super) proposer: Address,
}

impl core_types::Proposal<LogContext> for LibraryProposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &BlockValue {
        &self.value
    }

    fn take_value(self) -> BlockValue {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

/// Parts of proposals do not exist: the block rides on the proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoPart {}

impl core_types::ProposalPart<LogContext> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

/// Signatures by node keys. Signing and verifying are effects, see `signing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeKeySignatures;

impl core_types::SigningScheme for NodeKeySignatures {
    type DecodingError = std::array::TryFromSliceError;
    type Signature = [u8; 64];
    type PublicKey = Address;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<[u8; 64], Self::DecodingError> {
        bytes.try_into()
    }

    fn encode_signature(signature: &[u8; 64]) -> Vec<u8> {
        signature.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Address, Self::DecodingError> {
        bytes.try_into().map(|bytes| Address(NodeKey(bytes)))
    }

    fn encode_public_key(key: &Address) -> Vec<u8> {
        key.0.0.to_vec()
    }
}

/// The engine's timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogTimeouts(pub(super) LinearTimeouts);

impl Default for LogTimeouts {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self(LinearTimeouts {
            propose: ms(500),
            propose_delta: ms(50),
            prevote: ms(300),
            prevote_delta: ms(50),
            precommit: ms(100),
            precommit_delta: ms(50),
            rebroadcast: ms(1000),
            max_timeout: ms(10_000),
        })
    }
}

impl core_types::Timeouts<LogContext> for LogTimeouts {
    fn duration_for(&self, timeout: core_types::Timeout) -> Duration {
        self.0.duration_for(timeout)
    }
}

impl Context for LogContext {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = LibraryProposal;
    type Validator = Voter;
    type ValidatorSet = VoterSet;
    type Timeouts = LogTimeouts;
    type Value = BlockValue;
    type Vote = LibraryVote;
    type Extension = ();
    type SigningScheme = NodeKeySignatures;

    /// Round 0 belongs to the set's first proposer, each later round to the next member.
    fn select_proposer<'a>(&self, set: &'a VoterSet, _: Height, round: Round) -> &'a Voter {
        let round = round.as_u32().unwrap_or(0) as usize;
        // The set is never empty, see `Engine::start`.
        &set.voters[(set.first + round) % set.voters.len()]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: BlockValue,
        pol_round: Round,
        proposer: Address,
    ) -> LibraryProposal {
        LibraryProposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<BlockValue>, voter: Address) -> LibraryVote {
        LibraryVote { kind: VoteType::Prevote, height, round, value, voter }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<BlockValue>, voter: Address) -> LibraryVote {
        LibraryVote { kind: VoteType::Precommit, height, round, value, voter }
    }
}
