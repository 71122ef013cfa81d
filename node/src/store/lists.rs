//! The certificates that the store keeps, as a list that others read, and how far this replica read the lists of others.

use vouch_core::certificate::Certificate;
use vouch_core::link::NodeKey;
use vouch_core::message::{ListFilter, ListPage, ListPosition};

use super::{Store, StoreError};
use crate::durable::listing;

impl Store {
    /// Keeps certificates as [`archive`](Self::archive) does, of a server that made them itself.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn archive_from(&self, server: &NodeKey, certificates: Vec<Certificate>) -> Result<(), StoreError> {
        self.inner.check()?;
        Ok(self.inner.index.archive(certificates, listing::origin(&server.0)).await?)
    }

    /// The certificates kept after a position, in the order in which they came, without those that the asking server has by a
    /// filter: `size` bytes of them, and the last one may go beyond. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn list(
        &self,
        from: ListPosition,
        filter: ListFilter,
        asker: &NodeKey,
        size: usize,
    ) -> Result<ListPage, StoreError> {
        Ok(self.inner.index.list(from, (filter, asker), size)?)
    }

    /// How far the lists of others were read, by the node key of their owner.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn lists_read(&self) -> Result<Vec<([u8; 32], ListPosition)>, StoreError> {
        Ok(self.inner.index.lists_read()?)
    }

    /// Remembers how far lists were read. To be called once everything in them up to there is held: after a restart they are
    /// read from there on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remember_lists(&self, lists: Vec<([u8; 32], ListPosition)>) -> Result<(), StoreError> {
        self.inner.check()?;
        Ok(self.inner.index.remember_lists(lists).await?)
    }
}
