//! Valid and invalid foundings and refusals from the independent implementation: `tests/vectors/founding.json`.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use vouch_core::Limits;
use vouch_core::bls::VoteSignature;
use vouch_core::committee::CommitteeRecord;
use vouch_core::digest::CommitteeDigest;
use vouch_core::founding::{Founding, Refusal, accept_statement};
use vouch_core::message::{Message, ReplicaStatus};

use support::committee::TestCommittee;

#[derive(Deserialize)]
struct FoundingFile {
    statements: Vec<AcceptBlock>,
    foundings: Vec<FoundingCase>,
    refusals: Vec<RefusalCase>,
    messages: Messages,
}

#[derive(Deserialize)]
struct AcceptBlock {
    committee: String,
    founding: String,
    statement: String,
    identity: String,
    acceptances: Vec<String>,
}

#[derive(Deserialize)]
struct FoundingCase {
    name: String,
    founding: String,
    expected: String,
}

#[derive(Deserialize)]
struct RefusalCase {
    name: String,
    genesis: String,
    refusal: String,
    expected: String,
    member: Option<u16>,
}

#[derive(Deserialize)]
struct Messages {
    acceptances: AcceptancesBlock,
    refusals: RefusalsBlock,
    replica_status: ReplicaStatusBlock,
}

#[derive(Deserialize)]
struct AcceptancesBlock {
    founding: String,
    members: Vec<u16>,
    message: String,
}

#[derive(Deserialize)]
struct RefusalsBlock {
    refusal: String,
    message: String,
}

#[derive(Deserialize)]
struct ReplicaStatusBlock {
    status: u8,
    detail: String,
    message: String,
}

fn file() -> FoundingFile {
    let text = std::fs::read_to_string(crate::vectors::directory().join("founding.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn message(text: &str) -> Option<Message> {
    Message::decode(&Bytes::from(unhex(text))).ok()
}

/// Decodes a refusal by wrapping it in a message that contains nothing else.
fn refusal(text: &str) -> Option<Refusal> {
    match message(&format!("420100{text}")) {
        Some(Message::Refusals(refusals)) => refusals.first().copied(),
        _ => None,
    }
}

#[test]
fn acceptance_statements_match_the_vectors() {
    for block in file().statements {
        let n = block.acceptances.len().try_into().unwrap();
        let cluster = TestCommittee::labelled(&block.committee, n);
        let statement = accept_statement(cluster.record());
        assert_eq!(HEXLOWER.encode(&cluster.record().digest().0), block.founding, "{}", block.committee);
        assert_eq!(HEXLOWER.encode(&statement.encode()), block.statement, "{}", block.committee);
        assert_eq!(statement.encode().len(), 128);
        assert_eq!(HEXLOWER.encode(&statement.id().0), block.identity, "{}", block.committee);
        let signed: Vec<_> = cluster.votes.iter().map(|key| HEXLOWER.encode(&statement.sign(key).0)).collect();
        assert_eq!(signed, block.acceptances, "{}", block.committee);
    }
}

#[test]
fn founding_verdicts_match_the_vectors() {
    for FoundingCase { name, founding, expected } in file().foundings {
        let opened = match message(&founding) {
            Some(Message::Founding(shown)) => Founding::open(*shown).ok(),
            _ => None,
        };
        let got = match &opened {
            None => "invalid",
            Some(founding) if founding.is_complete() => "complete",
            Some(_) => "incomplete",
        };
        assert_eq!(got, expected, "{name}");
        if let Some(opened) = opened {
            let again = Message::Founding(Box::new(opened.message())).encode();
            assert_eq!(HEXLOWER.encode(&again), founding, "{name}");
        }
    }
}

#[test]
fn refusal_verdicts_match_the_vectors() {
    for RefusalCase { name, genesis, refusal: bytes, expected, member } in file().refusals {
        let genesis = CommitteeRecord::decode(&unhex(&genesis), &Limits::default()).unwrap();
        let got = refusal(&bytes).and_then(|refusal| refusal.verify(&genesis).ok()).map(|verified| verified.member());
        assert_eq!(got.is_some(), expected == "valid", "{name}");
        assert_eq!(got, member, "{name}");
    }
}

#[test]
fn other_founding_messages_match_the_vectors() {
    let Messages { acceptances, refusals, replica_status } = file().messages;
    let cluster = TestCommittee::labelled("n4", 4);
    let statement = accept_statement(cluster.record());
    let signed =
        |member: &u16| -> (u16, VoteSignature) { (*member, statement.sign(&cluster.votes[usize::from(*member)])) };
    let founding = CommitteeDigest(unhex(&acceptances.founding).try_into().unwrap());
    let expected = Message::Acceptances { founding, acceptances: acceptances.members.iter().map(signed).collect() };
    assert_eq!(message(&acceptances.message), Some(expected));

    let expected = Message::Refusals(refusal(&refusals.refusal).into_iter().collect());
    assert_eq!(message(&refusals.message), Some(expected));

    assert_eq!(replica_status.status, ReplicaStatus::Waiting as u8);
    let expected = Message::ReplicaStatus { status: ReplicaStatus::Waiting, detail: replica_status.detail };
    assert_eq!(message(&replica_status.message), Some(expected));
}
