//! The values of `tests/vectors/access.json`, written by the independent implementation.

use bytes::Bytes;
use serde::Deserialize;
use support::committee::{node_secret, vote_secret};
use vouch_core::Limits;
use vouch_core::access::{
    AccessChange, AccessChangeFormatError, AccessOp, AccessOpError, Action, Authorisation, AuthorisationError,
    TokenKey, TokenSecret, verify_access_operator,
};
use vouch_core::bls::{VoteKey, VoteSignature};
use vouch_core::committee::CommitteeRecord;
use vouch_core::digest::{AccessChangeId, ClusterId, Digest};
use vouch_core::membership::{NodeVote, NodeVoteError, SignedNodeVote};
use vouch_core::message::Message;
use vouch_core::receipt::Receipt;

use crate::vectors::{array, hex};

#[derive(Deserialize)]
struct File {
    committees: Committees,
    operator: OperatorCases,
    tokens: Vec<TokenCase>,
    changes: Vec<ChangeCase>,
    votes: Vec<VoteCase>,
    ops: Vec<OpCase>,
    authorisations: Vec<AuthorisationCase>,
    messages: Vec<MessageCase>,
    secrets: Vec<SecretCase>,
    invalid: Vec<InvalidCase>,
}

#[derive(Deserialize)]
struct Committees {
    own: String,
    other: String,
}

#[derive(Deserialize)]
struct OperatorCases {
    change: String,
    key: String,
    signatures: Vec<OperatorCase>,
}

#[derive(Deserialize)]
struct OperatorCase {
    name: String,
    /// In place of the operator's own.
    key: Option<String>,
    signature: String,
    valid: bool,
}

#[derive(Deserialize)]
struct TokenCase {
    label: String,
    seed: String,
    text: String,
    key: String,
}

#[derive(Deserialize)]
struct ChangeCase {
    name: String,
    change: String,
    identity: String,
    operator_signature: String,
}

#[derive(Deserialize)]
struct VoteCase {
    name: String,
    body: String,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct OpCase {
    name: String,
    kind: u16,
    body: String,
}

#[derive(Deserialize)]
struct AuthorisationCase {
    name: String,
    authorisation: String,
    cluster: String,
    action: u8,
    content: String,
    now: u64,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct MessageCase {
    name: String,
    message: String,
}

#[derive(Deserialize)]
struct SecretCase {
    name: String,
    text: String,
}

#[derive(Deserialize)]
struct InvalidCase {
    of: String,
    name: String,
    kind: Option<u16>,
    bytes: String,
    verdict: String,
}

fn file() -> File {
    let text = std::fs::read_to_string(crate::vectors::directory().join("access.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn committee(encoding: &str) -> CommitteeRecord {
    CommitteeRecord::decode(&hex(encoding), &Limits::default()).unwrap()
}

#[test]
fn tokens_and_their_texts_match_the_vectors() {
    let File { tokens, secrets, .. } = file();
    assert!(tokens.len() >= 5 && secrets.len() >= 26, "{} {}", tokens.len(), secrets.len());
    for TokenCase { label, seed, text, key } in &tokens {
        let key = TokenKey(array(key));
        assert_eq!(&TokenSecret::text_of(&array(seed)), text, "{label}");
        assert_eq!(TokenSecret::from_bytes(&array(seed)).key(), key, "{label}");
        assert_eq!(text.parse::<TokenSecret>().unwrap().key(), key, "{label}");
    }
    for SecretCase { name, text } in &secrets {
        assert!(text.parse::<TokenSecret>().is_err(), "{name}");
    }
}

#[test]
fn changes_match_the_vectors() {
    let File { committees, operator, changes, .. } = file();
    let (own, other) = (committee(&committees.own), committee(&committees.other));
    assert_ne!(own.cluster(), other.cluster());
    for ChangeCase { name, change, identity, operator_signature } in &changes {
        let decoded = AccessChange::decode(&hex(change)).unwrap();
        assert_eq!(decoded.encode(), hex(change), "{name}");
        assert_eq!(decoded.id(), AccessChangeId(array(identity)), "{name}");
        // Signatures are deterministic, so equal ones are over equal statements.
        let signature = decoded.sign_as_operator(&own, &vote_secret("access operator"));
        assert_eq!(signature, VoteSignature(array(operator_signature)), "{name}");
    }
    assert!(changes.len() >= 12, "{}", changes.len());
    let change = AccessChange::decode(&hex(&operator.change)).unwrap();
    for OperatorCase { name, key, signature, valid } in &operator.signatures {
        let key = VoteKey(array(key.as_ref().unwrap_or(&operator.key)));
        let got = verify_access_operator(&key, &own, &change, &VoteSignature(array(signature)));
        assert_eq!(got.is_ok(), *valid, "{name}: {got:?}");
    }
    assert_eq!(operator.signatures.iter().filter(|case| case.valid).count(), 1);
}

#[test]
fn approvals_match_the_vectors() {
    let File { committees, votes, .. } = file();
    let (own, mut signed) = (committee(&committees.own), 0);
    for VoteCase { name, body, refused } in &votes {
        let op = AccessOp::decode(AccessOp::APPROVE, &hex(body)).unwrap();
        let AccessOp::Approve { node_key, number, signature, change } = op else { panic!("{op:?}") };
        let vote = NodeVote::ApproveAccess { change: change.id(), number };
        let vote = SignedNodeVote { node_key, vote, signature };
        let got = vote.verify(&own).err().map(|error| match error {
            NodeVoteError::NotAMember(_) => "voter",
            NodeVoteError::Signature(_) => "signature",
        });
        assert_eq!(got, refused.as_deref(), "{name}");
        // Signatures are deterministic: the core signs the same bytes as the independent implementation.
        let secrets = (0..4).map(|i| node_secret(&format!("access/{i}")));
        for voter in secrets.filter(|secret| secret.node_key() == node_key && refused.is_none()) {
            assert_eq!(AccessOp::approve(change, number, &own, &voter).body(), hex(body), "{name}");
            signed += 1;
        }
    }
    assert_eq!(signed, 4);
}

#[test]
fn ops_match_the_vectors_and_every_signature_in_them_is_valid() {
    let File { committees, operator, ops, .. } = file();
    let (own, key) = (committee(&committees.own), VoteKey(array(&operator.key)));
    for OpCase { name, kind, body } in &ops {
        let op = AccessOp::decode(*kind, &hex(body)).unwrap();
        assert_eq!((op.kind(), op.body()), (*kind, hex(body)), "{name}");
        match op {
            AccessOp::Decide { operator, change } => verify_access_operator(&key, &own, &change, &operator).unwrap(),
            AccessOp::Approve { node_key, number, signature, change } => {
                let vote = NodeVote::ApproveAccess { change: change.id(), number };
                SignedNodeVote { node_key, vote, signature }.verify(&own).unwrap();
            }
        }
    }
    for kind in [AccessOp::DECIDE, AccessOp::APPROVE] {
        assert_eq!(ops.iter().filter(|case| case.kind == kind).count(), 3, "{kind}");
    }
}

/// Checks the authorisation of one case. If it counts, this token's holder would sign the same.
fn check(case: &AuthorisationCase, action: Action<'_>, holder: &TokenSecret) -> Option<&'static str> {
    let authorisation = Authorisation::decode(&hex(&case.authorisation)).unwrap();
    assert_eq!(authorisation.encode().to_vec(), hex(&case.authorisation), "{}", case.name);
    let cluster = ClusterId(array(&case.cluster));
    match authorisation.verify(&cluster, action, case.now) {
        Ok(()) if authorisation.key == holder.key() => {
            let own = holder.authorise(&cluster, action, authorisation.signed_at);
            assert_eq!(own, authorisation, "{}", case.name);
            None
        }
        Ok(()) => {
            assert_eq!(case.name, "read_by_a_member");
            None
        }
        Err(AuthorisationError::Time { .. }) => Some("time"),
        Err(AuthorisationError::Signature(_)) => Some("signature"),
    }
}

#[test]
fn authorisations_match_the_vectors() {
    let File { tokens, authorisations, .. } = file();
    let alice = tokens.iter().find(|case| case.label == "alice").unwrap();
    let alice = TokenSecret::from_bytes(&array(&alice.seed));
    for case in &authorisations {
        let got = match case.action {
            1 => check(case, Action::Store(&Receipt::decode(&hex(&case.content)).unwrap()), &alice),
            2 => check(case, Action::Send, &alice),
            3 => check(case, Action::Read(&Digest(array(&case.content))), &alice),
            other => panic!("{other}"),
        };
        assert_eq!(got, case.refused.as_deref(), "{}", case.name);
    }
    let count = |wanted: Option<&str>| authorisations.iter().filter(|case| case.refused.as_deref() == wanted).count();
    assert_eq!((count(None), count(Some("time"))), (9, 4));
    assert!(count(Some("signature")) >= 20);
}

#[test]
fn messages_match_the_vectors() {
    let File { messages, .. } = file();
    assert!(messages.len() >= 15, "{}", messages.len());
    for MessageCase { name, message } in messages {
        let bytes = Bytes::from(hex(&message));
        match Message::decode(&bytes) {
            Ok(decoded) => assert_eq!(decoded.encode(), bytes, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn invalid_bytes_are_refused() {
    let File { invalid, .. } = file();
    assert!(invalid.len() >= 138, "{}", invalid.len());
    for InvalidCase { of, name, kind, bytes, verdict } in invalid {
        let bytes = hex(&bytes);
        let is_unknown = match (of.as_str(), kind) {
            ("change", None) => {
                matches!(AccessChange::decode(&bytes).unwrap_err(), AccessChangeFormatError::UnknownVersion(_))
            }
            ("op", Some(kind)) => matches!(
                AccessOp::decode(kind, &bytes).unwrap_err(),
                AccessOpError::UnknownKind { .. } | AccessOpError::Change(AccessChangeFormatError::UnknownVersion(_))
            ),
            ("authorisation", None) => {
                assert!(Authorisation::decode(&bytes).is_err(), "{name}");
                false
            }
            ("message", None) => {
                assert!(Message::decode(&Bytes::from(bytes)).is_err(), "{name}");
                false
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(if is_unknown { "cannot-check" } else { "invalid" }, verdict, "{name}");
    }
}
