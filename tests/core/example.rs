//! The specification's worked example is correct: its certificate verifies and equals the one in the vectors.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde_json::Value;
use vouch_core::Limits;
use vouch_core::bls::Possession;
use vouch_core::bundle::{Bundle, BundleChain, BundleStart, OpBundle};
use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::digest::{Digest, History};
use vouch_core::log::OpProof;
use vouch_core::seal::SealPath;
use vouch_core::statement::{Handoff, LogHead, Seal, StatementId};
use vouch_core::verify::{LogVerifyOptions, Subject, Verdict, Verifier, VerifyOptions};

use support::committee::NOW;

const PAGE: &str = include_str!("../../shared/PROTOCOL.md");

/// The text between the markers.
fn example() -> &'static str {
    between("<!-- example:begin", "<!-- example:end -->")
}

fn between(begin: &str, end: &str) -> &'static str {
    &PAGE[PAGE.find(begin).unwrap()..PAGE.find(end).unwrap()]
}

/// The code blocks of the example, in order.
fn blocks() -> Vec<&'static str> {
    blocks_of(example())
}

fn blocks_of(example: &'static str) -> Vec<&'static str> {
    example.split("```").skip(1).step_by(2).map(|block| block.strip_prefix("text\n").unwrap()).collect()
}

/// The bytes of a table of fields; asserts the offsets.
fn bytes(table: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for line in table.lines() {
        // the comment is the last column
        let row = line.split("  = ").next().unwrap();
        let columns: Vec<_> = row.split_whitespace().collect();
        let [offset, .., hex] = columns[..] else { panic!("{line}") };
        assert_eq!(offset.parse(), Ok(all.len()), "{line}");
        all.extend(HEXLOWER.decode(hex.as_bytes()).unwrap());
    }
    all
}

#[test]
fn example_certificate_verifies() {
    let [certificate_table, statement_table, committee_table, proofs] = blocks()[..] else { panic!("{}", example()) };
    let (encoded, genesis) = (bytes(certificate_table), bytes(committee_table));
    assert_eq!((encoded.len(), genesis.len()), (228, 564));
    let certificate = Certificate::decode(&encoded, &Limits::default()).unwrap();
    let record = CommitteeRecord::decode(&genesis, &Limits::default()).unwrap();
    let statement = certificate.statement(&record).unwrap();
    assert_eq!(statement.encode(), bytes(statement_table));
    assert!(example().contains(&format!("`{}`", HEXLOWER.encode(&statement.id().0))));
    assert!(example().contains(&format!("`{}`", record.cluster())));
    assert!(example().contains(&format!("`{}`", record.cluster().to_hex())));

    let possession = |text: &str| Possession(bs58::decode(text).into_vec().unwrap().try_into().unwrap());
    let possessions = proofs.lines().map(possession).collect();
    let bundle = Bundle { certificate: encoded, chain: genesis_alone(genesis, possessions), sealed: None }.to_json();
    let file = b"Vouch test file n4\n";
    assert!(example().contains("the 19 bytes `Vouch test file n4` and a line feed"));
    let subject = Some(Subject { digest: Digest::of(file), length: Some(19) });
    let options =
        VerifyOptions { trust: record.cluster().into(), require_sealed: false, subject, now: NOW, waive_expiry: false };
    let verdict = Verifier::new().verify(bundle.as_bytes(), &options);
    let Verdict::Valid(verified) = verdict else { panic!("{verdict}") };
    assert_eq!(verified.signers.iter().collect::<Vec<_>>(), [0, 1, 3]);
    assert!(certificate_table.contains("members 0, 1 and 3"));
    assert_eq!(*verified, certificate);
}

/// The committees of a bundle that has no later one.
fn genesis_alone(committee: Vec<u8>, possessions: Vec<Possession>) -> BundleChain {
    BundleChain { start: BundleStart { committee, possessions, handed_by: None }, epochs: Vec::new() }
}

#[test]
fn example_certificate_equals_the_vector() {
    let text = std::fs::read_to_string(crate::vectors::directory().join("valid.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let bundle = Bundle::parse(file["bases"]["n4"].as_str().unwrap().as_bytes(), &Limits::default()).unwrap();
    assert_eq!(bytes(blocks()[0]), bundle.certificate);
    assert_eq!(bytes(blocks()[2]), bundle.chain.start.committee);
    let proofs: Vec<_> = bundle.chain.start.possessions.iter().map(Possession::to_string).collect();
    assert_eq!(blocks()[3].lines().collect::<Vec<_>>(), proofs);
}

#[test]
fn example_op_is_in_the_log() {
    let example = between("<!-- log-example:begin", "<!-- log-example:end -->");
    let [proof_table, head_table] = blocks_of(example)[..] else { panic!("{example}") };
    let proof = OpProof::decode(&bytes(proof_table)).unwrap();
    let certificate = Certificate::<LogHead>::decode(&bytes(head_table), &Limits::default()).unwrap();
    let record = CommitteeRecord::decode(&bytes(blocks()[2]), &Limits::default()).unwrap();
    let statement = certificate.statement(&record).unwrap();
    assert_eq!(statement.encode().len(), 176);
    for hash in [proof.result().op.0, proof.block.digest().0, statement.id().0] {
        assert!(example.contains(&format!("`{}`", HEXLOWER.encode(&hash))));
    }
    assert_eq!((proof.op.body(), proof.effect.bytes()), (&b"note 4/2"[..], &b"effect 4/2"[..]));

    let possession = |text: &str| Possession(bs58::decode(text).into_vec().unwrap().try_into().unwrap());
    let possessions = blocks()[3].lines().map(possession).collect();
    let committee = Committee::proven(record, possessions).unwrap();
    let bundle = OpBundle::new(proof.clone(), &certificate, &Arc::new(committee.clone()).into()).to_json();
    let options = LogVerifyOptions {
        trust: committee.cluster().into(),
        wanted: Some(proof.result().op),
        now: certificate.claim.time,
    };
    assert_eq!(Verifier::new().judge_op(bundle.as_bytes(), &options).proved(), Ok((&proof, &certificate)));

    let text = std::fs::read_to_string(crate::vectors::directory().join("ops.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let vector: Value = serde_json::from_str(file["base"].as_str().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&bundle).unwrap(), vector);
}

#[test]
fn example_of_later_committees_is_correct() {
    let text = between("<!-- epochs-example:begin", "<!-- epochs-example:end -->");
    let [header, parts, handoff, seal, path] = blocks_of(text)[..] else { panic!("{text}") };
    let identity = |name: &str| {
        let line = parts.lines().find(|line| line.starts_with(name)).unwrap();
        StatementId(HEXLOWER.decode(line.split_whitespace().last().unwrap().as_bytes()).unwrap().try_into().unwrap())
    };
    let (before, handed, sealed) = (identity("history"), identity("handoff"), identity("seal"));
    assert_eq!(bytes(header)[148..], History(before.0).next(&handed, &sealed).0);
    let limits = Limits::default();
    let handoff = Certificate::<Handoff>::decode(&bytes(handoff), &limits).unwrap();
    assert!(text.contains(&format!("`{}`", handoff.claim.next.to_hex())));
    let seal = Certificate::<Seal>::decode(&bytes(seal), &limits).unwrap();
    let path = SealPath::decode(&bytes(path)).unwrap();
    let file = std::fs::read_to_string(crate::vectors::directory().join("epochs.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let genesis = crate::vectors::hex(file["epochs"][0]["committee"].as_str().unwrap());
    let genesis = CommitteeRecord::decode(&genesis, &limits).unwrap();
    let shown = text.split("The path of the statement `").nth(1).unwrap();
    let statement = StatementId(HEXLOWER.decode(&shown.as_bytes()[..64]).unwrap().try_into().unwrap());
    assert_eq!(path.seal(&genesis, &statement), Some(seal.claim));
}
