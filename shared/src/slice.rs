//! Slices of a blob with their proofs, for clients that verify what they get over plain HTTP: `application/vnd.vouch.slice`.
//!
//! The specification describes the layout under "HTTP". The reader trusts nothing: it verifies each slice on its own, the
//! first one proves the blob's length, and the others must cover the range in order.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::Digest;
use crate::message::MAX_CHUNK;
use crate::tree::{self, MAX_PROOF, Parent, TreeError};

/// The media type of a body of slices.
pub const MEDIA_TYPE: &str = "application/vnd.vouch.slice";

/// Bytes of the head.
const HEAD: usize = 8 + 8 + 8;
/// Bytes of a slice before its parents.
const SLICE: usize = 8 + 4 + 1;

/// A run of whole groups of a blob with its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The slice's offset in the blob.
    pub offset: u64,
    /// The proof, for [`tree::verify`].
    pub proof: Vec<Parent>,
    /// The slice's bytes, at most [`MAX_CHUNK`].
    pub bytes: Bytes,
}

impl Slice {
    /// The encoding of everything before the slice's bytes.
    pub fn encode_head(&self) -> Bytes {
        let mut head = BytesMut::with_capacity(SLICE + Parent::SIZE * self.proof.len());
        head.extend_from_slice(&self.offset.to_le_bytes());
        // Both numbers are bounded when a chunk is decoded.
        head.extend_from_slice(&u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        head.extend_from_slice(&[u8::try_from(self.proof.len()).unwrap_or(u8::MAX)]);
        self.proof.iter().for_each(|parent| head.extend_from_slice(&parent.0));
        head.freeze()
    }
}

/// The head of a body of slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The blob's length.
    pub length: u64,
    /// The range of the blob that the body's slices cover.
    pub range: Range<u64>,
}

impl Head {
    /// The encoded head, with which the body begins.
    pub fn encode(&self) -> Bytes {
        let Self { length, range } = self;
        Bytes::from([length.to_le_bytes(), range.start.to_le_bytes(), range.end.to_le_bytes()].concat())
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let length = reader.safe_u64("length")?;
        let start = reader.safe_u64("start")?;
        let end = reader.safe_u64("end")?;
        reader.finish()?;
        in_range("end", end, 0, length)?;
        in_range("start", start, 0, end)?;
        Ok(Self { length, range: start..end })
    }
}

/// Why a body of slices is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SliceError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// The bytes or the proof are not the blob's.
    Tree(#[from] TreeError),
    /// The head names a length that is not the known one.
    AnotherLength {
        /// The length known beforehand.
        expected: u64,
        /// The length in the head.
        got: u64,
    },
    /// The head names a range that is not the requested one.
    AnotherRange {
        /// The requested range.
        expected: Range<u64>,
        /// The range in the head.
        got: Range<u64>,
    },
    /// The first slice does not reach the blob's end that the head names, so nothing proves the length.
    NoEnd {
        /// The length in the head.
        length: u64,
        /// The end of the slice.
        end: u64,
    },
    /// A slice is not the next one of the range.
    OutOfOrder {
        /// The offset of the next slice.
        expected: u64,
        /// The offset of this slice.
        got: u64,
    },
    /// Bytes follow the last slice.
    Trailing(usize),
    /// The body ends before the range does.
    Truncated {
        /// The end of the range; 0 if the head is missing.
        expected: u64,
        /// The end of the verified bytes.
        got: u64,
    },
}

impl SliceError {
    /// What the body must have at this point, and what it has.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("slice"),
            Self::Tree(error) => error.comparison().within("slice"),
            Self::AnotherLength { expected, got } => Comparison::new(&"length of the blob", expected, got),
            Self::AnotherRange { expected, got } => {
                let expected = format_args!("the bytes {expected:?}");
                Comparison::new(&"range of the body", &expected, &format_args!("{got:?}"))
            }
            Self::NoEnd { length, end } => {
                Comparison::new(&"the first slice", &format_args!("the blob's end at {length}"), end)
            }
            Self::OutOfOrder { expected, got } => {
                Comparison::new(&"slice", &format_args!("the bytes at {expected}"), &format_args!("those at {got}"))
            }
            Self::Trailing(count) => {
                Comparison::new(&"slices", &"the end of the body", &format_args!("{count} bytes more"))
            }
            Self::Truncated { expected, got } => {
                let expected = format_args!("the bytes up to {expected}");
                Comparison::new(&"slices", &expected, &format_args!("those up to {got}"))
            }
        }
    }
}

display_comparison!(SliceError);

/// Reads a body in pieces of any size, and returns the verified bytes of the range.
#[derive(Debug)]
pub struct SliceReader {
    digest: Digest,
    /// The required head, if it is known beforehand.
    expected: Option<Head>,
    head: Option<Head>,
    /// Whether a slice has proved the length.
    is_length_proved: bool,
    /// The range is verified up to this offset, which is the end of a whole group.
    position: u64,
    /// Bytes not decoded yet: at most a head or a slice, and the bytes passed together with its last byte.
    pending: BytesMut,
}

impl SliceReader {
    /// A reader that accepts any length and range.
    pub fn new(digest: Digest) -> Self {
        Self { digest, expected: None, head: None, is_length_proved: false, position: 0, pending: BytesMut::new() }
    }

    /// A reader that accepts only this length and this range.
    pub fn expecting(digest: Digest, expected: Head) -> Self {
        Self { expected: Some(expected), ..Self::new(digest) }
    }

    /// The head, once the length is verified.
    pub fn verified_head(&self) -> Option<&Head> {
        self.head.as_ref().filter(|_| self.is_length_proved)
    }

    /// Whether every byte of the range was returned.
    pub fn is_done(&self) -> bool {
        self.verified_head().is_some_and(|head| self.position >= head.range.end)
    }

    /// Takes the next bytes of the body. Returns the bytes of the range that are verified with them.
    ///
    /// # Errors
    /// See [`SliceError`]. The caller must not use the reader after an error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Bytes>, SliceError> {
        self.pending.extend_from_slice(bytes);
        let mut ready = Vec::new();
        loop {
            if self.is_done() {
                return match self.pending.len() {
                    0 => Ok(ready),
                    more => Err(SliceError::Trailing(more)),
                };
            }
            let Some(head) = self.head.clone() else {
                if self.pending.len() < HEAD {
                    return Ok(ready);
                }
                let head = self.pending.split_to(HEAD);
                self.begin(Head::decode(&head)?)?;
                continue;
            };
            let Some(slice) = self.next_slice()? else { return Ok(ready) };
            ready.extend(self.take(&head, &slice)?);
        }
    }

    /// Checks, at the end of the body, that it is complete.
    ///
    /// # Errors
    /// [`SliceError::Truncated`] if bytes of the range are missing.
    pub fn finish(&self) -> Result<(), SliceError> {
        if self.is_done() {
            return Ok(());
        }
        let expected = self.head.as_ref().map_or(0, |head| head.range.end);
        Err(SliceError::Truncated { expected, got: self.position })
    }

    fn begin(&mut self, head: Head) -> Result<(), SliceError> {
        if let Some(expected) = &self.expected {
            if expected.length != head.length {
                return Err(SliceError::AnotherLength { expected: expected.length, got: head.length });
            }
            if expected.range != head.range {
                return Err(SliceError::AnotherRange { expected: expected.range.clone(), got: head.range });
            }
        }
        if head.length == 0 {
            // An empty blob has no slice: its digest proves the length.
            tree::verify(&self.digest, 0, 0, &[], &[])?;
            self.is_length_proved = true;
        }
        self.position = tree::widen_to_groups(&head.range, head.length).start;
        self.head = Some(head);
        Ok(())
    }

    /// Decodes the next slice; `None` until all its bytes have arrived.
    fn next_slice(&mut self) -> Result<Option<Slice>, SliceError> {
        if self.pending.len() < SLICE {
            return Ok(None);
        }
        let mut reader = Reader::new(&self.pending);
        let offset = reader.safe_u64("offset")?;
        let size = reader.u32("size")?;
        let parents = reader.u8("number of parents")?;
        // Check the sizes before waiting for more bytes: this bounds `pending`.
        in_range("size", size.into(), 1, MAX_CHUNK as u64)?;
        in_range("number of parents", parents.into(), 0, MAX_PROOF as u64)?;
        let (proof, size) = (Parent::SIZE * usize::from(parents), size as usize);
        if self.pending.len() < SLICE + proof + size {
            return Ok(None);
        }
        let mut slice = self.pending.split_to(SLICE + proof + size).freeze();
        let bytes = slice.split_off(SLICE + proof);
        let proof = slice[SLICE..].as_chunks().0.iter().copied().map(Parent).collect();
        Ok(Some(Slice { offset, proof, bytes }))
    }

    /// Verifies a slice. Returns its bytes that belong to the range.
    fn take(&mut self, head: &Head, slice: &Slice) -> Result<Option<Bytes>, SliceError> {
        let Head { length, range } = head;
        let Slice { offset, proof, bytes } = slice;
        let end = offset.saturating_add(bytes.len() as u64);
        if !self.is_length_proved && end != *length {
            return Err(SliceError::NoEnd { length: *length, end });
        }
        // The first slice may be there only to prove the length.
        if self.is_length_proved && *offset != self.position {
            return Err(SliceError::OutOfOrder { expected: self.position, got: *offset });
        }
        tree::verify(&self.digest, *length, *offset, bytes, proof)?;
        self.is_length_proved = true;
        if *offset != self.position {
            return Ok(None);
        }
        self.position = end;
        let within = |at: u64| usize::try_from(at.clamp(*offset, end) - offset).unwrap_or(bytes.len());
        Ok(Some(bytes.slice(within(range.start)..within(range.end))))
    }
}
