//! Removing blobs: first from the index, then from the disk. If that is interrupted, the next sweep completes it: it
//! removes every file without an entry that no put is about to enter.

use std::time::Duration;

use vouch_core::digest::Digest;
use vouch_core::verify::CLOCK_TOLERANCE;
use vouch_node_core::access::Usage;

use super::index::{self, Removed};
use super::{Store, StoreError, blocking};

/// Seconds between a blob's expiry and its removal, by a clock that has [settled](super::settling).
pub const GRACE: u64 = 300;
/// A replica votes for no blob that expired longer ago than this: two clocks may be off, each by the tolerance.
const LEAST_GRACE: u64 = 2 * CLOCK_TOLERANCE;
/// Maximum number of blobs removed from the index in one commit.
const GROUP: usize = 1000;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of expired blobs.
    pub blobs: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// What tokens have stored, of those for which something ended.
    pub usage: Vec<Usage>,
}

impl Store {
    /// Verifies every byte of a blob, and its outboard, in constant memory. Blocks until the disk has answered.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`]; see [`StoreError`].
    pub fn scrub_one(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.reader.scrub(digest)
    }

    /// Removes a damaged blob from the stored ones. Its duty and its certificate stay, and [`Store::record`] of the
    /// same blob restores it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark_damaged(&self, digest: &Digest) -> Result<(), StoreError> {
        let removed = self.inner.index.change(index::mark_damaged(*digest)).await?;
        self.remove_files(removed.into_iter().collect()).await
    }

    /// Removes at once every blob whose duty ended at least `grace` seconds before `now`, with its certificate, every
    /// file that belongs to no blob, and old partial uploads.
    ///
    /// # Errors
    /// [`StoreError::ShortGrace`]; see [`StoreError`].
    #[cfg(test)]
    pub(super) async fn collect(&self, now: u64, grace: u64) -> Result<Collected, StoreError> {
        self.collect_by(Some(now), now, grace, true).await
    }

    /// Removes expired blobs by a settled clock: one that has called them expired for all of the last `window` of running time.
    /// `wall`: the wall clock. `ran`: the running time since the last call. `sweeps`: whether files that belong to no blob are
    /// removed. After the loss of an index, they may still be [adopted](Self::adopt).
    ///
    /// # Errors
    /// [`StoreError::ShortGrace`]; see [`StoreError`].
    pub async fn collect_settled(
        &self,
        wall: u64,
        ran: Duration,
        window: Duration,
        grace: u64,
        sweeps: bool,
    ) -> Result<Collected, StoreError> {
        // Durable before anything is deleted, so that the history continues after a restart.
        let judged = self.inner.index.change(index::note_wall_clock(wall, ran, window)).await?;
        self.collect_by(judged, wall, grace, sweeps).await
    }

    /// Removes expired blobs. `judged`: the time to judge expiry by, if any blob may be deleted. `now`: the wall clock. `sweeps`: whether
    /// files that belong to no blob are removed.
    async fn collect_by(
        &self,
        judged: Option<u64>,
        now: u64,
        grace: u64,
        sweeps: bool,
    ) -> Result<Collected, StoreError> {
        check_grace(grace)?;
        let inner = &self.inner;
        let mut collected = Collected::default();
        if let Some(last) = judged.and_then(|judged| judged.checked_sub(grace)) {
            while let Some(removed) = inner.index.change(index::remove_expired(last, GROUP)).await? {
                collected.blobs += removed.len() as u64;
                collected.bytes += removed.iter().map(|blob| blob.length).sum::<u64>();
                self.remove_files(removed).await?;
            }
            while let Some(usage) = inner.index.change(index::end_counts(last, GROUP)).await? {
                collected.usage.extend(usage);
            }
        }
        let (index, partials) = (inner.index.clone(), inner.partials.clone());
        let evict = move || {
            index.check()?;
            partials.drop_old(now)
        };
        blocking(&inner.host, evict).await?;
        if sweeps {
            let blobs = inner.blobs.clone();
            blocking(&inner.host, move || (0..=u8::MAX).try_for_each(|first| blobs.sweep(first))).await?;
        }
        Ok(collected)
    }

    async fn remove_files(&self, removed: Vec<Removed>) -> Result<(), StoreError> {
        let blobs = self.inner.blobs.clone();
        blocking(&self.inner.host, move || {
            let mut in_files = removed.into_iter().filter(|blob| blob.in_files);
            in_files.try_for_each(|blob| blobs.remove_unless_entered(&blob.digest))
        })
        .await
    }
}

pub(crate) fn check_grace(grace: u64) -> Result<(), StoreError> {
    if grace > LEAST_GRACE { Ok(()) } else { Err(StoreError::ShortGrace { got: grace, least: LEAST_GRACE }) }
}
