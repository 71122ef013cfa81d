//! What a store holds, and whether its storage has failed.

use serde::{Deserialize, Serialize};

use vouch_core::access::TokenKey;
use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;
use vouch_node_core::access::Usage as TokenUsage;

use super::index::Entry;
use super::{ReservedSpace, Store, StoreError};

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Number of stored blobs.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Number of blobs in the index.
    pub small: u64,
    /// Number of blobs in files or objects.
    pub large: u64,
    /// Number of blobs that were stored, must still be kept, and are to be fetched again.
    pub damaged: u64,
    /// Number of partial uploads that no put is adding to.
    pub partials: u64,
    /// Their size in bytes, which counts against the quota.
    pub partial_bytes: u64,
    /// Maximum size of all blobs in bytes, if there is a quota.
    pub quota: Option<u64>,
    /// Free bytes of the disk, including the reserve.
    pub free: u64,
}

impl Store {
    /// What every token has stored. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn token_usage(&self) -> Result<Vec<TokenUsage>, StoreError> {
        Ok(self.inner.index.token_usage()?)
    }

    /// Whether a blob counts for a token. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn is_counted(&self, token: &TokenKey, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.inner.index.is_counted(token, digest)?)
    }

    /// Whether a vote for an assignment would promise nothing new: the blob is stored, and its duty ends no earlier. Blocks until the disk
    /// has answered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn is_promised(&self, assignment: &Assignment) -> Result<bool, StoreError> {
        let entry = self.inner.index.entry(&assignment.digest)?;
        let is_kept =
            |entry: Entry| assignment.is_held(Some(entry.length)) && entry.keep_until >= assignment.expires_at;
        Ok(entry.is_some_and(is_kept))
    }

    /// The space that puts in progress have reserved.
    pub fn reserved(&self) -> ReservedSpace {
        let (_, idle) = self.inner.partials.idle();
        let all = self.inner.space.reserved();
        ReservedSpace { added: all.added.saturating_sub(idle), ..all }
    }

    /// What the store holds, and what is free on the disk.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let totals = self.inner.index.totals()?;
        let (small, large) = (totals.small, totals.large);
        let (partials, partial_bytes) = self.inner.partials.idle();
        Ok(Usage {
            blobs: small.0 + large.0,
            bytes: small.1 + large.1,
            small: small.0,
            large: large.0,
            damaged: totals.damaged.0,
            partials,
            partial_bytes,
            quota: self.inner.space.quota,
            free: self.inner.space.free()?,
        })
    }

    /// Whether storage has failed, so that nothing more is stored or promised.
    pub fn is_broken(&self) -> bool {
        self.failure().is_some()
    }

    /// Why nothing more is stored or promised, if storage has failed.
    pub fn failure(&self) -> Option<String> {
        self.inner.index.failure()
    }
}
