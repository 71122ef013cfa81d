//! Blobs whose files have their names but no entry yet. Their files must not be removed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::digest::Digest;

/// The number of puts that claim each blob.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Digest, usize>>>);

impl Claims {
    /// Claims a blob. Hold the claim from before its files get their names until its entry is committed.
    pub(super) fn claim(&self, digest: Digest) -> Claim {
        *self.lock().entry(digest).or_default() += 1;
        Claim { claims: self.clone(), digest }
    }

    /// Runs `act` unless the blob is claimed. The blob cannot be claimed meanwhile.
    pub(super) fn unless_claimed<E>(&self, digest: &Digest, act: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let claims = self.lock();
        if claims.contains_key(digest) { Ok(()) } else { act() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    digest: Digest,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        if let Some(count) = claims.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                claims.remove(&self.digest);
            }
        }
    }
}
