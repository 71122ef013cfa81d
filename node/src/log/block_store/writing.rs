//! Storing decided blocks.

use std::sync::atomic::Ordering;

use redb::{ReadableTable, Table, WriteTransaction};
use vouch_core::log::{Block, BlockHeader, LogSubtree, LogTree};
use vouch_core::merkle::TreeHash;

use super::{
    BODIES, BlockStore, BlockStoreError, CERTIFICATES, DIGESTS, EFFECTS, HEADERS, META, NewBlock, NewState, OPS, STATE,
    SUBTREES, checked,
};

/// Maximum number of blocks whose bodies one transaction removes, besides as many as it stores.
const PRUNED_AT_ONCE: usize = 256;

impl BlockStore {
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
        let mut tree = self.tree(self.height())?;
        self.database.commit_and_wait(|transaction| {
            let mut tables = BlockTables::open(transaction)?;
            for new in blocks {
                tables.insert(new, &mut tree)?;
            }
            tables.prune(oldest, blocks.len() + PRUNED_AT_ONCE)?;
            write_state(transaction, height, state)
        })?;
        self.height.store(height, Ordering::Release);
        Ok(())
    }

    /// Stores a state in place of all blocks, durably, all or nothing. Nothing below its last block can be read or proved any more; what
    /// follows can.
    ///
    /// # Errors
    /// [`BlockStoreError::NotLater`] if there are blocks up to that height, [`BlockStoreError::OtherTree`] if the tree does not end before
    /// the last block; see [`BlockStoreError`].
    pub fn install(&self, new: &NewState) -> Result<(), BlockStoreError> {
        let NewState { header, before, state } = new;
        let height = header.height;
        if height <= self.height() {
            return Err(BlockStoreError::NotLater { height: self.height(), got: height });
        }
        // Nothing is signed that follows from another tree.
        if before.size() + 1 != height || before.root() != header.log_root {
            return Err(BlockStoreError::OtherTree { height, expected: header.log_root, got: before.root() });
        }
        self.database.commit_and_wait(|transaction| {
            BlockTables::delete(transaction)?;
            BlockTables::open(transaction)?.insert_header(header, before.clone())?;
            write_state(transaction, height, state)
        })?;
        self.height.store(height, Ordering::Release);
        Ok(())
    }
}

fn write_state(transaction: &WriteTransaction, height: u64, state: &[u8]) -> Result<(), redb::Error> {
    let mut row = height.to_le_bytes().to_vec();
    row.extend_from_slice(&checked(STATE, height, state));
    transaction.open_table(META)?.insert(STATE, &*row)?;
    Ok(())
}

/// The tables of blocks in one transaction.
pub(super) struct BlockTables<'t> {
    digests: Table<'t, u64, &'static [u8; 32]>,
    headers: Table<'t, u64, &'static [u8]>,
    bodies: Table<'t, u64, &'static [u8]>,
    effects: Table<'t, u64, &'static [u8]>,
    certificates: Table<'t, u64, &'static [u8]>,
    subtrees: Table<'t, (u8, u64), &'static [u8; 32]>,
    ops: Table<'t, &'static [u8; 32], (u64, u32)>,
}

impl<'t> BlockTables<'t> {
    /// Opens the tables, and creates those that are missing.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            digests: transaction.open_table(DIGESTS)?,
            headers: transaction.open_table(HEADERS)?,
            bodies: transaction.open_table(BODIES)?,
            effects: transaction.open_table(EFFECTS)?,
            certificates: transaction.open_table(CERTIFICATES)?,
            subtrees: transaction.open_table(SUBTREES)?,
            ops: transaction.open_table(OPS)?,
        })
    }

    /// Deletes all tables.
    fn delete(transaction: &WriteTransaction) -> Result<(), redb::Error> {
        transaction.delete_table(DIGESTS)?;
        transaction.delete_table(HEADERS)?;
        transaction.delete_table(BODIES)?;
        transaction.delete_table(EFFECTS)?;
        transaction.delete_table(CERTIFICATES)?;
        transaction.delete_table(SUBTREES)?;
        transaction.delete_table(OPS)?;
        Ok(())
    }

    /// Inserts the first header into empty tables. All proofs of later blocks follow from the tree before it.
    fn insert_header(&mut self, header: &BlockHeader, mut before: LogTree) -> Result<(), redb::Error> {
        self.insert_subtrees(before.subtrees())?;
        let digest = header.digest();
        self.digests.insert(header.height, &digest.0)?;
        self.headers.insert(header.height, &*header.encode())?;
        self.insert_subtrees(before.append(&digest))
    }

    fn insert_subtrees(
        &mut self,
        subtrees: impl IntoIterator<Item = (LogSubtree, TreeHash)>,
    ) -> Result<(), redb::Error> {
        for (subtree, root) in subtrees {
            self.subtrees.insert((subtree.level, subtree.index), &root.0)?;
        }
        Ok(())
    }

    /// Inserts the block that comes next in the tree, and appends it there.
    fn insert(&mut self, new: &NewBlock, tree: &mut LogTree) -> Result<(), redb::Error> {
        let NewBlock { block, effects, certificate } = new;
        let (height, bytes, digest) = (block.header().height, block.encode(), block.digest());
        let (header, body) = bytes.split_at(BlockHeader::SIZE);
        self.digests.insert(height, &digest.0)?;
        self.headers.insert(height, header)?;
        self.bodies.insert(height, body)?;
        self.effects.insert(height, &*checked("effects", height, effects))?;
        self.certificates.insert(height, &*checked("certificate", height, certificate))?;
        self.insert_subtrees(tree.append(&digest))?;
        for (index, op) in (0..).zip(block.ops()) {
            self.ops.insert(&op.op.id(&block.header().cluster).0, (height, index))?;
        }
        Ok(())
    }

    /// Removes bodies, effects, certificates, and the index of the ops, of at most `most` blocks below the height `oldest`.
    fn prune(&mut self, oldest: u64, most: usize) -> Result<(), redb::Error> {
        let mut heights = Vec::new();
        for row in self.bodies.range(..oldest)?.take(most) {
            heights.push(row?.0.value());
        }
        for height in heights {
            let body = self.bodies.remove(height)?.map(|body| body.value().to_vec());
            let header = self.headers.get(height)?.map(|header| header.value().to_vec());
            // A damaged body leaves its ops in the index, where they lead to no block.
            if let Ok(block) = Block::decode(&[header.unwrap_or_default(), body.unwrap_or_default()].concat()) {
                for op in block.ops() {
                    self.ops.remove(&op.op.id(&block.header().cluster).0)?;
                }
            }
            self.effects.remove(height)?;
            self.certificates.remove(height)?;
        }
        Ok(())
    }
}
