//! A session's error in the form that Node.js and the page show.

use serde::Serialize;

use super::{Fault, SessionError};
use crate::slice::SliceError;
use crate::tree::TreeError;
use crate::verify::{Stop, Verdict, expected_and_got};

/// What kind of failure ended a put or a get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The server made no progress in time.
    Connection,
    /// The server, or a replica through it, refused the request.
    Refused,
    /// A check of what the server sent failed: the caller must not rely on any of it.
    Invalid,
    /// The server broke the protocol of this version.
    Protocol,
    /// The file changed while it was read.
    Source,
    /// The requested range lies outside the blob.
    Range,
    /// No replica holds the blob.
    NotFound,
    /// Every holder of the blob failed.
    Exhausted,
}

/// Why a put or a get ended without its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The kind of failure.
    pub code: Kind,
    /// For [`Kind::Refused`]: the protocol's code as one word.
    pub reason: Option<String>,
    /// For [`Kind::Invalid`]: the check that failed, named as in reports, or `link` for the proof of the server's node key.
    pub check: Option<&'static str>,
    /// The expected value, if the failure is a comparison.
    pub expected: Option<String>,
    /// The value received, if the failure is a comparison.
    pub got: Option<String>,
    /// Names of the members concerned. Untrusted text.
    pub members: Vec<String>,
    /// Whether the same request may succeed later.
    pub can_retry: bool,
    /// What the failure means for another try.
    pub fault: Fault,
    /// One sentence for people, with what to do next. It may quote the server, so show it as text, never as markup.
    pub message: String,
}

impl From<&SessionError> for Failure {
    fn from(error: &SessionError) -> Self {
        let plain = |code, can_retry| Self {
            code,
            reason: None,
            check: None,
            expected: None,
            got: None,
            members: Vec::new(),
            can_retry,
            fault: Fault::from(error),
            message: error.to_string(),
        };
        let invalid_with = |check, (expected, got)| Self {
            check: Some(check),
            expected: Some(expected),
            got: Some(got),
            ..plain(Kind::Invalid, false)
        };
        let invalid = |check| invalid_with(check, expected_and_got(&error.to_string()));
        let compared = |code, can_retry| {
            let (expected, got) = expected_and_got(&error.to_string());
            Self { expected: Some(expected), got: Some(got), ..plain(code, can_retry) }
        };
        match error {
            SessionError::Malformed(_) => plain(Kind::Protocol, false),
            SessionError::Unexpected { .. } | SessionError::BadOffset { .. } => compared(Kind::Protocol, false),
            SessionError::Auth(_) => invalid("link"),
            SessionError::AnotherCluster { .. } => invalid("identity"),
            SessionError::Committee(reason) => {
                let verdict = Verdict::from(Stop::from(reason.clone()));
                verdict.check().map_or_else(|| plain(Kind::Invalid, false), |check| invalid(check.name()))
            }
            SessionError::Refused { failed, names } => Self {
                reason: Some(failed.code.slug()),
                members: names.clone(),
                ..plain(Kind::Refused, failed.code.is_temporary())
            },
            SessionError::Invalid(reason) => invalid_with(reason.check().name(), reason.expected_and_got()),
            SessionError::AnotherReceipt { .. } => invalid("receipt"),
            // The message continues after the two values, so they cannot be parsed out of it.
            SessionError::OldCertificate { expected, got } => {
                invalid_with("time", (format!("issued_at of at least {expected}"), got.to_string()))
            }
            SessionError::SourceChanged { .. } => compared(Kind::Source, true),
            SessionError::Unproved { .. } => plain(Kind::Source, false),
            SessionError::Unsatisfiable { .. } => compared(Kind::Range, false),
            SessionError::NoProgress(phase) => Self {
                expected: Some(phase.expected().to_owned()),
                got: Some("nothing".to_owned()),
                ..plain(Kind::Connection, true)
            },
            SessionError::NoRoom => plain(Kind::Refused, true),
            SessionError::NotFound(_) => plain(Kind::NotFound, false),
            SessionError::Exhausted(rejections) => Self {
                members: rejections.iter().map(|rejection| rejection.name.clone()).collect(),
                ..plain(Kind::Exhausted, true)
            },
        }
    }
}

impl From<&SliceError> for Failure {
    fn from(error: &SliceError) -> Self {
        let message = error.to_string();
        // Malformed bytes failed no check: `None` makes them a protocol error.
        let check = match error {
            SliceError::Decode(_)
            | SliceError::OutOfOrder { .. }
            | SliceError::Trailing(_)
            | SliceError::Truncated { .. } => None,
            SliceError::AnotherLength { .. } | SliceError::NoEnd { .. } => Some("length"),
            SliceError::AnotherRange { .. } => Some("range"),
            SliceError::Tree(TreeError::Bytes { .. }) => Some("bytes"),
            SliceError::Tree(_) => Some("proof"),
        };
        let is_compared = !matches!(error, SliceError::Decode(_));
        let (expected, got) = match error {
            // The message also names the offsets; `expected` and `got` are the hashes alone.
            SliceError::Tree(TreeError::Bytes { expected, got, .. } | TreeError::Parent { expected, got, .. }) => {
                (expected.clone(), got.clone())
            }
            _ => expected_and_got(&message),
        };
        Self {
            code: if check.is_some() { Kind::Invalid } else { Kind::Protocol },
            reason: None,
            check,
            expected: is_compared.then_some(expected),
            got: is_compared.then_some(got),
            members: Vec::new(),
            can_retry: false,
            fault: Fault::Permanent,
            message,
        }
    }
}
