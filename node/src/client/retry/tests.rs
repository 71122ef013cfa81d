//! What each error means for a retry. The core's tests of `Retry` cover when and how often.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::message::{Code, Failed, MessageError, Stream};
use vouch_core::session::{Phase, SessionError};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn closed() -> ClientError {
    LinkError::Closed("bye".into()).into()
}

#[test]
fn lost_links_are_retried() {
    let (what, address) = ("speak", "127.0.0.1:1".to_owned());
    let error = io::ErrorKind::ConnectionRefused.into();
    let lost: Vec<ClientError> = vec![
        closed(),
        LinkError::Broken("reset".into()).into(),
        LinkError::Deadline { what, after: MINUTE }.into(),
        LinkError::Connect { address: address.clone(), error }.into(),
        LinkError::Handshake { address, reason: "502".into() }.into(),
        ClientError::Ended(Arc::new(closed())),
        // a server that pings and makes no progress
        SessionError::NoProgress(Phase::Certifying).into(),
    ];
    for error in lost {
        assert_eq!(fault(&error), Fault::Link, "{error}");
    }
}

#[test]
fn refusals_are_judged_by_their_code() {
    for (code, expected) in [(Code::Busy, Fault::Refusal), (Code::NoSpace, Fault::Permanent)] {
        let failed = Failed::new(Stream::LINK, code, "text");
        assert_eq!(fault(&LinkError::Refused(failed.clone()).into()), expected, "{code}");
        let of_put = SessionError::Refused { failed, names: Vec::new() };
        assert_eq!(fault(&of_put.into()), expected, "{code}");
    }
    assert_eq!(fault(&SessionError::Exhausted(Vec::new()).into()), Fault::NoHolder);
}

#[test]
fn lies_are_final_for_their_server() {
    let lies: Vec<ClientError> = vec![
        SessionError::Unexpected { expected: "Ready", got: "Certified" }.into(),
        SessionError::BadOffset { length: 1, got: 2 }.into(),
        SessionError::OldCertificate { expected: 2, got: 1 }.into(),
        LinkError::TooLarge("1 GiB".into()).into(),
        LinkError::Message(MessageError::UnknownTag(0x77)).into(),
        ClientError::Ended(Arc::new(SessionError::Unexpected { expected: "Ready", got: "Hello" }.into())),
    ];
    for error in lies {
        assert_eq!(fault(&error), Fault::Permanent, "{error}");
    }
}

#[test]
fn no_other_server_is_asked_after_an_error_of_the_client() {
    let range = "9-9".parse().unwrap();
    let local: Vec<ClientError> = vec![
        SessionError::SourceChanged { expected: 1, got: 2 }.into(),
        SessionError::Unsatisfiable { range, length: 3 }.into(),
        ClientError::Source { source_name: "f".into(), error: io::ErrorKind::NotFound.into() },
        ClientError::Sink("no space".into()),
        ClientError::AnotherPrefix { expected: 2, matching: 1 },
    ];
    for error in local {
        assert_eq!(fault(&error), Fault::Local, "{error}");
    }
}
