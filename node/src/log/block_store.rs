//! The decided blocks, and the state after the last one: `log.redb` in the data folder.
//!
//! One transaction stores blocks with their effects and certificates, the state after the last of them, and its height. So the state
//! never is that of another height than the last block's. Headers and digests stay; what else belongs to a block stays while
//! [`KEPT_BLOCKS`] or fewer have been decided since.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use thiserror::Error;
use vouch_core::log::{Block, BlockDigest, BlockHeader};

use super::LogOwner;
use crate::durable::{Database, DurableError, Replaced};
use crate::host::Host;

/// Number of decided blocks, counted back from the last, of which bodies, effects and certificates are kept.
pub const KEPT_BLOCKS: u64 = 10_000;
/// Maximum number of blocks in one read.
pub const MAX_READ_BLOCKS: u64 = 64;
/// Maximum size in bytes of what one read returns, but for its first block.
pub const MAX_READ_BYTES: usize = 4 << 20;
/// Maximum number of headers or digests in one read.
pub const MAX_READ_HEADERS: u64 = 4096;
/// Maximum number of blocks whose bodies one transaction removes, besides as many as it stores.
const PRUNED_AT_ONCE: usize = 256;
/// Memory for cached and unwritten pages, in bytes: blocks are read in order, and rarely.
const CACHE: usize = 2 << 20;

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("log_meta");
const DIGESTS: TableDefinition<'_, u64, &[u8; 32]> = TableDefinition::new("log_digests");
const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_headers");
/// The encoded ops. The header commits to them.
const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_bodies");
const EFFECTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_effects");
const CERTIFICATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_certificates");

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
    /// The effects of its ops, encoded.
    pub effects: Vec<u8>,
    /// The proof that it was decided, encoded.
    pub certificate: Vec<u8>,
}

/// The state after a height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedState {
    /// The height.
    pub height: u64,
    /// The encoded state.
    pub state: Vec<u8>,
}

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

    /// Stores decided blocks and the state after the last of them, durably, all or none.
    ///
    /// # Errors
    /// [`BlockStoreError::NotNext`] unless the heights follow the last one without a gap; see [`BlockStoreError`].
    pub fn commit(&self, blocks: &[NewBlock], state: &[u8]) -> Result<(), BlockStoreError> {
        let Some(last) = blocks.last() else { return Ok(()) };
        for (expected, new) in (self.height() + 1..).zip(blocks) {
            let got = new.block.header().height;
            if got != expected {
                return Err(BlockStoreError::NotNext { expected, got });
            }
        }
        let height = last.block.header().height;
        let oldest = (height + 1).saturating_sub(self.kept);
        self.database.commit_and_wait(|transaction| {
            let mut digests = transaction.open_table(DIGESTS)?;
            let mut headers = transaction.open_table(HEADERS)?;
            let mut bodies = transaction.open_table(BODIES)?;
            let mut effects = transaction.open_table(EFFECTS)?;
            let mut certificates = transaction.open_table(CERTIFICATES)?;
            for NewBlock { block, effects: effect, certificate } in blocks {
                let (height, bytes) = (block.header().height, block.encode());
                let (header, body) = bytes.split_at(BlockHeader::SIZE);
                digests.insert(height, &block.digest().0)?;
                headers.insert(height, header)?;
                bodies.insert(height, body)?;
                effects.insert(height, &*checked("effects", height, effect))?;
                certificates.insert(height, &*checked("certificate", height, certificate))?;
            }
            let mut pruned = Vec::new();
            for row in bodies.range(..oldest)?.take(blocks.len() + PRUNED_AT_ONCE) {
                pruned.push(row?.0.value());
            }
            for height in pruned {
                bodies.remove(height)?;
                effects.remove(height)?;
                certificates.remove(height)?;
            }
            let mut row = height.to_le_bytes().to_vec();
            row.extend_from_slice(&checked(STATE, height, state));
            transaction.open_table(META)?.insert(STATE, &*row)?;
            Ok(())
        })?;
        self.height.store(height, Ordering::Release);
        Ok(())
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

    /// The digests of the blocks from a height on, in order, at most `count` and [`MAX_READ_HEADERS`].
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn digests(&self, from: u64, count: u64) -> Result<Vec<BlockDigest>, BlockStoreError> {
        let to = from.saturating_add(count.min(MAX_READ_HEADERS));
        Ok(self.database.read(|transaction| {
            let digests = transaction.open_table(DIGESTS)?;
            digests.range(from..to)?.map(|row| Ok(BlockDigest(*row?.1.value()))).collect()
        })?)
    }

    /// The headers of the blocks from a height on, in order, at most `count` and [`MAX_READ_HEADERS`].
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn headers(&self, from: u64, count: u64) -> Result<Vec<BlockHeader>, BlockStoreError> {
        let to = from.saturating_add(count.min(MAX_READ_HEADERS));
        let rows: Vec<(u64, Vec<u8>, Option<[u8; 32]>)> = self.database.read(|transaction| {
            let (headers, digests) = (transaction.open_table(HEADERS)?, transaction.open_table(DIGESTS)?);
            let rows = headers.range(from..to)?.map(|row| {
                let (height, header) = row?;
                let digest = digests.get(height.value())?.map(|digest| *digest.value());
                Ok((height.value(), header.value().to_vec(), digest))
            });
            rows.collect::<Result<_, redb::Error>>()
        })?;
        rows.into_iter().map(|(height, header, digest)| self.header_of(height, &header, digest)).collect()
    }

    /// The kept blocks from a height on, consecutive, at most `count`, [`MAX_READ_BLOCKS`] and, but for the first, [`MAX_READ_BYTES`].
    /// Empty if that height is not decided here yet, or its body is no longer kept.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn blocks(&self, from: u64, count: u64) -> Result<Vec<NewBlock>, BlockStoreError> {
        let to = from.saturating_add(count.min(MAX_READ_BLOCKS));
        let mut rows = Vec::new();
        self.database.read(|transaction| {
            let (headers, digests) = (transaction.open_table(HEADERS)?, transaction.open_table(DIGESTS)?);
            let (effects, certificates) = (transaction.open_table(EFFECTS)?, transaction.open_table(CERTIFICATES)?);
            let bodies = transaction.open_table(BODIES)?;
            let mut size = 0;
            for (expected, row) in (from..to).zip(bodies.range(from..to)?) {
                let (height, body) = row?;
                if height.value() != expected {
                    break;
                }
                let bytes = |row: Option<redb::AccessGuard<'_, &'static [u8]>>| row.map(|row| row.value().to_vec());
                let found = StoredBlock {
                    height: expected,
                    digest: digests.get(expected)?.map(|digest| *digest.value()),
                    header: bytes(headers.get(expected)?).unwrap_or_default(),
                    body: body.value().to_vec(),
                    effects: bytes(effects.get(expected)?).unwrap_or_default(),
                    certificate: bytes(certificates.get(expected)?).unwrap_or_default(),
                };
                size += found.body.len() + found.effects.len() + found.certificate.len();
                if size > MAX_READ_BYTES && !rows.is_empty() {
                    break;
                }
                rows.push(found);
            }
            Ok(())
        })?;
        rows.into_iter().map(|row| self.block_of(row)).collect()
    }

    fn header_of(&self, height: u64, bytes: &[u8], digest: Option<[u8; 32]>) -> Result<BlockHeader, BlockStoreError> {
        let header =
            BlockHeader::decode(bytes).map_err(|error| self.damaged("header", height, &"a block header", &error))?;
        let (expected, got) = (digest.map(BlockDigest), header.digest());
        if expected != Some(got) || header.height != height {
            let expected = expected.map_or_else(|| "a digest".to_owned(), |digest| digest.to_string());
            return Err(self.damaged("header", height, &expected, &got));
        }
        Ok(header)
    }

    fn block_of(&self, row: StoredBlock) -> Result<NewBlock, BlockStoreError> {
        let StoredBlock { height, digest, mut header, body, effects, certificate } = row;
        self.header_of(height, &header, digest)?;
        header.extend_from_slice(&body);
        let block =
            Block::decode(&header).map_err(|error| self.damaged("block", height, &"the ops of its header", &error))?;
        let effects = self.check("effects", height, &effects)?.to_vec();
        let certificate = self.check("certificate", height, &certificate)?.to_vec();
        Ok(NewBlock { block, effects, certificate })
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

/// The rows of one height.
struct StoredBlock {
    height: u64,
    digest: Option<[u8; 32]>,
    header: Vec<u8>,
    body: Vec<u8>,
    effects: Vec<u8>,
    certificate: Vec<u8>,
}

fn prepare(transaction: &WriteTransaction, owner: LogOwner, has_history: bool) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    transaction.open_table(DIGESTS)?;
    transaction.open_table(HEADERS)?;
    transaction.open_table(BODIES)?;
    transaction.open_table(EFFECTS)?;
    transaction.open_table(CERTIFICATES)?;
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
