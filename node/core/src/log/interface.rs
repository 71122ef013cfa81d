//! What the log is given, and what it returns.

use std::time::Duration;

use thiserror::Error;
use vouch_core::link::NodeKey;
use vouch_core::log::{Block, BlockHeader, Evidence, LogTree, Op, OpId, OpResult, SignedOp};
use vouch_core::statement::LogHead;

use super::applied::BlockError;
use super::engine::EngineError;
use super::members::LogMembers;
use super::messages::VoteCertificate;
use super::op_pool::OpPoolError;
use super::state_transfer::HeadError;
use super::wire::LogMessage;

/// The two clocks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogClock {
    /// Monotonic time since an arbitrary start.
    pub now: Duration,
    /// Seconds since 1970, as this node believes.
    pub unix_seconds: u64,
    /// Whether that may be wrong, see [`clock_doubt`](crate::replica::clock_doubt). The node then makes no block and votes for no new one:
    /// its time would be a guess.
    pub is_in_doubt: bool,
}

/// Names a write. Later writes have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// What was found of the write-ahead log at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalState {
    /// This node never took part: its node key is new.
    Fresh,
    /// The records, in order. A record that was torn by a crash at the end is left out.
    Records(Vec<Vec<u8>>),
    /// It is missing or damaged before its end, though this node may have voted.
    Lost,
}

/// A decided block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedBlock {
    /// The block.
    pub block: Block,
    /// The results of its ops.
    pub results: Vec<OpResult>,
    /// The precommits that decided it.
    pub certificate: VoteCertificate,
}

/// A state that takes the place of all blocks up to its height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateInstall {
    /// The header of the last block.
    pub header: BlockHeader,
    /// The tree over the blocks before it.
    pub before: LogTree,
    /// The state after it, see [`Applied::encode`](super::applied::Applied::encode).
    pub state: Vec<u8>,
}

/// What the log is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogInput {
    /// This node submits an op that it signed.
    Submit(SignedOp),
    /// This node wants an op in the log. If it is no member, it asks all members to submit it.
    SubmitAny(Op),
    /// The members of an epoch, by the cluster's chain of committees. A state that they decided may be taken over.
    Members(LogMembers),
    /// A message of another node, whose node key the link proved.
    Message {
        /// The sender.
        from: NodeKey,
        /// The message.
        message: LogMessage,
    },
    /// A link to another node is up. Both ends then say how far they are.
    PeerUp(NodeKey),
    /// A write is durable.
    Written(WriteId),
    /// A write failed. The log stops: what is on disk is not known any more.
    WriteFailed {
        /// The write.
        write: WriteId,
        /// What the disk said.
        reason: String,
    },
    /// Decided blocks that were read, consecutive, for a node that lacks them.
    Blocks {
        /// The node.
        to: NodeKey,
        /// The blocks.
        blocks: Vec<(Block, VoteCertificate)>,
    },
    /// Time has passed.
    Tick,
}

/// What the log wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// Append records to the write-ahead log, make them durable, and answer [`LogInput::Written`]. Appends are written in their order.
    Append {
        /// Its name.
        write: WriteId,
        /// The records.
        records: Vec<Vec<u8>>,
    },
    /// Store decided blocks and the state after the last one, in one transaction, and answer [`LogInput::Written`].
    Commit {
        /// Its name.
        write: WriteId,
        /// The blocks, consecutive.
        blocks: Vec<DecidedBlock>,
        /// The state after the last one, see [`Applied::encode`](super::applied::Applied::encode).
        state: Vec<u8>,
    },
    /// Store a state in place of all blocks, in one transaction, and answer [`LogInput::Written`].
    Install {
        /// Its name.
        write: WriteId,
        /// The state.
        install: Box<StateInstall>,
    },
    /// Replace the write-ahead log by one with these records, in one step and after the appends before it. There is no answer.
    ResetWal {
        /// The records.
        records: Vec<Vec<u8>>,
    },
    /// Send a message to one node, or drop it if there is no link.
    Send {
        /// The receiver.
        to: NodeKey,
        /// The message.
        message: LogMessage,
    },
    /// Send a message to all nodes that there are links to.
    Broadcast(LogMessage),
    /// Read decided blocks and answer [`LogInput::Blocks`].
    Read {
        /// The node that lacks them.
        to: NodeKey,
        /// The first height.
        from: u64,
        /// Their number.
        count: u64,
    },
    /// A block is decided and durable.
    Decided(Box<DecidedBlock>),
    /// This node lacked blocks that nobody keeps any more, and has the state after a later block in their place. The state is durable; the
    /// blocks up to this height are not there and are never [`Decided`](Self::Decided) here.
    Installed(LogHead),
    /// A node offers the state after a block that this node cannot verify. Without blocks of others, it cannot catch up.
    UnverifiedHead {
        /// The node.
        peer: NodeKey,
        /// Why.
        error: HeadError,
    },
    /// An op was refused.
    Refused {
        /// The op.
        op: OpId,
        /// Why.
        error: OpPoolError,
    },
    /// A member signed two conflicting messages.
    Evidence(Evidence),
    /// A node sent what an honest one does not send.
    Misbehaved {
        /// The node.
        peer: NodeKey,
        /// What it sent, with what was expected.
        reason: String,
    },
    /// The time of a node's new block is far from this node's clock: one of the two clocks is wrong.
    ClockDiffers {
        /// The node.
        peer: NodeKey,
        /// Both times.
        error: BlockError,
    },
    /// The log stopped for good.
    Stopped(LogStop),
}

/// Why the log stopped. The process must start again, or a person must look.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogStop {
    /// A write failed.
    #[error("log stopped: a write failed: {0}")]
    Write(String),
    /// The consensus library refused to go on.
    #[error("log stopped: {0}")]
    Engine(#[from] EngineError),
    /// The block that was decided is not here, or does not follow the log's rules.
    #[error("log stopped at height {height}: expected the decided block, got {got}")]
    Block {
        /// The height.
        height: u64,
        /// What is wrong.
        got: String,
    },
}
