//! A small blob that arrives whole.

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::placement::Assignment;

use super::complete::{Complete, CompleteBlob, compare};
use super::parts::UploadParts;
use crate::store::{MAX_SMALL, StoreError};

/// Compares a blob of at most [`MAX_SMALL`] bytes with its assignment, and reserves space for it. Blocks until the disk has answered.
pub(super) fn complete_small(
    parts: &UploadParts,
    assignment: &Assignment,
    bytes: Bytes,
) -> Result<Complete, StoreError> {
    let length = bytes.len() as u64;
    if length > MAX_SMALL {
        return Err(StoreError::NotSmall { limit: MAX_SMALL, got: length });
    }
    compare(length, Digest::of(&bytes), assignment)?;
    // a stored blob needs no more space
    let reserved = match parts.index.entry(&assignment.digest)? {
        None => parts.space.reserve(length, length)?,
        Some(_) => parts.space.reservation(),
    };
    Ok(Complete::new(assignment, CompleteBlob::Small { bytes, _reserved: reserved }))
}
