//! The lists of seals: what the log decided of ended epochs, and keeps for ever. The blocks that it was decided in are not kept.

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

    /// Whether the statements of an epoch's seal are stored, undamaged.
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn has_seal(&self, epoch: u64) -> Result<bool, BlockStoreError> {
        match self.seal_part(epoch, 0) {
            Ok(part) => Ok(part.is_some()),
            Err(BlockStoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Statements of an epoch's seal, from a place on. `None` if they are not stored.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn seal_part(&self, epoch: u64, from: u32) -> Result<Option<SealPart>, BlockStoreError> {
        let row = self
            .database
            .read(|transaction| Ok(transaction.open_table(SEALS)?.get(epoch)?.map(|row| row.value().to_vec())))?;
        let Some(row) = row else { return Ok(None) };
        let list = self.check(ROW, epoch, &row)?;
        let (identities, _) = list.as_chunks::<32>();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let part = identities.iter().skip(from).take(MAX_SEAL_PART).map(|identity| StatementId(*identity)).collect();
        let got = || format!("{} statements", identities.len());
        let count = u32::try_from(identities.len())
            .map_err(|_| self.damaged(ROW, epoch, &"at most 32768 statements", &got()))?;
        Ok(Some(SealPart { count, identities: part }))
    }
}
