//! What the rules of access say.

use std::fmt;

use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::MemberName;
use crate::limits::MAX_SAFE_INTEGER;

/// In place of a limit or an expiry: there is none.
pub const NO_LIMIT: u64 = u64::MAX;

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Who {
    /// Everybody who can reach a server.
    #[default]
    Anyone = 0,
    /// Holders of tokens.
    Tokens = 1,
}

/// Who may put and who may read. Before any decision: anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Who may put.
    pub put: Who,
    /// Who may read.
    pub read: Who,
}

/// What a token may do, beyond what anyone may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// A name for people.
    pub name: MemberName,
    /// The largest blob in bytes; [`NO_LIMIT`] for any.
    pub largest: u64,
    /// Bytes per second that its puts may have on average; [`NO_LIMIT`] for any.
    pub rate: u64,
    /// Bytes that it may have stored at the same time; [`NO_LIMIT`] for any.
    pub quota: u64,
    /// From when on it counts for nothing, in seconds since 1970; [`NO_LIMIT`] for never.
    pub expires_at: u64,
}

impl fmt::Display for Who {
    /// For people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anyone => "anyone",
            Self::Tokens => "holders of tokens",
        })
    }
}

impl Who {
    /// The word in options and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Tokens => "tokens",
        }
    }

    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        Ok(if reader.flag(field)? { Self::Tokens } else { Self::Anyone })
    }
}

impl Rules {
    /// Appends the encoding, 2 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend([self.put as u8, self.read as u8]);
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { put: Who::read(reader, "who may put")?, read: Who::read(reader, "who may read")? })
    }
}

impl Grant {
    /// Whether the token counts for nothing any more.
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at != NO_LIMIT && self.expires_at <= now
    }

    /// Appends the encoding, 56 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name.encode());
        for number in [self.largest, self.rate, self.quota, self.expires_at] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads the encoding.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = MemberName::decode(reader.array("name of a token")?)?;
        let largest = read_limit(reader, "largest blob")?;
        let rate = read_limit(reader, "rate")?;
        // a token with a rate of 0 could put nothing, and nobody could tell when it may
        in_range("rate", rate, 1, NO_LIMIT)?;
        let quota = read_limit(reader, "quota")?;
        Ok(Self { name, largest, rate, quota, expires_at: read_limit(reader, "expiry of a token")? })
    }
}

fn read_limit(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, DecodeError> {
    let limit = reader.u64(field)?;
    if limit != NO_LIMIT {
        in_range(field, limit, 0, MAX_SAFE_INTEGER)?;
    }
    Ok(limit)
}
