//! Large blobs as objects in an object store: `blobs/abcd…` and `blobs/abcd….obao`.
//!
//! The outboard is written before the bytes, and each object appears atomically.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use vouch_core::digest::Digest;
use vouch_core::tree;

use super::naming::{OUTBOARD, digest_of};
use super::spool::{Spool, SpoolFile};
use crate::host::files::{Action, FileError};
use crate::host::objects::{ObjectError, Objects};
use crate::store::verified::Version;

const FOLDER: &str = "blobs/";
/// Bytes of an outboard in one request: the parents of 16 MiB of a blob.
const BLOCK: u64 = 64 << 10;
/// Number of cached blocks: 16 MiB. Adjacent parts of a blob are verified by mostly the same parents.
const BLOCKS: usize = 256;

#[derive(Debug)]
pub(in super::super) struct RemoteBlobs {
    objects: Objects,
    cache: Arc<OutboardCache>,
}

impl RemoteBlobs {
    pub(in super::super) fn new(objects: Objects) -> Self {
        Self { objects, cache: Arc::default() }
    }

    pub(super) fn finish(&self, spool: &Spool, digest: &Digest) -> Result<(), FileError> {
        self.put(&spool.outboard, &outboard_of(digest))?;
        self.put(&spool.data, &name_of(digest))?;
        // do not use the cached blocks of an earlier outboard, which may have decayed
        self.cache.remove(digest);
        Ok(())
    }

    fn put(&self, file: &SpoolFile, name: &str) -> Result<(), FileError> {
        self.objects.put(name, file.length(), |offset, buffer| file.read_at(offset, buffer))
    }

    pub(in super::super) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Also drops the blob's cached blocks: the caller is about to read it again.
    pub(super) fn version(&self, digest: &Digest) -> Result<Option<Version>, FileError> {
        self.cache.remove(digest);
        let data = self.objects.version(&name_of(digest))?;
        let outboard = self.objects.version(&outboard_of(digest))?;
        Ok(data.zip(outboard).map(|(data, outboard)| Version::Objects { data, outboard }))
    }

    #[cfg_attr(
        not(feature = "s3"),
        expect(unused_variables, reason = "without the client, no object store can be opened")
    )]
    pub(super) fn open(&self, digest: &Digest, length: u64) -> RemoteBlob {
        RemoteBlob {
            objects: self.objects.clone(),
            cache: self.cache.clone(),
            digest: *digest,
            outboard_length: tree::outboard_size(length),
        }
    }

    pub(super) fn remove(&self, digest: &Digest) -> Result<(), FileError> {
        self.cache.remove(digest);
        self.objects.remove(&name_of(digest))?;
        Ok(self.objects.remove(&outboard_of(digest))?)
    }

    pub(super) fn list(&self, first: u8) -> Result<Vec<Digest>, FileError> {
        let listed = self.objects.list(&format!("{FOLDER}{first:02x}"))?;
        let names = listed.iter().filter_map(|object| object.name.strip_prefix(FOLDER));
        let mut digests: Vec<Digest> = names.filter_map(digest_of).collect();
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }
}

fn name_of(digest: &Digest) -> String {
    format!("{FOLDER}{}", digest.to_hex())
}

fn outboard_of(digest: &Digest) -> String {
    format!("{FOLDER}{}{OUTBOARD}", digest.to_hex())
}

/// A blob in an object store. Opening it sends no request.
#[derive(Debug)]
pub(in super::super) struct RemoteBlob {
    objects: Objects,
    cache: Arc<OutboardCache>,
    digest: Digest,
    outboard_length: u64,
}

impl RemoteBlob {
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        let bytes = self.get(&name_of(&self.digest), offset, buffer.len())?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    pub(super) fn read_outboard(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let block = self.block(at / BLOCK)?;
            let from = usize::try_from(at % BLOCK).unwrap_or(usize::MAX);
            let piece = block.get(from..).filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| self.cut_short(&outboard_of(&self.digest)))?;
            let size = piece.len().min(rest.len());
            rest[..size].copy_from_slice(&piece[..size]);
            rest = &mut rest[size..];
            at += size as u64;
        }
        Ok(())
    }

    /// A block of the outboard; the last one is shorter.
    fn block(&self, number: u64) -> Result<Bytes, FileError> {
        if let Some(block) = self.cache.get(&self.digest, number) {
            return Ok(block);
        }
        let start = number * BLOCK;
        let size = self.outboard_length.saturating_sub(start).min(BLOCK);
        let block = self.get(&outboard_of(&self.digest), start, usize::try_from(size).unwrap_or(usize::MAX))?;
        self.cache.insert(self.digest, number, block.clone());
        Ok(block)
    }

    fn get(&self, name: &str, offset: u64, length: usize) -> Result<Bytes, FileError> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.objects.get(name, offset, length).map_err(|error| match error {
            // the same error as for a file that is too short
            ObjectError::NotFound { .. } | ObjectError::LengthDiffers { .. } => self.cut_short(name),
            error => error.into(),
        })
    }

    fn cut_short(&self, name: &str) -> FileError {
        FileError::Io {
            path: self.objects.location(name).into(),
            action: Action::Read,
            source: Arc::new(io::Error::from(ErrorKind::UnexpectedEof)),
        }
    }
}

/// The most recently used blocks of outboards. Wrong ones do no harm, because everything read is verified with them.
#[derive(Debug, Default)]
struct OutboardCache(Mutex<VecDeque<(Digest, u64, Bytes)>>);

impl OutboardCache {
    fn get(&self, digest: &Digest, number: u64) -> Option<Bytes> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = blocks.iter().position(|(of, block, _)| (of, *block) == (digest, number))?;
        let found = blocks.remove(at)?;
        let bytes = found.2.clone();
        blocks.push_back(found);
        Some(bytes)
    }

    fn insert(&self, digest: Digest, number: u64, bytes: Bytes) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.retain(|(of, block, _)| (of, *block) != (&digest, number));
        blocks.push_back((digest, number, bytes));
        while blocks.len() > BLOCKS {
            blocks.pop_front();
        }
    }

    fn remove(&self, digest: &Digest) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.retain(|(of, ..)| of != digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recently_used_blocks_are_cached() {
        let cache = OutboardCache::default();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let block = |number: u64| Bytes::from(number.to_le_bytes().to_vec());
        for number in 0..BLOCKS as u64 {
            cache.insert(one, number, block(number));
        }
        assert_eq!(cache.get(&one, 0), Some(block(0)));
        cache.insert(other, 0, block(9));
        assert_eq!((cache.get(&one, 0), cache.get(&one, 1)), (Some(block(0)), None));
        cache.insert(other, 0, block(8));
        assert_eq!(cache.get(&other, 0), Some(block(8)));
        cache.remove(&one);
        assert_eq!((cache.get(&one, 0), cache.get(&other, 0)), (None, Some(block(8))));
    }
}
