//! The trouble of a member, as `/readyz` reports it.

use std::fmt;

/// Trouble that keeps a member from taking part in puts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The member is not connected.
    Missing,
    /// Its storage failed. The member's text.
    StorageFailed(String),
    /// Its clock is in doubt, so it signs nothing. The member's text.
    ClockInDoubt(String),
    /// It takes bytes more slowly than a quorum.
    Lagging,
    /// It stored or voted later than a quorum.
    Late,
}

impl Trouble {
    /// Whether the member cannot store and vote at all.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Missing | Self::StorageFailed(_) | Self::ClockInDoubt(_))
    }

    /// The word for a member without trouble.
    pub const NONE: &'static str = "well";
    /// The words for all kinds of trouble.
    pub const WORDS: [&'static str; 5] = ["missing", "storage-failed", "clock-in-doubt", "lagging", "late"];

    /// One word for programs, one of [`WORDS`](Self::WORDS).
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

/// A text that follows the member's name.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_has_its_word() {
        let why = String::new;
        let all = [
            Trouble::Missing,
            Trouble::StorageFailed(why()),
            Trouble::ClockInDoubt(why()),
            Trouble::Lagging,
            Trouble::Late,
        ];
        assert_eq!(all.map(|trouble| trouble.word()), Trouble::WORDS);
    }
}
