//! Why a committee does not follow from the one before.

use std::fmt::Display;

use thiserror::Error;

use crate::bls::BlsError;
use crate::committee::Policy;
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ClusterId, CommitteeDigest, History};
use crate::verify::Invalid;

/// Why a chain of committees is broken. `epoch` is that of the committee that does not follow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// The committee is not of the next epoch.
    Epoch {
        /// The next epoch.
        expected: u64,
        /// The committee's epoch.
        got: u64,
    },
    /// The committee is of another cluster.
    Cluster {
        /// The committee's epoch.
        epoch: u64,
        /// The cluster of the chain.
        expected: ClusterId,
        /// That of the committee.
        got: ClusterId,
    },
    /// The committee follows another one than that before it.
    Previous {
        /// The committee's epoch.
        epoch: u64,
        /// The digest of the committee before it.
        expected: CommitteeDigest,
        /// The one that it names.
        got: CommitteeDigest,
    },
    /// The committee has another policy, or another operator, than the one before it.
    Policy {
        /// The committee's epoch.
        epoch: u64,
        /// The policy of the committee before.
        expected: Policy,
        /// The committee's policy.
        got: Policy,
    },
    /// The identity of a seal is missing, or there is one in epoch 1, which has none to name.
    Seal {
        /// The committee's epoch.
        epoch: u64,
    },
    /// The committee names another history.
    History {
        /// The committee's epoch.
        epoch: u64,
        /// The history that follows from the chain.
        expected: History,
        /// The one that it names.
        got: History,
    },
    /// The handoff is to another committee.
    Next {
        /// The committee's epoch.
        epoch: u64,
        /// The committee's digest.
        expected: CommitteeDigest,
        /// The one that the handoff names.
        got: CommitteeDigest,
    },
    /// The block of the handoff is not after that of the handoff before.
    Height {
        /// The committee's epoch.
        epoch: u64,
        /// The height of the handoff before.
        before: u64,
        /// The height of this one.
        got: u64,
    },
    /// The epoch before closed before the one before that.
    Closing {
        /// The committee's epoch.
        epoch: u64,
        /// The closing of the handoff before, seconds since 1970.
        before: u64,
        /// The closing of this one.
        got: u64,
    },
    /// The previous committee did not sign the handoff.
    Handoff {
        /// The committee's epoch.
        epoch: u64,
        /// The check that failed.
        error: Box<Invalid>,
    },
    /// A vote key is not a valid point.
    VoteKey {
        /// The committee's epoch.
        epoch: u64,
        /// The member's index.
        member: usize,
        /// What is wrong with its key.
        error: BlsError,
    },
}

impl ChainError {
    /// What must follow, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Epoch { expected, got } => Comparison::new(&"epoch of the next committee", expected, got),
            Self::Cluster { epoch, expected, got } => of(*epoch, "cluster", expected, got),
            Self::Previous { epoch, expected, got } => of(*epoch, "previous committee", expected, got),
            Self::Policy { epoch, expected, got } => of(*epoch, "policy", expected, got),
            Self::Seal { epoch: 1 } => of(1, "seal that its history names", &"none", &"one"),
            Self::Seal { epoch } => of(*epoch, "seal that its history names", &"one", &"none"),
            Self::History { epoch, expected, got } => of(*epoch, "history", expected, got),
            Self::Next { epoch, expected, got } => of(*epoch, "next committee of the handoff", expected, got),
            Self::Height { epoch, before, got } => {
                of(*epoch, "log height of the handoff", &format_args!("above {before}"), got)
            }
            Self::Closing { epoch, before, got } => {
                of(*epoch, "closing of the handoff", &format_args!("at least {before}"), got)
            }
            Self::Handoff { epoch, error } => error.comparison().within(&format!("handoff to epoch {epoch}")),
            Self::VoteKey { epoch, member, error } => {
                error.comparison().within(&format!("vote key of member {member} of epoch {epoch}"))
            }
        }
    }
}

fn of(epoch: u64, what: &str, expected: &dyn Display, got: &dyn Display) -> Comparison {
    Comparison::new(&format_args!("committee of epoch {epoch}: {what}"), expected, got)
}

display_comparison!(ChainError);
