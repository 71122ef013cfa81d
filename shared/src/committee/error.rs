//! Why a committee, its keys or its proofs are refused.

use thiserror::Error;

use super::VERSION;
use super::policy::LAST_POLICY;
use crate::bls::{BlsError, VoteKey};
use crate::codec::DecodeError;
use crate::comparison::{Comparison, display_comparison};
use crate::link::NodeKey;

/// Why bytes are not a committee.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommitteeError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown format version.
    UnknownVersion(u8),
    /// An unknown membership policy.
    UnknownPolicy(u8),
    /// The members do not ascend strictly by node key.
    Unsorted {
        /// The member's index, from 0.
        member: usize,
        /// The member's node key.
        got: NodeKey,
    },
    /// Two members have the same vote key.
    RepeatedVoteKey {
        /// The key.
        got: VoteKey,
        /// The first member that has it.
        first: usize,
        /// The second.
        second: usize,
    },
    /// The number of proofs of possession is not the number of members.
    PossessionCount {
        /// The number of members.
        expected: usize,
        /// The number of proofs.
        got: usize,
    },
}

impl CommitteeError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("committee"),
            Self::UnknownVersion(got) => Comparison::new(&"committee version", &VERSION, got),
            Self::UnknownPolicy(got) => {
                Comparison::new(&"membership policy", &format_args!("at most {LAST_POLICY}"), got)
            }
            Self::Unsorted { member, got } => {
                Comparison::new(&format_args!("member {member}"), &"a node key above the one before", got)
            }
            Self::RepeatedVoteKey { got, first, second } => {
                let members = format_args!("at members {first} and {second}");
                Comparison::new(&format_args!("vote key {got}"), &"once", &members)
            }
            Self::PossessionCount { expected, got } => Comparison::new(&"proofs of possession", expected, got),
        }
    }
}

display_comparison!(CommitteeError);

/// A vote key or its proof of possession is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PossessionError {
    /// A member's vote key or proof is not a valid point.
    Point {
        /// The member's index, from 0.
        member: usize,
        /// The member's name.
        name: String,
        /// What is wrong.
        error: BlsError,
    },
    /// All are valid points, but at least one proof is not by its key. Finding out which one would cost a pairing for each.
    Together {
        /// The number of members.
        members: usize,
    },
}

impl PossessionError {
    /// What a proof of possession must be, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Point { member, name, error } => {
                error.comparison().within(&format!("member {member} ({name}): vote key and proof of possession"))
            }
            Self::Together { members } => {
                let expected = format_args!("all {members} to be by their vote keys");
                Comparison::new(&"proofs of possession", &expected, &"at least one that is not")
            }
        }
    }
}

display_comparison!(PossessionError);

/// Why a genesis committee is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenesisError {
    /// The committee is not well formed.
    Committee(#[from] CommitteeError),
    /// A vote key or a proof of possession is not valid.
    Possession(#[from] PossessionError),
}

impl GenesisError {
    /// What is required, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Committee(error) => error.comparison(),
            Self::Possession(error) => error.comparison(),
        }
    }
}

display_comparison!(GenesisError);
