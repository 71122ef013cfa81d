//! The certificates that the store keeps. They form a list that others read. The store also remembers how far this replica has read
//! the lists of others.

use std::sync::Arc;

use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{ListFilter, ListPage, ListPosition};
use vouch_node_core::replica::assigned_blob::AssignedBlob;
use vouch_node_core::replica::lacking::ListPositions;

use super::{Store, StoreError, index};
use crate::durable::listing;

impl Store {
    /// Keeps the certificates of blobs that are stored or damaged, all in one commit. A certificate replaces one of the same
    /// blob only if it [supersedes](Certificate::supersedes) it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn archive(&self, blobs: Vec<AssignedBlob>) -> Result<(), StoreError> {
        self.inner.index.change(index::archive(blobs, 0)).await
    }

    /// Keeps certificates like [`archive`](Self::archive), and notes that this server made them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn archive_from(&self, server: &NodeKey, blobs: Vec<AssignedBlob>) -> Result<(), StoreError> {
        self.inner.index.change(index::archive(blobs, listing::origin(&server.0))).await
    }

    /// The certificate that is kept of a blob.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn certificate(&self, digest: &Digest) -> Result<Option<Certificate>, StoreError> {
        let Some(encoding) = self.inner.index.certificate(digest)? else {
            return Ok(None);
        };
        let decoded = Certificate::decode(&encoding, &Limits::default());
        decoded.map(Some).map_err(|cause| StoreError::Certificate { digest: *digest, cause: Arc::new(cause) })
    }

    /// The certificates after a position, in the order of their arrival, without those that the filter excludes for the asking
    /// server. `epoch`: the current one; the signers of another epoch were other members than the filter names. The page ends with the certificate that reaches `size` bytes. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn list(
        &self,
        from: ListPosition,
        (filter, epoch): (ListFilter, u64),
        asker: &NodeKey,
        size: usize,
    ) -> Result<ListPage, StoreError> {
        Ok(self.inner.index.list(from, (filter, epoch, asker), size)?)
    }

    /// How far other lists were read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn lists_read(&self) -> Result<ListPositions, StoreError> {
        Ok(self.inner.index.lists_read()?)
    }

    /// Remembers the positions up to which lists were read. Call it once everything before them is held: after a restart, reading
    /// continues from there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remember_lists(&self, positions: ListPositions) -> Result<(), StoreError> {
        self.inner.index.change(index::remember_lists(positions)).await
    }
}
