//! A session's error in the form that Node.js and the page show.

use serde::Serialize;

use super::{Fault, SessionError};
use crate::comparison::Comparison;
use crate::slice::SliceError;
use crate::tree::TreeError;
use crate::verify::{Check, CheckError};

/// What kind of failure ended a put or a get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The server made no progress in time.
    Connection,
    /// The server, or a replica through it, refused the request.
    Refused,
    /// A check of what the server sent failed: the caller must not rely on any of it.
    Invalid,
    /// The server knows only earlier committees than the caller has verified.
    OldEpoch,
    /// The server shows another committee of an epoch than the caller has verified.
    AnotherCommittee,
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
    pub code: FailureKind,
    /// For [`FailureKind::Refused`]: the protocol's code as one word.
    pub reason: Option<String>,
    /// For [`FailureKind::Invalid`], [`FailureKind::OldEpoch`] and [`FailureKind::AnotherCommittee`]: the check that failed, named as in
    /// reports, or `link` for the proof of the server's node key.
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
    /// What was compared, if the failure is a comparison.
    pub subject: Option<String>,
}

impl From<&SessionError> for Failure {
    fn from(error: &SessionError) -> Self {
        let comparison = error.comparison();
        let mut failure = Self {
            code: kind(error),
            reason: None,
            check: check(error),
            subject: comparison.as_ref().map(|comparison| comparison.subject.clone()),
            expected: comparison.as_ref().map(|comparison| comparison.expected.clone()),
            got: comparison.map(|comparison| comparison.got),
            members: Vec::new(),
            can_retry: false,
            fault: Fault::from(error),
            message: error.to_string(),
        };
        match error {
            SessionError::Refused { failed, names } => {
                failure.reason = Some(failed.code.slug());
                failure.members.clone_from(names);
                failure.can_retry = failed.code.is_temporary();
            }
            SessionError::Exhausted(rejections) => {
                failure.members = rejections.iter().map(|rejection| rejection.name.clone()).collect();
                failure.can_retry = true;
            }
            SessionError::SourceChanged { .. }
            | SessionError::NoProgress(_)
            | SessionError::WaitLimit { .. }
            | SessionError::OldEpoch { .. }
            | SessionError::NoRoom => {
                failure.can_retry = true;
            }
            _ => {}
        }
        failure
    }
}

fn kind(error: &SessionError) -> FailureKind {
    match error {
        SessionError::Malformed(_)
        | SessionError::Unexpected { .. }
        | SessionError::AnotherEpoch { .. }
        | SessionError::BadOffset { .. } => FailureKind::Protocol,
        SessionError::Auth(_)
        | SessionError::AnotherCluster { .. }
        | SessionError::Committee(_)
        | SessionError::Chain(_)
        | SessionError::Invalid(_)
        | SessionError::AnotherReceipt { .. }
        | SessionError::OldCertificate { .. } => FailureKind::Invalid,
        SessionError::OldEpoch { .. } => FailureKind::OldEpoch,
        SessionError::AnotherCommittee { .. } => FailureKind::AnotherCommittee,
        SessionError::Refused { .. } | SessionError::NoRoom => FailureKind::Refused,
        SessionError::SourceChanged { .. } | SessionError::Unproved { .. } => FailureKind::Source,
        SessionError::Unsatisfiable { .. } => FailureKind::Range,
        SessionError::NoProgress(_) | SessionError::WaitLimit { .. } => FailureKind::Connection,
        SessionError::NotFound(_) => FailureKind::NotFound,
        SessionError::Exhausted(_) => FailureKind::Exhausted,
    }
}

/// The name of the check that failed.
fn check(error: &SessionError) -> Option<&'static str> {
    Some(match error {
        SessionError::Auth(_) => "link",
        SessionError::AnotherCluster { .. } => Check::Identity.name(),
        SessionError::Committee(reason) => CheckError::from(reason.clone()).check().name(),
        SessionError::Chain(_) | SessionError::AnotherCommittee { .. } => Check::Chain.name(),
        SessionError::OldEpoch { .. } => Check::Epoch.name(),
        SessionError::Invalid(reason) => reason.check().name(),
        SessionError::AnotherReceipt { .. } => "receipt",
        SessionError::OldCertificate { .. } => Check::Time.name(),
        _ => return None,
    })
}

impl From<&SliceError> for Failure {
    fn from(error: &SliceError) -> Self {
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
        let Comparison { subject, expected, got } = error.comparison();
        Self {
            code: if check.is_some() { FailureKind::Invalid } else { FailureKind::Protocol },
            reason: None,
            check,
            subject: Some(subject),
            expected: Some(expected),
            got: Some(got),
            members: Vec::new(),
            can_retry: false,
            fault: Fault::Permanent,
            message: error.to_string(),
        }
    }
}
