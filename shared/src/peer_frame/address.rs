//! Where a member accepts connections from other members.

use std::fmt;
use std::str::FromStr;

use crate::codec::{DecodeError, Reader, in_range};

const RULE: &str = "host:port of at most 255 bytes; letters, digits, and . - _ : [ ] % in the host; port 1 to 65535";

/// A host name or IP address with a port, such as `replica-1.example:9091` or `[::1]:9091`. A member chooses its own, so it has only
/// characters that cannot change the meaning of a URL or of a line of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberAddress(String);

impl MemberAddress {
    /// Maximum size in bytes.
    pub const MAX_SIZE: usize = 255;

    /// `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes the size, one byte, and the text. Nothing has the size 0.
    pub(super) fn write(address: Option<&Self>, out: &mut Vec<u8>) {
        let text = address.map_or("", Self::as_str);
        // Lossless: the parser is the only door, and refuses longer ones.
        out.extend(u8::try_from(text.len()));
        out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, DecodeError> {
        let size = reader.u8("address length")?;
        let bytes = reader.take("address", size.into())?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let bad =
            || DecodeError::BadText { field: "address", expected: RULE, got: base16ct::lower::encode_string(bytes) };
        std::str::from_utf8(bytes).map_err(|_| bad())?.parse().map(Some)
    }
}

impl fmt::Display for MemberAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MemberAddress {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        in_range("address length", text.len() as u64, 1, Self::MAX_SIZE as u64)?;
        let bad = || DecodeError::BadText {
            field: "address",
            expected: RULE,
            got: text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect(),
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:[]%".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(bad());
        }
        let number = port.parse::<u16>().map_err(|_| bad())?;
        // Otherwise one address has several texts: `+1` and `01` parse, too.
        if number == 0 || number.to_string() != port {
            return Err(bad());
        }
        Ok(Self(text.to_owned()))
    }
}
