//! A put of a large blob that resumes a partial upload, or leaves one.

use std::sync::Arc;

use vouch_core::placement::Assignment;
use vouch_core::tree::Parent;

use super::cancel::CancelToken;
use super::complete::{Complete, CompleteBlob, compare};
use super::open_partial::{OpenPartial, PartialKey};
use super::partial_owner::PartialOwner;
use super::partial_uploads::{FoundPartial, IdlePartial};
use super::parts::UploadParts;
use crate::host::files::FileError;
use crate::store::StoreError;

/// One put that adds to a partial upload. If this is dropped, the next put can resume the upload.
#[derive(Debug)]
pub(super) struct ResumableUpload {
    parts: Arc<UploadParts>,
    owner: PartialOwner,
}

impl ResumableUpload {
    /// Resumes a partial upload, or begins one. `None` if another put is adding to it.
    pub(super) fn begin(
        parts: &Arc<UploadParts>,
        key: PartialKey,
        cancel: &CancelToken,
    ) -> Result<Option<Self>, StoreError> {
        let Some((mut owner, found)) = PartialOwner::claim(&parts.partials, key, cancel) else { return Ok(None) };
        let open = match found {
            FoundPartial::Open(mut open) => {
                open.record_activity(parts.host.monotonic());
                open
            }
            FoundPartial::Idle(idle) => Box::new(reopen(parts, &owner, idle)?),
            FoundPartial::Nothing => {
                let reserved = parts.space.reserve(key.length, key.length)?;
                Box::new(parts.partials.create(key, reserved)?)
            }
        };
        owner.open(open);
        Ok(Some(Self { parts: parts.clone(), owner }))
    }

    /// The resume offset: number of bytes that need not be sent.
    pub(super) fn had(&self) -> u64 {
        self.owner.had()
    }

    /// Verifies and writes the next block. Skips a block that is already there.
    pub(super) fn take(self, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<Self, StoreError> {
        self.owner.add(|open| self.parts.partials.take(open, offset, bytes, proof))?;
        Ok(self)
    }

    /// Makes the complete blob durable under its name.
    pub(super) fn finish(self, assignment: &Assignment) -> Result<Complete, StoreError> {
        let Self { parts, owner } = self;
        let key = owner.key();
        parts.index.check()?;
        let mut open = owner.take_out(|open| {
            compare(open.length(), key.digest, assignment)?;
            match open.length() == key.length {
                true => Ok(()),
                false => Err(StoreError::LengthDiffers { expected: key.length, got: open.length() }),
            }
        })?;
        let digest = open.digest();
        // Each block was verified, so this fails only if the recorded state of an earlier put was wrong.
        let is_right = compare(key.length, digest, assignment);
        match is_right.and_then(|()| open.publish(&parts.blobs, &digest)) {
            Ok(published) => {
                let blob = CompleteBlob::Large { published, _reserved: open.into_reserved(), _owner: Some(owner) };
                Ok(Complete::new(assignment, blob))
            }
            Err(error @ StoreError::File(FileError::Elsewhere(_))) => {
                // The local files are complete. Keep them, so that a retry need not send the bytes again.
                let kept = parts.partials.checkpoint(&mut open);
                open.end();
                owner.put_back(open);
                kept.and(Err(error))
            }
            Err(error) => {
                open.discard();
                parts.partials.erase(key).and(Err(error))
            }
        }
    }
}

/// Opens an idle partial upload, or begins it again if its files are not as they were left.
fn reopen(parts: &UploadParts, owner: &PartialOwner, mut idle: IdlePartial) -> Result<OpenPartial, StoreError> {
    let (key, durable) = (owner.key(), idle.durable);
    let missing = key.length.saturating_sub(durable);
    if let Err(error) = parts.space.grow(&mut idle.reserved, missing, missing) {
        parts.partials.rest(key, owner.slot(), idle);
        return Err(error);
    }
    parts.partials.reopen(key, idle).or_else(|mut reserved| {
        parts.space.grow(&mut reserved, durable, 0)?;
        parts.partials.create(key, reserved)
    })
}
