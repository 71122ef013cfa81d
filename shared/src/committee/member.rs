//! A member of a committee, and its name.

use std::fmt;

use crate::bls::VoteKey;
use crate::codec::DecodeError;
use crate::comparison::Quoted;
use crate::link::NodeKey;

/// A member's name: 1 to 24 bytes of UTF-8 without control characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberName([u8; 24]);

impl MemberName {
    /// Maximum size of a name in bytes.
    pub const MAX_SIZE: usize = 24;

    /// Checks a name.
    ///
    /// # Errors
    /// [`DecodeError::BadText`] if the name is empty, too long or has a control character.
    pub fn new(name: &str) -> Result<Self, DecodeError> {
        let mut padded = [0; Self::MAX_SIZE];
        let Some(start) = padded.get_mut(..name.len()) else {
            return Err(bad_name("at most 24 bytes long", format!("{} bytes", name.len())));
        };
        start.copy_from_slice(name.as_bytes());
        Self::decode(padded)
    }

    pub(crate) fn decode(padded: [u8; 24]) -> Result<Self, DecodeError> {
        let size = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let name = std::str::from_utf8(&padded[..size])
            .map_err(|error| bad_name("in UTF-8", format!("another byte at {}", error.valid_up_to())))?;
        if name.is_empty() {
            return Err(bad_name("of at least one character", "none".into()));
        }
        if let Some(control) = name.chars().find(|c| c.is_control()) {
            return Err(bad_name("without control characters", Quoted(control.encode_utf8(&mut [0; 4])).to_string()));
        }
        Ok(Self(padded))
    }

    pub(crate) fn encode(&self) -> [u8; 24] {
        self.0
    }

    /// The name without its padding.
    pub fn as_str(&self) -> &str {
        let size = self.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        // Valid UTF-8: `decode`, the only constructor, has checked it.
        std::str::from_utf8(&self.0[..size]).unwrap_or_default()
    }
}

fn bad_name(expected: &'static str, got: String) -> DecodeError {
    DecodeError::BadText { field: "member name", expected, got }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// A replica's entry in a committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The key that authenticates the replica's links.
    pub node_key: NodeKey,
    /// The key that signs the replica's votes.
    pub vote_key: VoteKey,
    /// The replica's name for people. It need not be unique.
    pub name: MemberName,
}
