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

/// Bytes hashed at a time; enough for every core to get its share.
const HASH_PIECE: usize = 4 << 20;

/// Hashes a file on all cores; gives its digest, and the outline that its blocks are proved with.
///
/// # Errors
/// It cannot be read.
pub fn hash(reader: &mut dyn Read, mut progress: impl FnMut(u64)) -> io::Result<(Digest, Outline)> {
    let mut hasher = OutlineHasher::new();
    let mut piece = Vec::with_capacity(HASH_PIECE);
    let mut next = Vec::with_capacity(HASH_PIECE);
    reader.take(HASH_PIECE as u64).read_to_end(&mut piece)?;
    loop {
        next.clear();
        // the blob's last block is hashed as such
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
            // only whole blocks came before
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

/// The bytes of a put, for one attempt.
pub(super) enum Content {
    /// All of a small blob.
    Whole(Bytes),
    Pieces(Pieces),
}

/// Called with the resume offset, 0 for a stream: starts a flow of the bytes from there on, in pieces of [`MAX_CHUNK`] with a shorter
/// last one. An error is the last item.
pub(super) type Pieces = Box<dyn FnOnce(u64) -> mpsc::Receiver<io::Result<Bytes>> + Send>;

/// A source whose bytes are hashed, if they can be read more than once.
pub struct Offer {
    pub(super) source: session::Source,
    pub(super) outline: Option<Outline>,
    bytes: Kept,
}

/// Where the bytes are for the next attempt.
enum Kept {
    Memory(Bytes),
    File(Source),
    /// Standard input, a pipe or a device is opened once and read once: whoever writes to it would notice a second reader.
    Once(Option<Box<dyn Read + Send>>),
}

impl Offer {
    /// Hashes a file before it is offered, and a small one is read for good; a stream declares what it was at its end.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn of(host: &Host, source: Source, progress: impl Fn(PutProgress) + Send + 'static) -> io::Result<Self> {
        let hashed = host.spawn_blocking(move || {
            let (mut reader, length) = source.open()?;
            if length.is_none() {
                return Ok(Self { source: session::Source::Streamed, outline: None, bytes: Kept::Once(Some(reader)) });
            }
            if length.is_some_and(|length| length <= MAX_BLOB as u64) {
                let mut bytes = Vec::new();
                // one byte more tells that it grew meanwhile
                reader.take(MAX_BLOB as u64 + 1).read_to_end(&mut bytes)?;
                if bytes.len() <= MAX_BLOB {
                    let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
                    progress(PutProgress::Offered(digest, length));
                    let source = session::Source::Known { digest, length };
                    return Ok(Self { source, outline: None, bytes: Kept::Memory(bytes.into()) });
                }
                reader = source.open()?.0;
            }
            let (digest, outline) = hash(&mut reader, |done| progress(PutProgress::Hashed(done)))?;
            let length = outline.length();
            progress(PutProgress::Offered(digest, length));
            let known = session::Source::Known { digest, length };
            Ok(Self { source: known, outline: Some(outline), bytes: Kept::File(source) })
        });
        hashed.await.map_err(io::Error::other)?
    }

    /// Bytes in memory.
    pub(super) fn of_bytes(bytes: Bytes) -> Self {
        let mut hasher = OutlineHasher::new();
        hasher.update(&bytes);
        let (digest, outline) = hasher.finish();
        let source = session::Source::Known { digest, length: outline.length() };
        Self { source, outline: Some(outline), bytes: Kept::Memory(bytes) }
    }

    /// The bytes for one attempt; `None` if they can be read only once, and were.
    pub(super) fn content(&mut self, host: &Host) -> Option<Content> {
        let host = host.clone();
        let pieces: Pieces = match &mut self.bytes {
            Kept::Memory(bytes) if bytes.len() <= MAX_BLOB => return Some(Content::Whole(bytes.clone())),
            Kept::Memory(bytes) => {
                let bytes = bytes.clone();
                Box::new(move |offset| {
                    let offset = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
                    pieces(&host, move || Ok(io::Cursor::new(bytes.slice(offset..))), MAX_CHUNK)
                })
            }
            Kept::File(source) => {
                let source = source.clone();
                Box::new(move |offset| pieces(&host, move || source.open_at(offset), MAX_CHUNK))
            }
            Kept::Once(reader) => {
                let reader = reader.take()?;
                Box::new(move |_| pieces(&host, move || Ok(reader), MAX_CHUNK))
            }
        };
        Some(Content::Pieces(pieces))
    }

    /// The digest, where it is known before the bytes are sent.
    pub fn digest(&self) -> Option<Digest> {
        match self.source {
            session::Source::Known { digest, .. } => Some(digest),
            session::Source::Streamed => None,
        }
    }

    /// Whether there can be no second attempt.
    pub fn is_once(&self) -> bool {
        matches!(self.bytes, Kept::Once(_))
    }
}
