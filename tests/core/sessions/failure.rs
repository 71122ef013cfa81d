//! Errors as programs see them: every kind, with the check and both values where something was compared.

use vouch_core::bls::BlsError;
use vouch_core::committee::{GenesisError, PossessionError};
use vouch_core::digest::{CommitteeDigest, Digest};
use vouch_core::message::{Code, Failed, MessageError, Stream};
use vouch_core::session::{ByteRange, Failure, FailureKind, Rejection, SessionError};
use vouch_core::verify::Invalid;

use super::{CLUSTER, FOREIGN, identity, unexpected};
use support::committee::{receipt_of, salt};

fn point() -> PossessionError {
    PossessionError::Point { member: 2, name: "replica-2".into(), error: BlsError::NotOnCurve }
}

fn together() -> PossessionError {
    PossessionError::Together { members: 4 }
}

fn failures() -> Vec<(SessionError, FailureKind, Option<&'static str>, bool)> {
    let (expected, got) = (identity(&CLUSTER), identity(&FOREIGN));
    let receipt = |name: &str| Box::new(receipt_of(salt(name), b"file"));
    let auth = vouch_core::link::AuthError {
        role: vouch_core::link::Role::Server,
        key: support::committee::node_secret("failure").node_key(),
    };
    let [first, second] = [1, 2].map(|byte| CommitteeDigest([byte; 32]));
    let another_committee = SessionError::AnotherCommittee { epoch: 9, expected: first, got: second };
    let rejection = Rejection { name: "replica-1".into(), reason: "it lied".into() };
    vec![
        (SessionError::Malformed(MessageError::UnknownTag(9)), FailureKind::Protocol, None, false),
        (unexpected("Ready", "Vote"), FailureKind::Protocol, None, false),
        (SessionError::Auth(auth), FailureKind::Invalid, Some("link"), false),
        (SessionError::AnotherCluster { expected, got: Some(got) }, FailureKind::Invalid, Some("identity"), false),
        (SessionError::Committee(GenesisError::Possession(point())), FailureKind::Invalid, Some("possession"), false),
        (
            SessionError::Committee(GenesisError::Possession(together())),
            FailureKind::Invalid,
            Some("possession"),
            false,
        ),
        (
            SessionError::Invalid(Invalid::BelowQuorum { signers: 2, quorum: 3 }),
            FailureKind::Invalid,
            Some("signers"),
            false,
        ),
        (
            SessionError::AnotherReceipt { expected: receipt("one"), got: receipt("other") },
            FailureKind::Invalid,
            Some("receipt"),
            false,
        ),
        (SessionError::OldCertificate { expected: 9, got: 5 }, FailureKind::Invalid, Some("time"), false),
        (SessionError::OldEpoch { expected: 9, got: 5 }, FailureKind::OldEpoch, Some("epoch"), true),
        (another_committee, FailureKind::AnotherCommittee, Some("chain"), false),
        (SessionError::SourceChanged { expected: 4, got: 2 }, FailureKind::Source, None, true),
        (SessionError::Unsatisfiable { range: ByteRange::From(9), length: 5 }, FailureKind::Range, None, false),
        (SessionError::NotFound(Digest([1; 32])), FailureKind::NotFound, None, false),
        (SessionError::Exhausted(vec![rejection]), FailureKind::Exhausted, None, true),
    ]
}

#[test]
fn every_error_has_its_kind_check_and_values() {
    for (error, kind, check, can_retry) in failures() {
        let failure = Failure::from(&error);
        assert_eq!((failure.code, failure.check, failure.can_retry), (kind, check, can_retry), "{error}");
        assert_eq!(failure.message, error.to_string());
        assert_eq!(failure.reason, None, "{error}");
        if kind == FailureKind::Invalid {
            let (expected, got) = (failure.expected.unwrap(), failure.got.unwrap());
            assert!(!expected.is_empty() && !got.is_empty() && expected != got, "{error}: {expected:?} {got:?}");
        }
    }
}

fn values(error: &SessionError) -> (String, String) {
    let Failure { expected, got, .. } = Failure::from(error);
    (expected.unwrap(), got.unwrap())
}

#[test]
fn values_are_data_whatever_the_sentence_says() {
    for (error, ..) in failures() {
        let Failure { expected: Some(expected), got: Some(got), message, .. } = Failure::from(&error) else { continue };
        assert!(message.contains(&format!("expected {expected}, got {got}")), "{message}");
    }
    // the sentence goes on after the values
    assert_eq!(values(&SessionError::OldCertificate { expected: 9, got: 5 }).1, "5");
    assert_eq!(values(&SessionError::SourceChanged { expected: 4, got: 2 }), ("4 bytes".into(), "2".into()));
    // a member chooses its name
    let name = "x: expected nothing, got everything".into();
    let point = PossessionError::Point { member: 2, name, error: BlsError::NotOnCurve };
    let real = ("a point on the curve".into(), "one beside it".into());
    assert_eq!(values(&SessionError::Committee(GenesisError::Possession(point.clone()))), real);
    assert_eq!(values(&SessionError::Invalid(Invalid::Possession(point))), real);
}

#[test]
fn refusal_keeps_its_code_members_and_retryability() {
    let refused = |code| SessionError::Refused {
        failed: Failed::new(Stream(1), code, "detail"),
        names: vec!["replica-1".into(), "replica-3".into()],
    };
    for (code, reason, can_retry) in [
        (Code::NotEnoughReplicas, "not-enough-replicas", true),
        (Code::Busy, "busy", true),
        (Code::NoSpace, "no-space", true),
        (Code::TimedOut, "timed-out", true),
        (Code::AnotherCluster, "another-cluster", false),
        (Code::Expired, "expired", false),
        (Code::DigestDiffers, "digest-differs", false),
    ] {
        let failure = Failure::from(&refused(code));
        assert_eq!(failure.code, FailureKind::Refused);
        assert_eq!((failure.reason.as_deref(), failure.can_retry), (Some(reason), can_retry));
        assert_eq!(failure.members, ["replica-1", "replica-3"]);
    }
}

#[test]
fn machine_readable_texts_are_stable() {
    let failure = Failure::from(&SessionError::OldCertificate { expected: 9, got: 5 });
    let json = serde_json::to_string(&failure).unwrap();
    assert!(json.starts_with(r#"{"code":"invalid","reason":null,"check":"time","expected":"issued_at of at least 9","got":"5","members":[],"can_retry":false,"fault":"permanent","message":"#), "{json}");
    assert!(json.ends_with(r#","subject":"the server sent an old certificate"}"#), "{json}");
    for (kind, text) in [
        (FailureKind::Connection, "connection"),
        (FailureKind::Refused, "refused"),
        (FailureKind::Invalid, "invalid"),
        (FailureKind::OldEpoch, "old-epoch"),
        (FailureKind::AnotherCommittee, "another-committee"),
        (FailureKind::Protocol, "protocol"),
        (FailureKind::Source, "source"),
        (FailureKind::Range, "range"),
        (FailureKind::NotFound, "not-found"),
        (FailureKind::Exhausted, "exhausted"),
    ] {
        assert_eq!(serde_json::to_value(kind).unwrap(), text);
    }
}
