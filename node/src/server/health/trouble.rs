//! What `/readyz` says of a member.

use std::fmt;

/// What keeps a member from taking part in puts as the others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Trouble {
    Missing,
    /// What it said.
    StorageFailed(String),
    /// What it said.
    ClockInDoubt(String),
    Lagging,
    Late,
}

impl Trouble {
    /// Whether a put cannot count on the member.
    pub(in crate::server) fn is_fatal(&self) -> bool {
        matches!(self, Self::Missing | Self::StorageFailed(_) | Self::ClockInDoubt(_))
    }

    /// One word for programs.
    pub(in crate::server) fn word(&self) -> &'static str {
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
