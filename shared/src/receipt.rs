//! A receipt: what one client asked to have stored. It is a leaf of a batch's tree. What each member must hold for it follows from its
//! kind; the module `placement` decides that.

use crate::codec::{DecodeError, Reader, in_range};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::Digest;
use crate::limits::MAX_SAFE_INTEGER;

/// The value of `expires_at` for a blob that never expires.
pub const NEVER: u64 = u64::MAX;

/// What a receipt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReceiptKind {
    /// All bytes of a blob.
    WholeBlob = 1,
}

/// A receipt, 65 bytes encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// Random bytes chosen by the client, so that another receipt's path reveals nothing about this file.
    pub salt: [u8; 16],
    /// The blob's plain BLAKE3 hash.
    pub digest: Digest,
    /// The blob's length in bytes, at most 2^53 − 1.
    pub length: u64,
    /// Seconds since 1970; [`NEVER`], or at most 2^53 − 1.
    pub expires_at: u64,
}

/// Why bytes are not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The bytes do not follow the layout.
    Decode(#[from] DecodeError),
    /// An unknown kind: the rest cannot be decoded.
    UnknownKind(u8),
}

impl ReceiptError {
    /// What the format requires, and what the bytes have instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Decode(error) => error.comparison().within("receipt"),
            Self::UnknownKind(got) => Comparison::new(&"receipt kind", &(ReceiptKind::WholeBlob as u8), got),
        }
    }
}

display_comparison!(ReceiptError);

impl Receipt {
    /// Bytes of the encoding.
    pub const SIZE: usize = 65;

    /// What the receipt is about.
    pub fn kind(&self) -> ReceiptKind {
        ReceiptKind::WholeBlob
    }

    /// The canonical encoding.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[0] = self.kind() as u8;
        out[1..17].copy_from_slice(&self.salt);
        out[17..49].copy_from_slice(&self.digest.0);
        out[49..57].copy_from_slice(&self.length.to_le_bytes());
        out[57..65].copy_from_slice(&self.expires_at.to_le_bytes());
        out
    }

    /// Decodes exactly one receipt.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let mut reader = Reader::new(bytes);
        let receipt = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(receipt)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ReceiptError> {
        let kind = reader.u8("receipt kind")?;
        if kind != ReceiptKind::WholeBlob as u8 {
            return Err(ReceiptError::UnknownKind(kind));
        }
        let salt = reader.array("salt")?;
        let digest = Digest(reader.array("digest")?);
        let length = reader.safe_u64("length")?;
        let expires_at = reader.u64("expires_at")?;
        if expires_at != NEVER {
            in_range("expires_at", expires_at, 0, MAX_SAFE_INTEGER)?;
        }
        Ok(Self { salt, digest, length, expires_at })
    }

    /// Whether the receipt has expired at `now`: replicas then need no longer keep the blob.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at != NEVER && self.expires_at <= now
    }
}
