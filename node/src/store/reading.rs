//! Reading blobs. Bytes leave the store only verified: against the outboard, or, for a small blob, against its digest.

use std::sync::Arc;

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::tree::{self, GROUP, Parent, TreeHasher};

use super::StoreError;
use super::blobs::OpenBlob;
use super::checked_index::CheckedIndex;
use super::large_blobs::LargeBlobs;
use super::verified::VerifiedBlobs;
use crate::host::files::{Action, FileError};

/// Size in bytes of one read while a whole blob is verified.
const PIECE: usize = 256 << 10;
const GROUP_U64: u64 = GROUP as u64;
/// Maximum number of attempts to read a blob whose files are replaced meanwhile.
const ATTEMPTS: usize = 3;

/// A part of a blob with its proof, which verifies it against digest and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The bytes.
    pub bytes: Bytes,
    /// See [`vouch_core::tree::proof`].
    pub proof: Vec<Parent>,
}

/// Reads the blobs of a store, and remembers which of them are verified.
#[derive(Debug)]
pub(super) struct BlobReader {
    pub(super) index: Arc<CheckedIndex>,
    pub(super) blobs: Arc<LargeBlobs>,
    pub(super) verified: VerifiedBlobs,
}

impl BlobReader {
    pub(super) fn read(&self, digest: &Digest, offset: u64, wanted: u32) -> Result<Slice, StoreError> {
        let digest = *digest;
        let Some((entry, small)) = self.index.entry_and_bytes(&digest)? else {
            return Err(StoreError::NotFound { digest });
        };
        let end = offset.checked_add(wanted.into()).filter(|end| *end <= entry.length);
        let Some(end) = end else {
            return Err(StoreError::BeyondTheEnd { digest, length: entry.length, offset, wanted });
        };
        let range = offset..end;
        // only the empty blob has an empty part
        if tree::widen_to_groups(&range, entry.length) != range || range.is_empty() != (entry.length == 0) {
            return Err(StoreError::Misaligned { digest, offset, wanted });
        }
        match small {
            Some(bytes) => slice_of_small(&digest, bytes, offset, wanted),
            None => match self.blobs.open(&digest, entry.length) {
                Ok(opened) => slice(&opened, &digest, entry.length, offset, wanted),
                Err(error) => Err(self.missing(&digest, error)),
            },
        }
    }

    /// The error for a missing file: the blob was just removed, or is damaged.
    fn missing(&self, digest: &Digest, error: FileError) -> StoreError {
        match (error, self.index.entry(digest)) {
            (FileError::NotFound { .. }, Ok(None)) => StoreError::NotFound { digest: *digest },
            (FileError::NotFound { .. }, Ok(Some(_))) => StoreError::Damaged { digest: *digest, offset: 0 },
            (_, Err(error)) => error.into(),
            (error, _) => error.into(),
        }
    }

    /// Verifies a whole blob and its outboard, in constant memory.
    pub(super) fn scrub(&self, digest: &Digest) -> Result<(), StoreError> {
        let Some((entry, small)) = self.index.entry_and_bytes(digest)? else {
            return Err(StoreError::NotFound { digest: *digest });
        };
        if let Some(bytes) = small {
            return if Digest::of(&bytes) == *digest { Ok(()) } else { Err(damaged(digest, 0)) };
        }
        for _ in 0..ATTEMPTS {
            let version = self.blobs.version(digest)?;
            let opened = self.blobs.open(digest, entry.length).map_err(|error| self.missing(digest, error));
            let read = opened.and_then(|opened| verify_all(&opened, digest, entry.length));
            if self.blobs.version(digest)? == version {
                if let (Ok(()), Some(version)) = (&read, version) {
                    self.verified.note_read(*digest, version);
                }
                return read;
            }
        }
        // other puts replace its files as fast as they are read
        Err(StoreError::NotHeld { digest: *digest })
    }
}

/// Verifies all bytes of an open blob and its outboard, in constant memory.
pub(super) fn verify_all(opened: &OpenBlob, digest: &Digest, length: u64) -> Result<(), StoreError> {
    let mut hasher = TreeHasher::new();
    let mut buffer = vec![0; PIECE];
    let (mut parents, mut stored) = (Vec::new(), Vec::new());
    let mut compared = 0;
    while hasher.length() < length {
        let offset = hasher.length();
        let size = usize::try_from(length - offset).map_or(PIECE, |left| left.min(PIECE));
        opened.read(offset, &mut buffer[..size]).map_err(|error| cut_short(digest, offset, error))?;
        let mut collect = |parent: &Parent| parents.extend_from_slice(&parent.0);
        hasher.update(&buffer[..size], &mut collect);
        if hasher.length() == length {
            let got = std::mem::take(&mut hasher).finish(&mut collect);
            if got != *digest {
                return Err(first_damage(opened, digest, length));
            }
        }
        stored.resize(parents.len(), 0);
        opened.read_outboard(compared, &mut stored).map_err(|error| cut_short(digest, offset, error))?;
        if stored != parents {
            return Err(first_damage(opened, digest, length));
        }
        compared += parents.len() as u64;
        parents.clear();
        if compared == tree::outboard_size(length) {
            return Ok(());
        }
    }
    Ok(())
}

/// The error with the first damaged group of a damaged blob.
fn first_damage(opened: &OpenBlob, digest: &Digest, length: u64) -> StoreError {
    let mut offset = 0;
    while offset < length {
        let size = u32::try_from((length - offset).min(GROUP_U64)).unwrap_or(u32::MAX);
        if let Err(error) = slice(opened, digest, length, offset, size) {
            return error;
        }
        offset += GROUP_U64;
    }
    damaged(digest, 0)
}

fn slice_of_small(digest: &Digest, blob: Bytes, offset: u64, wanted: u32) -> Result<Slice, StoreError> {
    let mut outboard = Vec::new();
    let mut hasher = TreeHasher::new();
    hasher.update(&blob, &mut |parent: &Parent| outboard.push(*parent));
    if hasher.finish(&mut |parent: &Parent| outboard.push(*parent)) != *digest {
        return Err(damaged(digest, 0));
    }
    let (start, end) = (offset, offset + u64::from(wanted));
    let proof = tree::proof(start..end, blob.len() as u64, |at| {
        let parent = usize::try_from(at).ok().and_then(|at| outboard.get(at / Parent::SIZE)).copied();
        parent.ok_or_else(|| damaged(digest, 0))
    })?;
    let index = |offset: u64| usize::try_from(offset).map_or(blob.len(), |offset| offset.min(blob.len()));
    Ok(Slice { bytes: blob.slice(index(start)..index(end)), proof })
}

fn slice(opened: &OpenBlob, digest: &Digest, length: u64, offset: u64, wanted: u32) -> Result<Slice, StoreError> {
    let mut bytes = vec![0; wanted as usize];
    opened.read(offset, &mut bytes).map_err(|error| cut_short(digest, offset, error))?;
    let range = offset..offset + u64::from(wanted);
    let proof = tree::proof(range, length, |at| opened.parent(at));
    let proof = proof.map_err(|error| cut_short(digest, offset, error))?;
    if tree::verify(digest, length, offset, &bytes, &proof).is_err() {
        return Err(damaged(digest, first_bad_group(opened, digest, length, offset, &bytes)));
    }
    Ok(Slice { bytes: bytes.into(), proof })
}

/// The offset of the first group of a slice that does not verify.
fn first_bad_group(opened: &OpenBlob, digest: &Digest, length: u64, offset: u64, bytes: &[u8]) -> u64 {
    let mut at = offset;
    for group in bytes.chunks(GROUP) {
        let end = at + group.len() as u64;
        let proof = tree::proof(at..end, length, |parent| opened.parent(parent));
        if proof.is_ok_and(|proof| tree::verify(digest, length, at, group, &proof).is_ok()) {
            at = end;
        } else {
            return at;
        }
    }
    // every group verifies by itself: the blob changed while it was read
    offset
}

fn damaged(digest: &Digest, offset: u64) -> StoreError {
    StoreError::Damaged { digest: *digest, offset }
}

/// Converts a failed read. A file that ends too early is damaged; other failures may be temporary.
fn cut_short(digest: &Digest, offset: u64, error: FileError) -> StoreError {
    match &error {
        FileError::Io { action: Action::Read, source, .. } if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            damaged(digest, offset)
        }
        _ => error.into(),
    }
}
