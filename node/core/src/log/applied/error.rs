//! Why an op or a block is refused, and why bytes are not a snapshot. Each rule has a name, and says what it requires.

use std::fmt::{self, Display};

use thiserror::Error;
use vouch_core::codec::DecodeError;
use vouch_core::comparison::Comparison;
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;
use vouch_core::log::{BlockDigest, BlockFormatError, OpId, OpSignatureError, StateDigest};
use vouch_core::merkle::TreeHash;

use super::{BLOCK_TIME_TOLERANCE, LIVE_OPS, MAX_SNAPSHOT};
use crate::log::state_machine::{MAX_MACHINE_SNAPSHOT, RestoreError};

fn compare(subject: impl Display, expected: impl Display, got: impl Display) -> Comparison {
    Comparison { subject: subject.to_string(), expected: expected.to_string(), got: got.to_string() }
}

fn within(whole: impl Display, part: Comparison) -> Comparison {
    Comparison { subject: format!("{whole}: {}", part.subject), ..part }
}

struct Hex<'a>(&'a [u8; 32]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why a block may not contain an op.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpError {
    /// The submitter is not a member of the height.
    Stranger {
        /// The submitter.
        submitter: NodeKey,
    },
    /// The submitter did not sign the op for this cluster.
    Signature(#[from] OpSignatureError),
    /// The op had expired at the block's time.
    Expired {
        /// The block's time.
        time: u64,
        /// When the op expired.
        expires_at: u64,
    },
    /// The op expires later than the log remembers its identity.
    ExpiresTooLate {
        /// The latest expiry in a block of this time.
        latest: u64,
        /// When the op expires.
        expires_at: u64,
    },
    /// The op was applied before, in this block or an earlier one.
    AppliedBefore {
        /// The op.
        op: OpId,
    },
    /// The submitter has as many unexpired ops in the log as it may have.
    SubmitterQuota {
        /// The submitter.
        submitter: NodeKey,
        /// Its quota.
        limit: usize,
    },
    /// The log has as many unexpired ops as it remembers.
    TotalQuota,
    /// The state machine does not know the kind.
    UnknownKind {
        /// The kind.
        kind: u16,
    },
}

impl OpError {
    /// What the rule requires, and what the op has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Stranger { submitter } => compare("submitter of the op", "a member", submitter),
            Self::Signature(error) => error.comparison(),
            Self::Expired { time, expires_at } => {
                compare("expiry of the op", format_args!("{time} or later"), expires_at)
            }
            Self::ExpiresTooLate { latest, expires_at } => {
                compare("expiry of the op", format_args!("{latest} or earlier"), expires_at)
            }
            Self::AppliedBefore { op } => compare("op", "one that was not applied before", op),
            Self::SubmitterQuota { submitter, limit } => {
                compare(format_args!("unexpired ops of {submitter}"), format_args!("at most {limit}"), "one more")
            }
            Self::TotalQuota => compare("unexpired ops", format_args!("at most {LIVE_OPS}"), "one more"),
            Self::UnknownKind { kind } => compare("kind of the op", "one that the state machine knows", kind),
        }
    }
}

/// Why a block cannot be the next one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The parts do not make a block.
    Format(#[from] BlockFormatError),
    /// It is a block of another cluster.
    Cluster {
        /// This cluster.
        expected: ClusterId,
        /// The block's.
        got: ClusterId,
    },
    /// It is a block of another epoch.
    Epoch {
        /// The epoch of the height's members.
        expected: u64,
        /// The block's.
        got: u64,
    },
    /// It is a block of another height.
    Height {
        /// The next height.
        expected: u64,
        /// The block's.
        got: u64,
    },
    /// It does not follow the last block.
    Parent {
        /// The last block.
        expected: BlockDigest,
        /// The block's parent.
        got: BlockDigest,
    },
    /// Its author is not a member of the height.
    Author {
        /// The author.
        got: NodeKey,
    },
    /// It is a new block, and its author is not the proposer.
    Proposer {
        /// The proposer.
        expected: NodeKey,
        /// The author.
        got: NodeKey,
    },
    /// It is older than the last block.
    Time {
        /// The last block's time.
        earliest: u64,
        /// The block's time.
        got: u64,
    },
    /// It is a new block, and its time is too far from this replica's clock.
    Clock {
        /// This replica's clock.
        now: u64,
        /// The block's time.
        got: u64,
    },
    /// Its log root does not cover the blocks before it.
    LogRoot {
        /// The root over the blocks before it.
        expected: TreeHash,
        /// The block's.
        got: TreeHash,
    },
    /// One of its ops breaks a rule.
    Op {
        /// The op's place in the block, from 0.
        index: usize,
        /// The rule.
        error: OpError,
    },
    /// Its ops have other results.
    Results {
        /// The results root that follows from executing the block.
        expected: TreeHash,
        /// The block's.
        got: TreeHash,
    },
    /// Its ops lead to another state.
    State {
        /// The state that follows from executing the block.
        expected: StateDigest,
        /// The block's.
        got: StateDigest,
    },
    /// The state machine's snapshot would be too large.
    MachineSize {
        /// Its size in bytes.
        got: usize,
    },
}

impl BlockError {
    /// What the rule requires, and what the block has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Format(error) => error.comparison(),
            Self::Cluster { expected, got } => compare("cluster of the block", expected, got),
            Self::Epoch { expected, got } => compare("epoch of the block", expected, got),
            Self::Height { expected, got } => compare("height of the block", expected, got),
            Self::Parent { expected, got } => compare("parent of the block", expected, got),
            Self::Author { got } => compare("author of the block", "a member", got),
            Self::Proposer { expected, got } => compare("author of the new block", expected, got),
            Self::Time { earliest, got } => compare("time of the block", format_args!("{earliest} or later"), got),
            Self::Clock { now, got } => {
                compare("time of the new block", format_args!("{now}, give or take {BLOCK_TIME_TOLERANCE} s"), got)
            }
            Self::LogRoot { expected, got } => compare("log root of the block", Hex(&expected.0), Hex(&got.0)),
            Self::Op { index, error } => within(format_args!("op {index} of the block"), error.comparison()),
            Self::Results { expected, got } => compare("results of the block", Hex(&expected.0), Hex(&got.0)),
            Self::State { expected, got } => compare("state after the block", expected, got),
            Self::MachineSize { got } => {
                compare("state machine after the block", format_args!("at most {MAX_MACHINE_SNAPSHOT} bytes"), got)
            }
        }
    }
}

/// Why bytes are not a snapshot of the log's state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// The snapshot is too large.
    TooLarge {
        /// Its size in bytes.
        got: usize,
    },
    /// An unknown format version: the rest cannot be decoded.
    UnknownVersion {
        /// The known version.
        expected: u8,
        /// The snapshot's.
        got: u8,
    },
    /// The header of the last block is malformed.
    Header(#[from] BlockFormatError),
    /// It is a snapshot of another cluster.
    Cluster {
        /// This cluster.
        expected: ClusterId,
        /// The snapshot's.
        got: ClusterId,
    },
    /// The log tree does not end before the last block.
    TreeSize {
        /// The number of blocks before the last one.
        expected: u64,
        /// The tree's size.
        got: u64,
    },
    /// The log tree is not the one that the last block commits to.
    LogRoot {
        /// The root in the last block's header.
        expected: TreeHash,
        /// The tree's.
        got: TreeHash,
    },
    /// The state is not the one that the last block commits to.
    State {
        /// The digest in the last block's header.
        expected: StateDigest,
        /// The digest of the state.
        got: StateDigest,
    },
    /// Entries are not in ascending order, or one is there twice.
    Order {
        /// The entries.
        field: &'static str,
    },
    /// Submitters are listed that have no recent op.
    IdleSubmitters {
        /// The number of submitters of recent ops.
        expected: usize,
        /// The number listed.
        got: usize,
    },
    /// The state machine does not accept its part.
    Machine(#[from] RestoreError),
    /// The state machine encodes the restored state differently.
    MachineEncoding,
}

impl SnapshotError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => within("snapshot", error.comparison()),
            Self::TooLarge { got } => {
                compare("size of the snapshot", format_args!("at most {MAX_SNAPSHOT} bytes"), got)
            }
            Self::UnknownVersion { expected, got } => compare("version of the snapshot", expected, got),
            Self::Header(error) => within("snapshot", error.comparison()),
            Self::Cluster { expected, got } => compare("cluster of the snapshot", expected, got),
            Self::TreeSize { expected, got } => compare("size of the snapshot's log tree", expected, got),
            Self::LogRoot { expected, got } => {
                compare("root of the snapshot's log tree", Hex(&expected.0), Hex(&got.0))
            }
            Self::State { expected, got } => compare("digest of the snapshot's state", expected, got),
            Self::Order { field } => compare(format_args!("snapshot: {field}"), "ascending order", "another"),
            Self::IdleSubmitters { expected, got } => compare("submitters in the snapshot", expected, got),
            Self::Machine(error) => within("snapshot", error.comparison()),
            Self::MachineEncoding => {
                compare("snapshot: state machine", "the encoding that it restored", "another: it is not canonical")
            }
        }
    }
}

macro_rules! display_comparison {
    ($($error:ty),+) => {$(
        impl Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.comparison().fmt(f)
            }
        }
    )+};
}

display_comparison!(OpError, BlockError, SnapshotError);
