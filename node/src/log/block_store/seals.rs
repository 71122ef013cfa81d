//! The lists of seals: which statements each ended epoch certified. The store deletes the blocks that decided a list after a while. It never
//! deletes the list.

use redb::TableDefinition;
use vouch_core::message::MAX_SEAL_PART;
use vouch_core::seal::SealTree;
use vouch_core::statement::StatementId;

use super::{BlockStore, BlockStoreError, checked};

/// The identities of an epoch's statements, with a check, by epoch.
pub(super) const SEALS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log_seals");
const ROW: &str = "seal";

/// Some statements of a seal, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealPart {
    /// The number of statements in the seal.
    pub count: u32,
    /// Those from the place asked for, at most [`MAX_SEAL_PART`].
    pub identities: Vec<StatementId>,
}

impl BlockStore {
    /// Stores the statements of an epoch's seal, durably.
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn keep_seal(&self, epoch: u64, seal: &SealTree) -> Result<(), BlockStoreError> {
        let row = checked(ROW, epoch, &seal.to_list());
        Ok(self.database.commit_and_wait(|transaction| {
            transaction.open_table(SEALS)?.insert(epoch, &*row)?;
            Ok(())
        })?)
    }

    /// The list of an epoch's seal. `None` if it is not stored.
    fn seal_list(&self, epoch: u64) -> Result<Option<Vec<u8>>, BlockStoreError> {
        let row = self
            .database
            .read(|transaction| Ok(transaction.open_table(SEALS)?.get(epoch)?.map(|row| row.value().to_vec())))?;
        row.map(|row| Ok(self.check(ROW, epoch, &row)?.to_vec())).transpose()
    }

    /// Whether the statements of an epoch's seal are stored, undamaged.
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn has_seal(&self, epoch: u64) -> Result<bool, BlockStoreError> {
        match self.seal_list(epoch) {
            Ok(list) => Ok(list.is_some()),
            Err(BlockStoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Statements of an epoch's seal, from a place on. `None` if they are not stored.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn seal_part(&self, epoch: u64, from: u32) -> Result<Option<SealPart>, BlockStoreError> {
        let Some(list) = self.seal_list(epoch)? else { return Ok(None) };
        let (all, _) = list.as_chunks::<32>();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let identities = all.iter().skip(from).take(MAX_SEAL_PART).map(|identity| StatementId(*identity)).collect();
        // Cannot saturate: a seal has at most 32 768 statements.
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        Ok(Some(SealPart { count, identities }))
    }
}
