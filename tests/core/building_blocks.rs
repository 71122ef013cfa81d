//! The intermediate values of `tests/vectors/building_blocks.json`, as far as the core exposes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use vouch_core::Limits;
use vouch_core::bls::{Possession, VoteKey, VoteSecretKey};
use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::{Hello, NodeKey, NodeSecretKey, Role, Transcript};
use vouch_core::merkle::TreeHash;
use vouch_core::message::{Message, Stream};
use vouch_core::peer_frame::{FrameHeader, OpenedFrame, PeerFrame, PeerHello, PeerSession};
use vouch_core::quorum::{quorum, tolerated_faults};
use vouch_core::receipt::Receipt;
use vouch_core::signed_time::TimeQuestion;
use vouch_core::statement::{Batch, Body, Statement, Stored, StoredClaim};
use vouch_core::tally::Tally;

use crate::vectors::{array, hex as unhex};

#[derive(Deserialize)]
struct Blocks {
    digest_of_abc: String,
    derive_of_abc: BTreeMap<String, String>,
    thresholds: Vec<Threshold>,
    committees: Vec<CommitteeBlock>,
    statements: Vec<StatementBlock>,
    merkle: MerkleBlock,
    links: Vec<LinkBlock>,
    signed_times: Vec<SignedTimeBlock>,
    peer_frames: PeerFramesBlock,
}

#[derive(Deserialize)]
struct PeerFramesBlock {
    cluster: String,
    node_secret: String,
    to: String,
    session: String,
    receiver: String,
    hello: PeerHelloBlock,
    hello_with_echo: PeerHelloBlock,
    message: PeerMessageBlock,
}

#[derive(Deserialize)]
struct PeerHelloBlock {
    number: u64,
    #[serde(default)]
    address: Option<String>,
    asks: bool,
    frame: String,
}

#[derive(Deserialize)]
struct PeerMessageBlock {
    number: u64,
    message: String,
    signed: String,
    frame: String,
}

#[derive(Deserialize)]
struct Threshold {
    n: u16,
    f: u16,
    quorum: u16,
    honest: u16,
}

#[derive(Deserialize)]
struct CommitteeBlock {
    name: String,
    encoding: String,
    digest: String,
    digest_base58: String,
    members: Vec<MemberBlock>,
}

#[derive(Deserialize)]
struct MemberBlock {
    label: String,
    name: String,
    node_secret: String,
    node_key: String,
    vote_secret: String,
    vote_key: String,
    pop: String,
    pop_base58: String,
}

#[derive(Deserialize)]
struct StatementBlock {
    committee: String,
    file: String,
    receipt: String,
    leaf: String,
    statement: String,
    identity: String,
    votes: Vec<String>,
    certificate: String,
}

#[derive(Deserialize)]
struct MerkleBlock {
    receipts: Vec<String>,
    leaves: Vec<String>,
    node_of_first_two_leaves: String,
    trees: Vec<TreeBlock>,
}

#[derive(Deserialize)]
struct TreeBlock {
    count: u32,
    root: String,
    paths: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct LinkBlock {
    dialer: String,
    dialer_hello: String,
    listener_hello: String,
    dialer_hello_hash: String,
    listener_hello_hash: String,
    exporter: String,
    auths: Vec<AuthBlock>,
}

#[derive(Deserialize)]
struct SignedTimeBlock {
    cluster: String,
    asker: String,
    nonce: String,
    member: u16,
    node_secret: String,
    time: u64,
    signed: String,
    question: String,
    answer: String,
}

#[derive(Deserialize)]
struct AuthBlock {
    role: String,
    node_secret: String,
    signed: String,
    auth: String,
}

fn blocks() -> Blocks {
    let text = std::fs::read_to_string(crate::vectors::directory().join("building_blocks.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn batch(receipts: &[Receipt]) -> Batch {
    Batch::new(0, receipts.to_vec()).unwrap()
}

/// The leaf hash of a receipt: the root of a batch of one.
fn leaf(receipt: &Receipt) -> TreeHash {
    batch(&[*receipt]).body().root
}

impl CommitteeBlock {
    fn record(&self) -> CommitteeRecord {
        CommitteeRecord::decode(&unhex(&self.encoding), &Limits::default()).unwrap()
    }

    fn open(&self) -> Committee {
        let possessions = self.members.iter().map(|member| Possession(array(&member.pop))).collect();
        Committee::proven(self.record(), possessions).unwrap()
    }
}

#[test]
fn derived_hashes_match_the_vectors() {
    let blocks = blocks();
    assert_eq!(Digest::of(b"abc").to_hex(), blocks.digest_of_abc);
    // the core's own derivation is private: compare the library that it calls here, and the results below
    for (context, expected) in &blocks.derive_of_abc {
        assert_eq!(&hex(blake3::derive_key(context, b"abc")), expected, "{context}");
    }
}

#[test]
fn thresholds_match_the_vectors() {
    for Threshold { n, f, quorum: q, honest } in blocks().thresholds {
        assert_eq!((tolerated_faults(n), quorum(n), n - 2 * tolerated_faults(n)), (f, q, honest), "n = {n}");
    }
}

#[test]
fn committees_match_the_vectors() {
    for block in blocks().committees {
        let record = block.record();
        assert_eq!(hex(record.encode()), block.encoding, "{}", block.name);
        assert_eq!(hex(record.digest().0), block.digest);
        assert_eq!(record.digest().to_string(), block.digest_base58);
        assert_eq!(record.cluster().to_hex(), block.digest);
        assert_eq!(record.members().len(), block.members.len());
        for (member, expected) in record.members().iter().zip(&block.members) {
            let secret = VoteSecretKey::from_bytes(&array(&expected.vote_secret)).unwrap();
            let label = &expected.label;
            assert_eq!(hex(member.vote_key.0), expected.vote_key, "{label}");
            assert_eq!(secret.vote_key(), member.vote_key, "{label}");
            assert_eq!(hex(secret.prove_possession().0), expected.pop, "{label}");
            assert_eq!(secret.prove_possession().to_string(), expected.pop_base58, "{label}");
            assert_eq!(hex(member.node_key.0), expected.node_key, "{label}");
            assert_eq!(NodeSecretKey::from_bytes(&array(&expected.node_secret)).node_key(), member.node_key, "{label}");
            assert_eq!(member.name.as_str(), expected.name, "{label}");
            vouch_core::bls::ProvenVoteKey::verify(VoteKey(member.vote_key.0), secret.prove_possession()).unwrap();
        }
        block.open();
    }
}

#[test]
fn statements_votes_and_certificates_match_the_vectors() {
    let blocks = blocks();
    for block in &blocks.statements {
        let committee_block = blocks.committees.iter().find(|committee| committee.name == block.committee).unwrap();
        let committee = committee_block.open();
        let receipt = Receipt::decode(&unhex(&block.receipt)).unwrap();
        assert_eq!(hex(receipt.encode()), block.receipt);
        assert_eq!(receipt.digest, Digest::of(block.file.as_bytes()));
        assert_eq!(receipt.length, block.file.len() as u64);
        assert_eq!(hex(leaf(&receipt).0), block.leaf);

        let certificate: Certificate = Certificate::decode(&unhex(&block.certificate), &Limits::default()).unwrap();
        assert_eq!(hex(certificate.encode()), block.certificate);
        let statement = certificate.statement(committee.record()).unwrap();
        assert_eq!(hex(statement.encode()), block.statement);
        assert_eq!(hex(statement.id().0), block.identity);
        if certificate.claim.count == 1 {
            let body = Stored { issued_at: certificate.claim.issued_at, count: 1, root: leaf(&receipt) };
            assert_eq!(Statement::new(committee.record(), body), statement);
        }

        let batch = Batch::new(certificate.claim.issued_at, vec![receipt]).unwrap();
        let mut tally = Tally::new(committee.record(), batch.body());
        for (member, (expected, about)) in (0..).zip(block.votes.iter().zip(&committee_block.members)) {
            let secret = VoteSecretKey::from_bytes(&array(&about.vote_secret)).unwrap();
            let vote = statement.sign(&secret);
            assert_eq!(&hex(vote.0), expected, "{}", about.label);
            if certificate.signers.contains(member) {
                tally.add(&committee, member, vote).unwrap();
            }
        }
        assert_eq!(tally.certificates(batch.claims()).unwrap(), [certificate]);
    }
}

#[test]
fn batch_trees_match_the_vectors() {
    let MerkleBlock { receipts, leaves, node_of_first_two_leaves, trees } = blocks().merkle;
    let receipts: Vec<_> = receipts.iter().map(|receipt| Receipt::decode(&unhex(receipt)).unwrap()).collect();
    let got: Vec<_> = receipts.iter().map(|receipt| hex(leaf(receipt).0)).collect();
    assert_eq!(got, leaves);
    assert_eq!(hex(batch(&receipts[..2]).body().root.0), node_of_first_two_leaves);
    for TreeBlock { count, root, paths } in trees {
        let batch = batch(&receipts[..count as usize]);
        let body = batch.body();
        assert_eq!((body.count, hex(body.root.0)), (count, root));
        assert_eq!(paths.len(), receipts[..count as usize].len());
        for ((index, claim), expected) in (0..).zip(batch.claims()).zip(paths) {
            let got: Vec<_> = claim.path.iter().map(|hash| hex(hash.0)).collect();
            assert_eq!(got, expected, "{index} of {count}");
            let StoredClaim { receipt, .. } = claim;
            assert_eq!((claim.index, receipt), (index, receipts[index as usize]));
            assert_eq!(Stored::of_claim(&claim), Some(body));
        }
    }
}

fn hello(encoded: &str) -> Hello {
    let bytes = Bytes::from(unhex(encoded));
    let Message::Hello(hello) = Message::decode(&bytes).unwrap() else { panic!("no hello: {encoded}") };
    assert_eq!(Message::Hello(hello).encode(), bytes);
    hello
}

fn role(name: &str) -> Role {
    [Role::Client, Role::Replica, Role::Server].into_iter().find(|role| role.to_string() == name).unwrap()
}

#[test]
fn link_transcripts_match_the_vectors() {
    for block in blocks().links {
        let (dialer, listener) = (hello(&block.dialer_hello), hello(&block.listener_hello));
        assert_eq!((dialer.role, listener.role), (role(&block.dialer), Role::Server));
        let exporter = (!block.exporter.is_empty()).then(|| array(&block.exporter));
        let transcript = Transcript::new(&dialer, &listener, exporter);
        for auth in &block.auths {
            let secret = NodeSecretKey::from_bytes(&array(&auth.node_secret));
            let role = role(&auth.role);
            // ed25519 is deterministic: equal signatures are over equal bytes
            let signature = secret.sign(&transcript, role);
            assert_eq!(hex(Message::Auth(signature).encode()), auth.auth, "{} signs as {role}", block.dialer);
            transcript.verify(&secret.node_key(), role, &signature).unwrap();

            // the signed bytes consist of the hashes in the vector
            let mut signed = b"\x0Dvouch/link/v1".to_vec();
            signed.extend(unhex(&block.dialer_hello_hash));
            signed.extend(unhex(&block.listener_hello_hash));
            signed.push(role as u8);
            signed.push(if exporter.is_some() { 32 } else { 0 });
            signed.extend(exporter.into_iter().flatten());
            assert_eq!(hex(signed), auth.signed);
        }
    }
}

#[test]
fn signed_times_match_the_vectors() {
    for block in blocks().signed_times {
        let secret = NodeSecretKey::from_bytes(&array(&block.node_secret));
        let (asker, nonce) = (NodeKey(array(&block.asker)), array(&block.nonce));
        let question = TimeQuestion { cluster: ClusterId(array(&block.cluster)), asker, nonce };
        // ed25519 is deterministic: equal signatures are over equal bytes
        let signature = question.answer(&secret, block.time);
        let stream = Stream(1);
        assert_eq!(hex(Message::AskTime { stream, asker, nonce }.encode()), block.question);
        let answer = Message::SignedTime { stream, member: block.member, time: block.time, signature };
        assert_eq!(hex(answer.encode()), block.answer);
        question.verify(&secret.node_key(), block.time, &signature).unwrap();
        let time = hex(block.time.to_le_bytes());
        let namespace = hex(b"\x0Dvouch/time/v1");
        assert_eq!(
            block.signed,
            [&namespace, &block.cluster, &block.asker, &block.nonce, &time].map(String::as_str).concat()
        );
    }
}

#[test]
fn peer_frames_match_the_vectors() {
    let block = blocks().peer_frames;
    let secret = NodeSecretKey::from_bytes(&array(&block.node_secret));
    let (cluster, receiver) = (ClusterId(array(&block.cluster)), PeerSession(array(&block.receiver)));
    let (from, to) = (secret.node_key(), NodeKey(array(&block.to)));
    let header = |number| FrameHeader { from, to, session: PeerSession(array(&block.session)), number };
    for (hello, echo) in [(&block.hello, None), (&block.hello_with_echo, Some(receiver))] {
        let address = hello.address.as_ref().map(|address| address.parse().unwrap());
        let content = PeerHello { echo, asks: hello.asks, address };
        let frame = header(hello.number).seal_hello(&content, &cluster, &secret).unwrap();
        assert_eq!(hex(&frame), hello.frame);
        assert_eq!(PeerFrame::addressed(&frame), Ok((from, to)));
        assert_eq!(PeerFrame::decode(&frame).unwrap().open(&cluster, &receiver), Ok(OpenedFrame::Hello(content)));
    }
    let PeerMessageBlock { number, message, signed, frame } = &block.message;
    let sealed = header(*number).seal_message(&unhex(message), &receiver, &cluster, &secret).unwrap();
    assert_eq!(hex(&sealed), *frame);
    // what is signed: the frame without its signature, between the namespace and the receiver's session
    let unsigned = &frame[..frame.len() - 128];
    assert_eq!(*signed, [&hex(b"\x0Dvouch/peer/v1"), &block.cluster, unsigned, &block.receiver].concat());
}
