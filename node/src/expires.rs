//! How long replicas must keep a file, as given on the command line and in a URL.

use std::str::FromStr;

use thiserror::Error;
use vouch_core::MAX_SAFE_INTEGER;
use vouch_core::receipt::NEVER;

/// How long a file must be kept: `30d`, `12h`, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// No expiry.
    Never,
    /// A number of seconds from now.
    After(u64),
}

/// Why a text is not an expiry.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ExpiresError {
    /// The text is not a duration.
    #[error("expected a duration such as 30d or 12h, or never ({0})")]
    Duration(#[from] humantime::DurationError),
    /// The duration is less than a second.
    #[error("expected at least one second")]
    Zero,
}

/// The expiry is later than a receipt can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too far in the future; use never")]
pub struct TooFar;

impl FromStr for Expires {
    type Err = ExpiresError;

    fn from_str(text: &str) -> Result<Self, ExpiresError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        match humantime::parse_duration(text)?.as_secs() {
            0 => Err(ExpiresError::Zero),
            seconds => Ok(Self::After(seconds)),
        }
    }
}

impl Expires {
    /// A receipt's `expires_at`. `now`: seconds since 1970.
    ///
    /// # Errors
    /// [`TooFar`].
    pub fn at(self, now: u64) -> Result<u64, TooFar> {
        match self {
            Self::Never => Ok(NEVER),
            Self::After(seconds) => now.checked_add(seconds).filter(|time| *time <= MAX_SAFE_INTEGER).ok_or(TooFar),
        }
    }
}
