//! What proves that the log has an op or a block. It is made from a few rows, however long the log is.

use vouch_core::log::{Block, LogSubtree, LogTree, OpId, OpProof, log_path_from_subtrees, log_root_from_path};
use vouch_core::merkle::TreeHash;
use vouch_core::statement::LogHead;

use super::{BODIES, BlockStore, BlockStoreError, NewBlock, OPS, SUBTREES};

impl BlockStore {
    /// The block that has an op, and the op's index there. `None` if the op was not decided here, or its block is no longer kept: see
    /// [`heights`](Self::heights).
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn find_op(&self, op: OpId) -> Result<Option<(u64, u32)>, BlockStoreError> {
        Ok(self.database.read(|transaction| {
            let found = transaction.open_table(OPS)?.get(&op.0)?.map(|place| place.value());
            let Some((height, index)) = found else { return Ok(None) };
            let is_kept = transaction.open_table(BODIES)?.get(height)?.is_some();
            Ok(is_kept.then_some((height, index)))
        })?)
    }

    /// What a quorum signs about a height. `None` if its header is not here: see [`heights`](Self::heights).
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn head(&self, height: u64) -> Result<Option<LogHead>, BlockStoreError> {
        let Some(header) = self.headers(height, 1)?.into_iter().next().filter(|header| header.height == height) else {
            return Ok(None);
        };
        let before = self.tree(height - 1)?;
        // Nothing is signed that follows from damaged rows.
        if before.root() != header.log_root {
            return Err(self.damaged("log tree", height - 1, &header.log_root, &before.root()));
        }
        Ok(LogHead::new(&header, &before))
    }

    /// The proof of an op under the head of a height. `None` if the op is not found, if that head is below its block, or if it is not
    /// here.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn op_proof(&self, op: OpId, head_height: u64) -> Result<Option<OpProof>, BlockStoreError> {
        let Some((height, index)) = self.find_op(op)? else { return Ok(None) };
        let Some((new, path)) = self.read_with_path(height, head_height)? else { return Ok(None) };
        let header = new.block.header();
        let ops: Vec<_> = new.block.ops().iter().map(|signed| (signed.submitter, signed.op.clone())).collect();
        let effects = new.decode_effects().map_err(|error| self.damaged("effects", height, &"the effects", &error))?;
        let Some(proof) = OpProof::with_path(header, &ops, &effects, index, path) else {
            return Err(self.damaged("effects", height, &header.results, &"those of another results root"));
        };
        match proof.op.id(&header.cluster) {
            got if got == op => Ok(Some(proof)),
            got => Err(self.damaged("place of an op", height, &op, &got)),
        }
    }

    /// A block with its path to the log root of the head of a height. `None` if the block is not kept, if that head is below it, or if it
    /// is not here.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn block_with_path(
        &self,
        height: u64,
        head_height: u64,
    ) -> Result<Option<(Block, Vec<TreeHash>)>, BlockStoreError> {
        Ok(self.read_with_path(height, head_height)?.map(|(new, path)| (new.block, path)))
    }

    fn read_with_path(
        &self,
        height: u64,
        head_height: u64,
    ) -> Result<Option<(NewBlock, Vec<TreeHash>)>, BlockStoreError> {
        let Some(new) = self.blocks(height, 1)?.pop() else { return Ok(None) };
        let Some(head) = self.head(head_height)?.filter(|head| head.height >= height) else { return Ok(None) };
        let path = self.read_subtrees(head_height, |root_of| log_path_from_subtrees(height, head_height, root_of))?;
        match log_root_from_path(&new.block.digest(), height, head_height, &path) {
            Some(root) if root == head.log_root => Ok(Some((new, path))),
            _ => Err(self.damaged("log tree", head_height, &head.log_root, &format_args!("another root for {height}"))),
        }
    }

    /// The tree over the blocks up to a height.
    pub(super) fn tree(&self, height: u64) -> Result<LogTree, BlockStoreError> {
        self.read_subtrees(height, |root_of| LogTree::from_subtrees(height, root_of))
    }

    /// What `make` makes of the roots of complete subtrees.
    fn read_subtrees<T>(
        &self,
        height: u64,
        make: impl FnOnce(&mut dyn FnMut(LogSubtree) -> Option<TreeHash>) -> Option<T>,
    ) -> Result<T, BlockStoreError> {
        let made = self.database.read(|transaction| {
            let roots = transaction.open_table(SUBTREES)?;
            let mut failure = None;
            let made = make(&mut |subtree| match roots.get((subtree.level, subtree.index)) {
                Ok(root) => root.map(|root| TreeHash(*root.value())),
                Err(error) => {
                    failure = Some(error);
                    None
                }
            });
            failure.map_or(Ok(made), |error| Err(error.into()))
        })?;
        made.ok_or_else(|| self.damaged("log tree", height, &"the root of each complete subtree", &"not all"))
    }
}
