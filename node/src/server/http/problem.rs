//! Failures of requests, for programs and people (RFC 9457).

use std::io::{self, ErrorKind};

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;
use vouch_core::message::{Code, Failed};
use vouch_core::session::{Failure, SessionError};

use super::reply::{self, Body};

/// The failure of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    /// One word for programs: the protocol's code, if there is one.
    code: String,
    detail: String,
    /// Names of the members concerned.
    members: Vec<String>,
    /// The allowed methods, if the request's is not one of them.
    allow: Option<&'static str>,
    /// The length of the blob, if the requested range lies outside it.
    length: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), members: Vec::new(), allow: None, length: None }
    }

    /// One word for programs.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound.slug(), detail)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let detail = format!("expected one of {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail) }
    }

    /// The request's body was truncated or too slow.
    pub(super) fn of_body(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Self::new(StatusCode::REQUEST_TIMEOUT, Code::TimedOut.slug(), error.to_string()),
            _ => Self::bad_request(format!("the body broke off: {error}")),
        }
    }

    /// A failure that the request did not cause.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// A refusal by the server or by replicas.
    pub(super) fn refused(failed: &Failed, members: Vec<String>) -> Self {
        Self { members, ..Self::new(status(failed), failed.code.slug(), failed.to_string()) }
    }

    pub(super) fn response(self) -> Response<Body> {
        let Self { status, code, detail, members, allow, length } = self;
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
            "members": members,
        });
        let mut response = reply::whole(status, "application/problem+json", format!("{body}\n"));
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, reply::NO_STORE);
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(length) = length {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            reply::insert(headers, header::CONTENT_RANGE, &format!("bytes */{length}"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, reply::RETRY_AFTER);
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The status of a code: the request's fault (4xx), the server's (500, 503, 507), or the replicas' (502, 504).
fn status(failed: &Failed) -> StatusCode {
    match failed.code {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::NotAdmitted => StatusCode::FORBIDDEN,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Expired => StatusCode::BAD_REQUEST,
        Code::Busy
        | Code::NoCommittee
        | Code::NotEnoughReplicas
        | Code::ShuttingDown
        | Code::ClockInDoubt
        | Code::NewEpoch => StatusCode::SERVICE_UNAVAILABLE,
        Code::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        Code::Storage => StatusCode::INTERNAL_SERVER_ERROR,
        // If subjects are named, replicas were late; otherwise the client was.
        Code::TimedOut if failed.subjects.is_empty() => StatusCode::REQUEST_TIMEOUT,
        Code::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        Code::Malformed
        | Code::Version
        | Code::AnotherCluster
        | Code::NotAuthenticated
        | Code::Unexpected
        | Code::DigestDiffers
        | Code::LengthDiffers
        | Code::Cancelled
        | Code::Clock
        | Code::NotHeld => StatusCode::BAD_GATEWAY,
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let Failure { members, message, .. } = Failure::from(&error);
        let (status, code) = match &error {
            SessionError::Refused { failed, .. } => (status(failed), failed.code.slug()),
            SessionError::Unsatisfiable { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable".into()),
            SessionError::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, Code::Busy.slug()),
            SessionError::NoProgress(_) | SessionError::WaitLimit { .. } => {
                (StatusCode::GATEWAY_TIMEOUT, Code::TimedOut.slug())
            }
            SessionError::NotFound(_) => (StatusCode::NOT_FOUND, Code::NotFound.slug()),
            SessionError::Exhausted(_) => (StatusCode::BAD_GATEWAY, "exhausted".into()),
            SessionError::SourceChanged { .. } | SessionError::Unproved { .. } => {
                (StatusCode::BAD_REQUEST, Code::LengthDiffers.slug())
            }
            SessionError::Malformed(_)
            | SessionError::Unexpected { .. }
            | SessionError::AnotherEpoch { .. }
            | SessionError::BadOffset { .. } => (StatusCode::BAD_GATEWAY, "protocol".into()),
            SessionError::Auth(_)
            | SessionError::AnotherCluster { .. }
            | SessionError::Committee(_)
            | SessionError::Chain(_)
            | SessionError::OldEpoch { .. }
            | SessionError::AnotherCommittee { .. }
            | SessionError::Invalid(_)
            | SessionError::AnotherReceipt { .. }
            | SessionError::OldCertificate { .. } => (StatusCode::BAD_GATEWAY, "invalid".into()),
        };
        let length = match error {
            SessionError::Unsatisfiable { length, .. } => Some(length),
            _ => None,
        };
        Self { members, length, ..Self::new(status, code, message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouch_core::message::Stream;

    #[test]
    fn late_clients_and_late_replicas_have_different_statuses() {
        let late = |subjects: Vec<u16>| Failed::new(Stream(1), Code::TimedOut, "late").with_subjects(subjects);
        assert_eq!(status(&late(Vec::new())), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(status(&late(vec![2])), StatusCode::GATEWAY_TIMEOUT);
    }

    #[test]
    fn a_refusal_keeps_its_names() {
        let failed = Failed::new(Stream(1), Code::NotEnoughReplicas, "3 of 4").with_subjects(vec![1]);
        let error = SessionError::Refused { failed, names: vec!["replica-1".into()] };
        let problem = Problem::from(error);
        assert_eq!((problem.status.as_u16(), problem.code.as_str()), (503, "not-enough-replicas"));
        assert_eq!(problem.members, ["replica-1"]);
        assert!(problem.detail.starts_with("not enough replicas: 3 of 4 (replica-1)"), "{}", problem.detail);
    }
}
