use std::path::PathBuf;

use thiserror::Error;
use vouch_core::merkle::TreeHash;

use crate::durable::DurableError;
use crate::log::LogOwner;

/// Why blocks cannot be stored or read.
#[derive(Debug, Clone, Error)]
pub enum BlockStoreError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DurableError),
    /// The database is another member's, or for another cluster.
    #[error("{path}: expected the log of {expected}, got that of {}", .got.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string))]
    OtherOwner {
        /// The database.
        path: PathBuf,
        /// This member.
        expected: Box<LogOwner>,
        /// The database's owner, if its row is readable.
        got: Option<Box<LogOwner>>,
    },
    /// A block does not follow the last one. Nothing was stored.
    #[error("log: expected the block of height {expected}, got that of height {got}")]
    NotNext {
        /// The height after the last one.
        expected: u64,
        /// The block's height.
        got: u64,
    },
    /// A state would not take the log further. Nothing was stored.
    #[error("log: expected a state after height {height}, got that of height {got}")]
    NotLater {
        /// The height of the last block.
        height: u64,
        /// The state's height.
        got: u64,
    },
    /// A state's tree is not the one that its last block commits to. Nothing was stored.
    #[error(
        "state of height {height}: expected a log tree over the blocks before with root {expected}, got root {got}"
    )]
    OtherTree {
        /// The state's height.
        height: u64,
        /// The root in the header of its last block.
        expected: TreeHash,
        /// The tree's root.
        got: TreeHash,
    },
    /// A stored row has other bytes than were written.
    #[error("{path} is damaged: {row} of height {height}: expected {expected}, got {got}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What the row is.
        row: &'static str,
        /// The height.
        height: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
    },
}
