//! How blobs go: first out of the index, then from the disk. What is interrupted in between is finished by the next
//! sweep, which removes every file that has no entry and that no put is about to enter.

use std::sync::Arc;

use vouch_core::digest::Digest;
use vouch_core::verify::CLOCK_TOLERANCE;

use super::index::Removed;
use super::{Inner, StoreError};
use crate::host::Host;

/// Seconds between a blob's expiry and its removal, by a clock that has [settled](super::settling).
pub const GRACE: u64 = 300;
/// Two clocks, each off by as much as is tolerated: nobody votes any more for what expired longer ago than this.
const LEAST_GRACE: u64 = 2 * CLOCK_TOLERANCE;
/// Blobs taken out of the index in one commit.
const GROUP: usize = 1000;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs whose time was over.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

pub(crate) fn check_grace(grace: u64) -> Result<(), StoreError> {
    if grace > LEAST_GRACE { Ok(()) } else { Err(StoreError::ShortGrace { got: grace, least: LEAST_GRACE }) }
}

/// `judged`: the time by which blobs expired, if any may be deleted; `now`: what the wall clock says; `sweeps`: whether files that
/// belong to no blob are removed.
pub(super) async fn collect(
    inner: &Arc<Inner>,
    judged: Option<u64>,
    now: u64,
    grace: u64,
    sweeps: bool,
) -> Result<Collected, StoreError> {
    check_grace(grace)?;
    inner.check()?;
    let mut collected = Collected::default();
    if let Some(last) = judged.and_then(|judged| judged.checked_sub(grace)) {
        while let Some(removed) = inner.index.remove_expired(last, GROUP).await? {
            collected.blobs += removed.len() as u64;
            collected.bytes += removed.iter().map(|blob| blob.length).sum::<u64>();
            remove_files(inner, removed).await?;
        }
    }
    let sweeper = inner.clone();
    let keeper = inner.clone();
    blocking(&inner.host, move || keeper.drop_old_partials(now)).await?;
    if sweeps {
        blocking(&inner.host, move || (0..=u8::MAX).try_for_each(|first| sweeper.sweep(first))).await?;
    }
    Ok(collected)
}

pub(super) async fn mark_damaged(inner: &Arc<Inner>, digest: &Digest) -> Result<(), StoreError> {
    inner.check()?;
    let removed = inner.index.mark_damaged(*digest).await?;
    remove_files(inner, removed.into_iter().collect()).await
}

async fn remove_files(inner: &Arc<Inner>, removed: Vec<Removed>) -> Result<(), StoreError> {
    let remover = inner.clone();
    blocking(&inner.host, move || {
        let mut in_files = removed.into_iter().filter(|blob| blob.in_files);
        in_files.try_for_each(|blob| remover.remove_unless_entered(&blob.digest))
    })
    .await
}

/// Does work on a store that blocks, where that holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match host.spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Task(error.to_string())),
    }
}

impl Inner {
    fn sweep(&self, first: u8) -> Result<(), StoreError> {
        let digests = self.blobs.list(first)?;
        digests.iter().try_for_each(|digest| self.remove_unless_entered(digest))
    }

    /// Removes the files of a blob, unless it is stored or a put of it is about to enter it.
    pub(super) fn remove_unless_entered(&self, digest: &Digest) -> Result<(), StoreError> {
        let entered = || Ok::<_, StoreError>(self.index.entry(digest)?.is_some_and(|entry| entry.in_files()));
        // most are
        if entered()? {
            return Ok(());
        }
        self.claims.unless_claimed(digest, || if entered()? { Ok(()) } else { Ok(self.blobs.remove(digest)?) })
    }
}
