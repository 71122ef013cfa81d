//! The bytes of a put: hashed once, and read again for each attempt.

use std::io::{self, Read};

use bytes::Bytes;
use rayon::prelude::*;
use tokio::sync::mpsc;
use vouch_core::digest::Digest;
use vouch_core::message::{MAX_BLOB, MAX_CHUNK};
use vouch_core::session;
use vouch_core::tree::{BLOCK, Outline, OutlineHasher, block_hash};

use super::PutProgress;
use crate::host::Host;
use crate::host::source::{Source, pieces};

/// Bytes hashed at a time: 16 blocks, so that several cores work on them.
const HASH_PIECE: usize = 4 << 20;

/// Hashes a file on all cores. Returns its digest and its outline, from which the proof of each block is made.
///
/// # Errors
/// The file cannot be read.
pub fn hash(reader: &mut dyn Read, mut progress: impl FnMut(u64)) -> io::Result<(Digest, Outline)> {
    let mut hasher = OutlineHasher::new();
    let mut piece = Vec::with_capacity(HASH_PIECE);
    let mut next = Vec::with_capacity(HASH_PIECE);
    reader.take(HASH_PIECE as u64).read_to_end(&mut piece)?;
    loop {
        next.clear();
        // The blob's last block is hashed differently, so find out whether more bytes follow.
        if piece.len() == HASH_PIECE {
            reader.take(HASH_PIECE as u64).read_to_end(&mut next)?;
        }
        let last = if next.is_empty() { piece.len().saturating_sub(1) / BLOCK * BLOCK } else { piece.len() };
        let (blocks, rest) = piece.split_at(last);
        let first = hasher.length();
        let offset = |block: usize| first + (block * BLOCK) as u64;
        let hashes: Vec<[u8; 32]> =
            blocks.par_chunks(BLOCK).enumerate().map(|(block, bytes)| block_hash(offset(block), bytes)).collect();
        for hash in hashes {
            // Succeeds: only whole blocks precede it.
            hasher.append(hash);
        }
        hasher.update(rest);
        progress(hasher.length());
        if next.is_empty() {
            return Ok(hasher.finish());
        }
        std::mem::swap(&mut piece, &mut next);
    }
}

/// The bytes for one attempt of a put.
pub(super) enum OfferedBytes {
    /// All of a small blob.
    Whole(Bytes),
    Pieces(Pieces),
}

/// Called with the resume offset, 0 for a stream. Returns a channel of the bytes from there on, in pieces of [`MAX_CHUNK`]; only the
/// last piece may be shorter. An error is the last item.
pub(super) type Pieces = Box<dyn FnOnce(u64) -> mpsc::Receiver<io::Result<Bytes>> + Send>;

/// The bytes to put, with their digest if they can be read more than once.
pub struct Offer {
    pub(super) source: session::Source,
    pub(super) outline: Option<Outline>,
    bytes: ByteSource,
}

/// Where the next attempt reads the bytes.
enum ByteSource {
    Memory(Bytes),
    File(Source),
    /// Standard input, a pipe or a device. It is opened and read once: its writer would notice a second reader.
    Once(Option<Box<dyn Read + Send>>),
    /// Nowhere: the members hold them, so many.
    Held(u64),
}

impl Offer {
    /// Hashes a file. A file of at most [`MAX_BLOB`] bytes stays in memory. A stream is not read here: its digest and length are declared
    /// after its last byte.
    ///
    /// # Errors
    /// The source cannot be read.
    pub async fn of(host: &Host, source: Source, progress: impl Fn(PutProgress) + Send + 'static) -> io::Result<Self> {
        let hashed = host.spawn_blocking(move || {
            let (mut reader, length) = source.open()?;
            if length.is_none() {
                return Ok(Self {
                    source: session::Source::Streamed,
                    outline: None,
                    bytes: ByteSource::Once(Some(reader)),
                });
            }
            if length.is_some_and(|length| length <= MAX_BLOB as u64) {
                let mut bytes = Vec::new();
                // One more byte shows that the file has grown.
                reader.take(MAX_BLOB as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() <= MAX_BLOB {
                    let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
                    progress(PutProgress::Offered(digest, length));
                    let source = session::Source::Known { digest, length };
                    return Ok(Self { source, outline: None, bytes: ByteSource::Memory(bytes.into()) });
                }
                reader = source.open()?.0;
            }
            let (digest, outline) = hash(&mut reader, |done| progress(PutProgress::Hashed(done)))?;
            let length = outline.length();
            progress(PutProgress::Offered(digest, length));
            let known = session::Source::Known { digest, length };
            Ok(Self { source: known, outline: Some(outline), bytes: ByteSource::File(source) })
        });
        hashed.await.map_err(io::Error::other)?
    }

    /// Bytes in memory.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        let mut hasher = OutlineHasher::new();
        hasher.update(&bytes);
        let (digest, outline) = hasher.finish();
        let source = session::Source::Known { digest, length: outline.length() };
        Self { source, outline: Some(outline), bytes: ByteSource::Memory(bytes) }
    }

    /// Bytes that the members hold, and this end does not.
    pub(super) fn of_held(digest: Digest, length: u64) -> Self {
        let source = session::Source::Known { digest, length };
        Self { source, outline: None, bytes: ByteSource::Held(length) }
    }

    /// The bytes for one attempt; `None` if they can be read only once and were read.
    pub(super) fn content(&mut self, host: &Host) -> Option<OfferedBytes> {
        let host = host.clone();
        let pieces: Pieces = match &mut self.bytes {
            ByteSource::Memory(bytes) if bytes.len() <= MAX_BLOB => return Some(OfferedBytes::Whole(bytes.clone())),
            ByteSource::Memory(bytes) => {
                let bytes = bytes.clone();
                Box::new(move |offset| {
                    let offset = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                    pieces(&host, move || Ok(io::Cursor::new(bytes.slice(offset..))), MAX_CHUNK)
                })
            }
            ByteSource::File(source) => {
                let source = source.clone();
                Box::new(move |offset| pieces(&host, move || source.open_at(offset), MAX_CHUNK))
            }
            ByteSource::Held(length) => {
                let length = *length;
                Box::new(move |offset| {
                    let (missing, none) = mpsc::channel(1);
                    if offset < length {
                        let text = "the members do not hold all of its bytes any more; put the file again";
                        // Has room: nothing was sent before.
                        let _ = missing.try_send(Err(io::Error::new(io::ErrorKind::NotFound, text)));
                    }
                    none
                })
            }
            ByteSource::Once(reader) => {
                let reader = reader.take()?;
                Box::new(move |_| pieces(&host, move || Ok(reader), MAX_CHUNK))
            }
        };
        Some(OfferedBytes::Pieces(pieces))
    }

    /// The digest, if it is known before the bytes are sent.
    pub fn digest(&self) -> Option<Digest> {
        match self.source {
            session::Source::Known { digest, .. } => Some(digest),
            session::Source::Streamed => None,
        }
    }

    /// Whether the bytes could be read only once and were, so that no further attempt is possible.
    pub fn is_spent(&self) -> bool {
        matches!(self.bytes, ByteSource::Once(None))
    }
}
