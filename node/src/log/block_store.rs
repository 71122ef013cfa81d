//! The decided blocks, and the state after the last one: `log.redb` in the data folder.
//!
//! One transaction stores blocks with their effects and certificates, the state after the last of them, and its height. So the state
//! never is that of another height than the last block's. Headers, digests and the log's tree stay; what else belongs to a block stays
//! while [`KEPT_BLOCKS`] or fewer have been decided since.

mod error;
mod proofs;
mod reading;
mod seals;
mod writing;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::codec::{DecodeError, Reader};
use vouch_core::log::{Block, BlockHeader, Effect, LogTree, OpResult};

use super::LogOwner;
use crate::durable::{Database, Replaced};
use crate::host::Host;
pub use error::BlockStoreError;
pub use reading::{MAX_READ_BLOCKS, MAX_READ_BYTES, MAX_READ_HEADERS, StoredHeights};
pub use seals::SealPart;
pub use vouch_node_core::log::state_transfer::KEPT_BLOCKS;

/// Memory for cached and unwritten pages, in bytes: blocks are read in order, and rarely.
const CACHE: usize = 2 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("log_meta");
const DIGESTS: TableDefinition<'_, u64, &[u8; 32]> = TableDefinition::new("log_digests");
const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_headers");
/// The encoded ops. The header commits to them.
const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_bodies");
const EFFECTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_effects");
const CERTIFICATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_certificates");
/// The roots of the complete subtrees of the log's tree, by level and index: what is read to prove a block does not grow with the log.
const SUBTREES: TableDefinition<'_, (u8, u64), &[u8; 32]> = TableDefinition::new("log_subtrees");
/// The height of each op in a body, and its index there.
const OPS: TableDefinition<'_, &[u8; 32], (u64, u32)> = TableDefinition::new("log_ops");

/// The owner's 64 bytes.
const OWNER: &str = "owner";
/// Height (u64), check, and the state's bytes.
const STATE: &str = "state";
/// Present once a write-ahead log was made here.
const WAL_MADE: &str = "wal made";
/// Present while blocks may be lost that the write-ahead log relied upon.
const BLOCKS_LOST: &str = "blocks lost";

/// A decided block to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlock {
    /// The block.
    pub block: Block,
    /// The effects of its ops, encoded one after the other.
    pub effects: Vec<u8>,
    /// The proof that it was decided, encoded.
    pub certificate: Vec<u8>,
}

impl NewBlock {
    /// A decided block with the results of its ops.
    pub fn new(block: Block, results: &[OpResult], certificate: Vec<u8>) -> Self {
        let mut effects = Vec::new();
        results.iter().for_each(|result| result.effect.write(&mut effects));
        Self { block, effects, certificate }
    }

    /// The effects of the block's ops, in their order.
    ///
    /// # Errors
    /// [`DecodeError`]: there are not as many, or other bytes.
    pub fn decode_effects(&self) -> Result<Vec<Effect>, DecodeError> {
        let mut reader = Reader::new(&self.effects);
        let effects = self.block.ops().iter().map(|_| Effect::read(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(effects)
    }
}

/// A state to store in place of all blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewState {
    /// The header of its last block.
    pub header: BlockHeader,
    /// The log's tree over the blocks before that one.
    pub before: LogTree,
    /// The encoded state.
    pub state: Vec<u8>,
}

/// The state after a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedState {
    /// The height.
    pub height: u64,
    /// The encoded state.
    pub state: Vec<u8>,
}

/// The store of decided blocks. One thread writes; any may read. Every method may block until the disk has answered.
#[derive(Debug)]
pub struct BlockStore {
    database: Database,
    /// The height of the last stored block, 0 if there is none.
    height: AtomicU64,
    /// See [`KEPT_BLOCKS`].
    kept: u64,
}

impl BlockStore {
    /// Opens the store, or creates an empty one. A damaged database is moved aside and replaced by an empty one.
    ///
    /// `has_history`: this log was used before, whatever the database says. If the database is new then, it is recorded that blocks are
    /// lost, until [`wal_made`](Self::wal_made).
    ///
    /// # Errors
    /// [`BlockStoreError::OtherOwner`]; see [`BlockStoreError`].
    pub fn open(
        host: &Host,
        path: &Path,
        owner: LogOwner,
        has_history: bool,
    ) -> Result<(Self, Option<Replaced>), BlockStoreError> {
        Self::open_keeping(host, path, owner, has_history, KEPT_BLOCKS)
    }

    /// Like [`open`](Self::open), with another number of kept blocks.
    pub(super) fn open_keeping(
        host: &Host,
        path: &Path,
        owner: LogOwner,
        has_history: bool,
        kept: u64,
    ) -> Result<(Self, Option<Replaced>), BlockStoreError> {
        let (database, replaced) = Database::open_or_replace_with_cache(host, path, CACHE, |transaction| {
            prepare(transaction, owner, has_history)
        })?;
        let (found, height) = database.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let found = meta.get(OWNER)?.and_then(|row| row.value().first_chunk().map(LogOwner::from_bytes));
            let state = meta.get(STATE)?.and_then(|row| row.value().first_chunk().copied().map(u64::from_le_bytes));
            Ok((found, state.unwrap_or(0)))
        })?;
        if found != Some(owner) {
            let (expected, got) = (Box::new(owner), found.map(Box::new));
            return Err(BlockStoreError::OtherOwner { path: path.to_owned(), expected, got });
        }
        Ok((Self { database, height: AtomicU64::new(height), kept }, replaced))
    }

    /// The height of the last stored block, 0 if there is none.
    pub fn height(&self) -> u64 {
        self.height.load(Ordering::Acquire)
    }

    /// The state after the last stored block. `None` before the first one.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn applied(&self) -> Result<Option<AppliedState>, BlockStoreError> {
        let row = self
            .database
            .read(|transaction| Ok(transaction.open_table(META)?.get(STATE)?.map(|row| row.value().to_vec())))?;
        let Some(row) = row else { return Ok(None) };
        let Some((height, rest)) = row.split_first_chunk() else {
            return Err(self.damaged(STATE, 0, &"a height", &format_args!("{} bytes", row.len())));
        };
        let height = u64::from_le_bytes(*height);
        Ok(Some(AppliedState { height, state: self.check(STATE, height, rest)?.to_vec() }))
    }

    /// Whether a write-ahead log was made here.
    pub(super) fn has_wal(&self) -> Result<bool, BlockStoreError> {
        self.has(WAL_MADE)
    }

    /// Whether blocks may be lost that the write-ahead log relied upon.
    pub(super) fn has_lost_blocks(&self) -> Result<bool, BlockStoreError> {
        self.has(BLOCKS_LOST)
    }

    /// Records that a write-ahead log was made that knows of every loss.
    pub(super) fn wal_made(&self) -> Result<(), BlockStoreError> {
        Ok(self.database.commit_and_wait(|transaction| {
            let mut meta = transaction.open_table(META)?;
            meta.insert(WAL_MADE, [1].as_slice())?;
            meta.remove(BLOCKS_LOST)?;
            Ok(())
        })?)
    }

    fn has(&self, mark: &'static str) -> Result<bool, BlockStoreError> {
        Ok(self.database.read(|transaction| Ok(transaction.open_table(META)?.get(mark)?.is_some()))?)
    }

    fn check<'a>(&self, row: &'static str, height: u64, bytes: &'a [u8]) -> Result<&'a [u8], BlockStoreError> {
        let value = bytes.split_first_chunk().filter(|(check, value)| **check == check_of(row, height, value));
        let got = || format!("{} bytes that do not match", bytes.len());
        value.map(|(_, value)| value).ok_or_else(|| self.damaged(row, height, &"a value with its check", &got()))
    }

    fn damaged(
        &self,
        row: &'static str,
        height: u64,
        expected: &impl ToString,
        got: &impl ToString,
    ) -> BlockStoreError {
        let path = self.database.path().to_owned();
        BlockStoreError::Damaged { path, row, height, expected: expected.to_string(), got: got.to_string() }
    }

    #[cfg(test)]
    pub(super) fn database(&self) -> &Database {
        &self.database
    }
}

fn prepare(transaction: &WriteTransaction, owner: LogOwner, has_history: bool) -> Result<(), redb::Error> {
    drop(writing::BlockTables::open(transaction)?);
    drop(transaction.open_table(seals::SEALS)?);
    let mut meta = transaction.open_table(META)?;
    if meta.get(OWNER)?.is_none() {
        meta.insert(OWNER, owner.to_bytes().as_slice())?;
        if has_history {
            meta.insert(BLOCKS_LOST, [1].as_slice())?;
        }
    }
    Ok(())
}

/// A value with its check in front. It depends on row and height, so that a row cannot stand in for another.
fn checked(row: &str, height: u64, value: &[u8]) -> Vec<u8> {
    [&check_of(row, height, value), value].concat()
}

fn check_of(row: &str, height: u64, value: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("vouch log row v1");
    hasher.update(row.as_bytes()).update(&[0]).update(&height.to_le_bytes()).update(value);
    let mut check = [0; 16];
    hasher.finalize_xof().fill(&mut check);
    check
}
