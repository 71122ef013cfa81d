//! What `/readyz` says of a member.

use std::fmt;

/// What keeps a member from taking part in puts as the others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is not connected.
    Missing,
    /// Its storage failed; what it said.
    StorageFailed(String),
    /// It signs nothing, for its clock is in doubt; what it said.
    ClockInDoubt(String),
    /// It takes bytes more slowly than a quorum.
    Lagging,
    /// It stored or voted later than a quorum.
    Late,
}

impl Trouble {
    /// Whether a put cannot count on the member.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Missing | Self::StorageFailed(_) | Self::ClockInDoubt(_))
    }

    /// One word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::StorageFailed(_) => "storage-failed",
            Self::ClockInDoubt(_) => "clock-in-doubt",
            Self::Lagging => "lagging",
            Self::Late => "late",
        }
    }
}

/// What follows the member's name.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is not connected"),
            Self::StorageFailed(why) => write!(f, "is connected, but its storage failed: {why}"),
            Self::ClockInDoubt(why) => write!(f, "is connected, but signs nothing: {why}"),
            Self::Lagging => {
                f.write_str("takes bytes more slowly than a quorum and is left out of puts until it catches up")
            }
            Self::Late => f.write_str("was late for the last put or vote and is not waited for"),
        }
    }
}
