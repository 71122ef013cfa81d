//! The state machine that the log runs: what an op does.

use std::fmt;

use thiserror::Error;
use vouch_core::codec::DecodeError;
use vouch_core::comparison::Comparison;
use vouch_core::log::{Effect, Op};
use vouch_core::merkle::TreeHash;

use super::members::LogMembers;

/// Maximum size of a state machine's snapshot in bytes: a joiner loads it into memory before it can check it.
pub const MAX_MACHINE_SNAPSHOT: usize = 4 << 20;

/// The block that an op is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockContext {
    /// Its height.
    pub height: u64,
    /// Its time, seconds since 1970. It is not before the time of the block before.
    pub time: u64,
    /// The log root over the blocks before it.
    pub log_root: TreeHash,
}

/// A deterministic state machine. All replicas apply the same ops in the same order, so they have the same state and the same effects.
///
/// Its methods depend on their arguments alone: no clock, no randomness, no iteration of a `HashMap`, no floating-point arithmetic.
/// Otherwise replicas compute different digests of one block, and the log stops. The snapshot must never exceed
/// [`MAX_MACHINE_SNAPSHOT`], so a machine that stores things refuses ops when it is full; no block can be built above that size.
pub trait StateMachine: Clone {
    /// Whether ops of this kind may be in a block. An op of an unknown kind is refused before it is ordered.
    fn knows(&self, kind: u16) -> bool;

    /// Applies an op of a known kind, and returns what it did. The body may be anything: a refusal is an effect, too.
    fn apply(&mut self, block: &BlockContext, op: &Op) -> Effect;

    /// The canonical encoding of the state. Equal states have equal encodings, which the digest of the state is made from.
    fn snapshot(&self) -> Vec<u8>;

    /// The state that has this encoding.
    ///
    /// # Errors
    /// [`RestoreError`] if it is not the canonical encoding of a state.
    fn restore(bytes: &[u8]) -> Result<Self, RestoreError>;

    /// The members of the next height, if this machine decides them. `None`: the members that the log began with.
    fn members(&self) -> Option<LogMembers> {
        None
    }
}

/// Why bytes are not the encoding of a machine's state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// The bytes break a rule of the machine.
    Rule {
        /// The part of the state.
        field: &'static str,
        /// The rule.
        expected: &'static str,
        /// What the bytes have instead.
        got: String,
    },
}

impl RestoreError {
    /// What the encoding requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison(),
            Self::Rule { field, expected, got } => {
                Comparison { subject: (*field).to_owned(), expected: (*expected).to_owned(), got: got.clone() }
            }
        }
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.comparison().fmt(f)
    }
}
