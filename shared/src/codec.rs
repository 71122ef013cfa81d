//! Strict decoding of fixed layouts. Every read names its field, no bytes may be left over, and no allocation exceeds the
//! input's length.

use std::collections::BinaryHeap;

use thiserror::Error;

use crate::comparison::{Comparison, display_comparison};
use crate::limits::MAX_SAFE_INTEGER;

/// Why bytes are not the encoding of a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ends inside a field.
    Truncated {
        /// The field that could not be read.
        field: &'static str,
        /// The field's offset.
        offset: usize,
        /// The field's size in bytes.
        expected: usize,
        /// The number of bytes left in the input.
        got: usize,
    },
    /// Bytes follow the last field.
    Trailing {
        /// The length of the value's encoding.
        expected: usize,
        /// The length of the input.
        got: usize,
    },
    /// A constant has a wrong value.
    WrongTag {
        /// The constant's name.
        field: &'static str,
        /// The constant, in hex.
        expected: String,
        /// The input, in hex.
        got: String,
    },
    /// A number is outside its range.
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The least value allowed.
        min: u64,
        /// The greatest value allowed.
        max: u64,
        /// The value found.
        got: u64,
    },
    /// A text is not well formed.
    BadText {
        /// The field.
        field: &'static str,
        /// The rule that the text must follow.
        expected: &'static str,
        /// The text, or what is wrong with it.
        got: String,
    },
}

display_comparison!(DecodeError);

impl DecodeError {
    /// What the format requires, and what the input has instead.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Truncated { field, offset, expected, got } => {
                Comparison::new(field, &format_args!("{expected} bytes at offset {offset}"), got)
            }
            Self::Trailing { expected, got } => {
                Comparison::new(&"trailing bytes", &format_args!("{expected} bytes in all"), got)
            }
            Self::WrongTag { field, expected, got } => Comparison::new(field, expected, got),
            Self::OutOfRange { field, min, max, got } if min == max => Comparison::new(field, min, got),
            Self::OutOfRange { field, min, max, got } => Comparison::new(field, &format_args!("{min} to {max}"), got),
            Self::BadText { field, expected, got } => Comparison::new(field, expected, got),
        }
    }
}

/// Reads fields from bytes, front to back.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The next `size` bytes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn take(&mut self, field: &'static str, size: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        let Some(taken) = rest.get(..size) else {
            return Err(DecodeError::Truncated { field, offset: self.offset, expected: size, got: rest.len() });
        };
        self.offset += size;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    /// One byte, 0 or 1.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        let flag = self.u8(field)?;
        in_range(field, flag.into(), 0, 1)?;
        Ok(flag == 1)
    }

    /// Two bytes, little-endian.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    /// Four bytes, little-endian.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    /// Eight bytes, little-endian.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    /// A length, time or epoch: at most [`MAX_SAFE_INTEGER`].
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn safe_u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        let got = self.u64(field)?;
        in_range(field, got, 0, MAX_SAFE_INTEGER)?;
        Ok(got)
    }

    /// A constant.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn tag(&mut self, field: &'static str, expected: &[u8]) -> Result<(), DecodeError> {
        let got = self.take(field, expected.len())?;
        same(field, expected, got)
    }

    /// The number of bytes that are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        self.offset = self.bytes.len();
        rest
    }

    /// Checks that no byte is left.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.offset == self.bytes.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { expected: self.offset, got: self.bytes.len() })
        }
    }
}

/// The positions of two equal values, if there are any; of several pairs, those of the least value.
pub(crate) fn first_repeated<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<(usize, usize)> {
    // A heap sorts with a tenth of the code of `sort_unstable`, which each wasm module would carry.
    let sorted = values.zip(0..).collect::<BinaryHeap<_>>().into_sorted_vec();
    let pair = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0)?;
    Some((pair[0].1, pair[1].1))
}

/// Checks that bytes are the required constant.
///
/// # Errors
/// [`DecodeError::WrongTag`].
pub fn same(field: &'static str, expected: &[u8], got: &[u8]) -> Result<(), DecodeError> {
    if got == expected {
        return Ok(());
    }
    let hex = base16ct::lower::encode_string;
    Err(DecodeError::WrongTag { field, expected: hex(expected), got: hex(got) })
}

/// Appends the number of entries of a list, or of bytes, as 4 bytes.
pub fn write_count(out: &mut Vec<u8>, count: usize) {
    // Cannot saturate: whatever is encoded has a limit far below.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Checks that a number is in its range.
///
/// # Errors
/// [`DecodeError::OutOfRange`].
pub fn in_range(field: &'static str, got: u64, min: u64, max: u64) -> Result<(), DecodeError> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(DecodeError::OutOfRange { field, min, max, got }) }
}
