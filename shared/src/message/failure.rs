//! Failures of requests and links.

use std::fmt;

use thiserror::Error;

use super::Stream;

/// Maximum size in bytes of the text in a [`Failed`].
pub const MAX_DETAIL: usize = 512;

/// Why a request or a link failed. The values are the numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names say it; the specification lists them")]
pub enum Code {
    Malformed = 1,
    Version = 2,
    AnotherCluster = 3,
    NotAuthenticated = 4,
    Unexpected = 5,
    TooLarge = 6,
    Busy = 7,
    NoCommittee = 8,
    NotEnoughReplicas = 9,
    DigestDiffers = 10,
    LengthDiffers = 11,
    NotFound = 12,
    NoSpace = 13,
    Storage = 14,
    TimedOut = 15,
    Cancelled = 16,
    Clock = 17,
    NotHeld = 18,
    Expired = 19,
    ShuttingDown = 20,
    NotAdmitted = 21,
    ClockInDoubt = 23,
    NewEpoch = 24,
}

impl Code {
    pub(crate) const ALL: [Self; 23] = [
        Self::Malformed,
        Self::Version,
        Self::AnotherCluster,
        Self::NotAuthenticated,
        Self::Unexpected,
        Self::TooLarge,
        Self::Busy,
        Self::NoCommittee,
        Self::NotEnoughReplicas,
        Self::DigestDiffers,
        Self::LengthDiffers,
        Self::NotFound,
        Self::NoSpace,
        Self::Storage,
        Self::TimedOut,
        Self::Cancelled,
        Self::Clock,
        Self::NotHeld,
        Self::Expired,
        Self::ShuttingDown,
        Self::NotAdmitted,
        Self::ClockInDoubt,
        Self::NewEpoch,
    ];

    /// The code as the specification names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed message",
            Self::Version => "unsupported version",
            Self::AnotherCluster => "another cluster",
            Self::NotAuthenticated => "not authenticated",
            Self::Unexpected => "unexpected message",
            Self::TooLarge => "too large",
            Self::Busy => "busy",
            Self::NoCommittee => "no committee yet",
            Self::NotEnoughReplicas => "not enough replicas",
            Self::DigestDiffers => "digest differs",
            Self::LengthDiffers => "length differs",
            Self::NotFound => "not found",
            Self::NoSpace => "no space",
            Self::Storage => "storage fault",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Clock => "clock out of range",
            Self::NotHeld => "not held",
            Self::Expired => "expired",
            Self::ShuttingDown => "shutting down",
            Self::NotAdmitted => "not admitted",
            Self::ClockInDoubt => "clock in doubt",
            Self::NewEpoch => "new epoch",
        }
    }

    /// The name as one word for programs: `not-enough-replicas`.
    pub fn slug(self) -> String {
        self.name().replace(' ', "-")
    }

    /// The code whose [`slug`](Self::slug) this is.
    pub fn of_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.slug() == slug)
    }

    /// Whether the same request may succeed a little later.
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::NoCommittee
                | Self::NotEnoughReplicas
                | Self::NoSpace
                | Self::TimedOut
                // The bytes were lost meanwhile; the next attempt sends them again.
                | Self::NotHeld
                | Self::ShuttingDown
                // The replica asks the other members again within seconds.
                | Self::ClockInDoubt
                // The next link shows the new committee.
                | Self::NewEpoch
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request or a link failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {detail}")]
pub struct Failed {
    /// The request or link that failed.
    pub stream: Stream,
    /// The reason.
    pub code: Code,
    /// The members or receipts concerned, depending on the code.
    pub subjects: Vec<u16>,
    /// A text for people: at most [`MAX_DETAIL`] bytes without control characters. Show it as text, never as markup.
    pub detail: String,
}

impl Failed {
    /// A failure without subjects. A longer detail is cut, and control characters become blanks.
    pub fn new(stream: Stream, code: Code, detail: impl Into<String>) -> Self {
        Self { stream, code, subjects: Vec::new(), detail: cut(detail.into()) }
    }

    /// Sets the members or receipts concerned.
    pub fn with_subjects(mut self, subjects: Vec<u16>) -> Self {
        self.subjects = subjects;
        self
    }
}

/// Cuts a text to [`MAX_DETAIL`] bytes and replaces control characters, so that decoding accepts it.
pub(super) fn cut(text: String) -> String {
    let mut text = text.replace(char::is_control, " ");
    while text.len() > MAX_DETAIL {
        text.pop();
    }
    text
}
