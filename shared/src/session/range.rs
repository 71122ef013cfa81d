//! A requested range of a blob, in the forms of HTTP (RFC 9110, section 14.1.2).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use thiserror::Error;

use crate::comparison::Quoted;

/// A range whose bounds may depend on a length that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `0-1023`: from the first byte to the last, both included. A last byte beyond the blob's end means the blob's last byte.
    Between {
        /// The first byte, from 0.
        first: u64,
        /// The last byte, not before the first.
        last: u64,
    },
    /// `500-`: from this byte to the end.
    From(u64),
    /// `-500`: the last 500 bytes, or the whole blob if it is shorter.
    Last(u64),
}

/// Why a text is not a range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseRangeError {
    /// The text has none of the three forms.
    #[error("expected START-END, START- or -COUNT in bytes, got {}", Quoted(.text))]
    Form {
        /// The text, cut after 80 characters.
        text: String,
    },
    /// The range ends before it begins.
    #[error("expected an end of at least {first}, got {last}; the first byte is 0, and the end is included")]
    Reversed {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
}

impl FromStr for ByteRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let form = || ParseRangeError::Form { text: text.chars().take(80).collect() };
        let (first, last) = text.split_once('-').ok_or_else(form)?;
        match (number(first).map_err(|()| form())?, number(last).map_err(|()| form())?) {
            (Some(first), Some(last)) if last < first => Err(ParseRangeError::Reversed { first, last }),
            (Some(first), Some(last)) => Ok(Self::Between { first, last }),
            (Some(first), None) => Ok(Self::From(first)),
            (None, Some(count)) => Ok(Self::Last(count)),
            (None, None) => Err(form()),
        }
    }
}

/// Accepts digits only. A number above 2^64 − 1 is read as 2^64 − 1: both lie beyond the end of every blob.
fn number(text: &str) -> Result<Option<u64>, ()> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    Ok((!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX)))
}

impl ByteRange {
    /// The range's bytes in a blob of this length, the end not included; `None` if the blob has none of them. In an empty blob,
    /// `-500` is the whole, empty blob.
    pub fn within(self, length: u64) -> Option<Range<u64>> {
        match self {
            Self::Between { first, last } => (first < length).then(|| first..last.saturating_add(1).min(length)),
            Self::From(first) => (first < length).then_some(first..length),
            Self::Last(count) => (count > 0).then(|| length.saturating_sub(count)..length),
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between { first, last } => write!(f, "{first}-{last}"),
            Self::From(first) => write!(f, "{first}-"),
            Self::Last(count) => write!(f, "-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_display_round_trip() {
        for (text, range) in [
            ("0-1023", ByteRange::Between { first: 0, last: 1023 }),
            ("7-7", ByteRange::Between { first: 7, last: 7 }),
            ("500-", ByteRange::From(500)),
            ("-500", ByteRange::Last(500)),
            ("-0", ByteRange::Last(0)),
        ] {
            assert_eq!(text.parse(), Ok(range));
            assert_eq!(range.to_string(), text);
        }
        assert_eq!("0-99999999999999999999".parse(), Ok(ByteRange::Between { first: 0, last: u64::MAX }));
    }

    #[test]
    fn malformed_ranges_are_rejected() {
        for text in ["", "-", "5", "--5", "1-2-3", "+1-2", " 1-2", "1-2 ", "0x1-2", "a-b", "1,2", "-1-2", "1.5-"] {
            assert_eq!(text.parse::<ByteRange>(), Err(ParseRangeError::Form { text: text.into() }));
        }
        assert_eq!("8-7".parse::<ByteRange>(), Err(ParseRangeError::Reversed { first: 8, last: 7 }));
        let Err(ParseRangeError::Form { text }) = "x".repeat(1000).parse::<ByteRange>() else { panic!() };
        assert_eq!(text.len(), 80);
    }

    #[test]
    fn ranges_are_clipped_to_the_blob() {
        let within = |text: &str, length| text.parse::<ByteRange>().unwrap().within(length);
        assert_eq!(within("0-0", 10), Some(0..1));
        assert_eq!(within("3-9", 10), Some(3..10));
        assert_eq!(within("3-10", 10), Some(3..10));
        assert_eq!(within("9-99999999999999999999", 10), Some(9..10));
        assert_eq!(within("10-10", 10), None);
        assert_eq!(within("9-", 10), Some(9..10));
        assert_eq!(within("10-", 10), None);
        assert_eq!(within("99999999999999999999-", 10), None);
        assert_eq!(within("-3", 10), Some(7..10));
        assert_eq!(within("-11", 10), Some(0..10));
        assert_eq!(within("-0", 10), None);
        assert_eq!(within("0-", 0), None);
        assert_eq!(within("-1", 0), Some(0..0));
    }
}
