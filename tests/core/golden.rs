//! The frozen bytes of every encoding. A wire change must change `golden.json` deliberately.
//!
//! `VOUCH_BLESS=1 cargo test -p vouch-tests --test core golden` rewrites the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use vouch_core::Limits;
use vouch_core::MAX_SAFE_INTEGER;
use vouch_core::access::{AccessView, Action, Grant, NO_LIMIT, Rules, TokenKey, TokenSecret, Who};
use vouch_core::bundle::{BlockBundle, Bundle, EvidenceBundle, HeadBundle, OpBundle};
use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::{CommitteeRecord, MemberName};
use vouch_core::digest::CommitteeDigest;
use vouch_core::founding::{Founding, Refusal, ReplicaRecord};
use vouch_core::link::{Hello, NodeKey, Role, Transcript};
use vouch_core::log::{
    Block, BlockDigest, BlockHeader, Effect, EngineProposal, EngineVote, EngineVoteType, Evidence, LogTree, Op,
    OpProof, OpResult, OpsDigest, SignedOp, StateDigest, result_tree,
};
use vouch_core::merkle::TreeHash;
use vouch_core::message::{
    Code, Failed, Holder, ListFilter, ListPage, ListPosition, ListSource, Message, Read, ReplicaStatus, Stage, Stream,
};
use vouch_core::peer_frame::{FrameHeader, PeerHello, PeerSession};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::signed_time::TimeQuestion;
use vouch_core::statement::{LogHead, StatementId};
use vouch_core::tally::Tally;
use vouch_core::tree::Parent;

use support::committee::{EXPIRES, ISSUED, TestCommittee, TestEpochs, hello_nonce, node_secret, receipt, vote_secret};

const BLESS: &str = "VOUCH_BLESS";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("core").join("golden.json")
}

/// At least one message of every kind; one of each shape where a kind has several.
pub(crate) fn messages(cluster: &TestCommittee) -> Vec<(String, Message)> {
    let stream = Stream(0x0102_0304);
    let identity = Some(cluster.committee.cluster());
    let key = node_secret("golden").node_key();
    let dialer = |role, cluster, key| Message::Hello(Hello::new(role, cluster, key, hello_nonce("golden dialer")));
    let listener = Hello::new(Role::Server, identity, node_secret("server").node_key(), hello_nonce("golden listener"));
    let transcript = Transcript::new(&Hello::new(Role::Replica, identity, key, [7; 32]), &listener, None);
    let one = receipt("golden");
    let never = Receipt { length: MAX_SAFE_INTEGER, expires_at: NEVER, ..one };
    let alone = Box::new(cluster.certify_one(ISSUED, one));
    let batch = [receipt("golden a"), receipt("golden b"), receipt("golden c")];
    let Certificate { signers, signature, .. } = cluster.certify(ISSUED, &batch).remove(1);
    let archive = Message::Archive { stream, signers, signature };
    let vote = vote_secret("golden");
    let statement = *cluster.tally(ISSUED, &[one], []).statement();
    let detail = "storage: expected ‘durable’, got <b>EIO</b>";
    let failed = Failed::new(stream, Code::NotEnoughReplicas, detail).with_subjects(vec![0, 3, 999]);
    let holders = vec![Holder { member: 0, length: 0 }, Holder { member: 999, length: MAX_SAFE_INTEGER }];
    let read = Read { stream, member: 999, digest: one.digest, offset: 1 << 40, length: 262_144 };
    let bytes = Bytes::from_static(b"bytes of a file");
    let chunk = |offset, parents| Message::Chunk { stream, offset, parents, bytes: bytes.clone() };
    let end = ListPosition { list: MAX_SAFE_INTEGER, after: 1 << 40 };
    let listed = |more, certificates| Message::Listed { stream, page: ListPage { end, more, certificates } };
    let list = |source, from, filter| Message::List { stream, source, from, filter };
    let found = alone.clone();
    let question =
        TimeQuestion { cluster: cluster.committee.cluster(), asker: key, nonce: hello_nonce("golden dialer") };
    let signed_time = question.answer(&node_secret("server"), MAX_SAFE_INTEGER);
    let nobody = Founding::new(cluster.committee.clone());
    let mut founding = nobody.clone();
    for i in [0, 2] {
        founding.accept_as(&cluster.record().members()[i].node_key, &cluster.votes[i]);
    }
    let accepted = founding.acceptances().iter().map(|(member, signature)| (*member, *signature)).collect();
    let refusal = Refusal::sign(&node_secret("golden"), founding.digest(), CommitteeDigest([0xA5; 32]));
    let status = |status, detail: &str| Message::ReplicaStatus { status, detail: detail.into() };
    let token = TokenSecret::from_bytes(&[7; 32]);
    let authorise = |action| Some(token.authorise(&cluster.committee.cluster(), action, ISSUED));
    let (to_store, to_send) = (authorise(Action::Store(&one)), authorise(Action::Send));
    let to_read = authorise(Action::Read(&one.digest));
    let mut messages = vec![
        ("Hello of a client", dialer(Role::Client, None, NodeKey::ANONYMOUS)),
        ("Hello of a replica", dialer(Role::Replica, identity, key)),
        ("Hello of a server", Message::Hello(listener)),
        ("Auth", Message::Auth(node_secret("golden").sign(&transcript, Role::Replica))),
        ("Cluster", cluster.message()),
        ("Failed", Message::Failed(failed)),
        ("Failed, the link", Message::failed(Stream::LINK, Code::ShuttingDown, "")),
        ("Epochs", Message::epochs(TestEpochs::new(4, 2).chain.links(2)).remove(0)),
        ("Put, offered", Message::Put { stream, offer: Some(one), renew: false, authorisation: None }),
        ("Put, streamed", Message::Put { stream, offer: None, renew: false, authorisation: None }),
        ("Put, offered, renew", Message::Put { stream, offer: Some(one), renew: true, authorisation: None }),
        ("Put, streamed, renew", Message::Put { stream, offer: None, renew: true, authorisation: None }),
        ("Chunk", chunk(MAX_SAFE_INTEGER, Vec::new())),
        ("Chunk, with its proof", chunk(1 << 40, vec![Parent([0x11; 64]), Parent([0x22; 64])])),
        ("PutEnd", Message::PutEnd { stream, receipt: never, authorisation: None }),
        ("Cancel", Message::Cancel { stream, keep: true }),
        ("Ready", Message::Ready { stream, offset: 1 << 20 }),
        ("Certified", Message::Certified { stream, certificate: alone }),
        ("Stored", Message::Stored { stream }),
        (
            "Blob",
            Message::Blob {
                stream,
                receipt: one,
                renew: false,
                bytes: Bytes::from_static(b"a small file"),
                authorisation: None,
            },
        ),
        (
            "Blob, renew",
            Message::Blob {
                stream,
                receipt: one,
                renew: true,
                bytes: Bytes::from_static(b"a small file"),
                authorisation: None,
            },
        ),
        ("Blob, empty", Message::Blob { stream, receipt: one, renew: false, bytes: Bytes::new(), authorisation: None }),
        ("Put, offered, authorised", Message::Put { stream, offer: Some(one), renew: false, authorisation: to_store }),
        ("Put, streamed, renew, authorised", Message::Put { stream, offer: None, renew: true, authorisation: to_send }),
        ("PutEnd, authorised", Message::PutEnd { stream, receipt: one, authorisation: to_store }),
        (
            "Blob, renew, authorised",
            Message::Blob {
                stream,
                receipt: one,
                renew: true,
                authorisation: to_store,
                bytes: Bytes::from_static(b"a small file"),
            },
        ),
        ("Locate, authorised", Message::Locate { stream, digest: one.digest, authorisation: to_read }),
        ("Locate", Message::Locate { stream, digest: one.digest, authorisation: None }),
        ("Located", Message::Located { stream, holders }),
        ("Located, nowhere", Message::Located { stream, holders: Vec::new() }),
        ("Read", Message::Read(read)),
        (
            "Join",
            Message::Join {
                vote_key: vote.vote_key(),
                possession: vote.prove_possession(),
                name: MemberName::new("Zürich 🏔").unwrap(),
            },
        ),
        ("Propose", Message::Propose { stream, issued_at: ISSUED, receipts: vec![one, never] }),
        ("Vote", Message::Vote { stream, signature: statement.sign(&vote) }),
        ("List, of the asked end", list(ListSource::Own, ListPosition::default(), ListFilter::All)),
        ("List, of a member", list(ListSource::Member(999), end, ListFilter::NotSignedBy(998))),
        ("List, what another server made", list(ListSource::Own, end, ListFilter::NotFromAsker)),
        ("Listed", listed(true, cluster.certify(ISSUED, &batch))),
        ("Listed, no more", listed(false, Vec::new())),
        ("Endorse", Message::Endorse { digests: vec![one.digest, never.digest] }),
        ("AskTime", Message::AskTime { stream, asker: key, nonce: hello_nonce("golden dialer") }),
        ("SignedTime", Message::SignedTime { stream, member: 999, time: MAX_SAFE_INTEGER, signature: signed_time }),
        ("FindCertificate", Message::FindCertificate { stream, digest: one.digest }),
        ("FoundCertificate", Message::FoundCertificate { stream, certificate: Some(found) }),
        ("FoundCertificate, none", Message::FoundCertificate { stream, certificate: None }),
        ("Missed", Message::Missed { certificates: cluster.certify(ISSUED, &batch) }),
        ("Missed, not shown", Message::Missed { certificates: Vec::new() }),
        ("Archive", archive),
        ("Founding", Message::Founding(Box::new(founding.message()))),
        ("Founding, nobody accepted", Message::Founding(Box::new(nobody.message()))),
        ("Acceptances", Message::Acceptances { founding: founding.digest(), acceptances: accepted }),
        ("Refusals", Message::Refusals(vec![refusal])),
        ("ReplicaStatus, waiting", status(ReplicaStatus::Waiting, "waits for replica-2, which is not connected")),
        ("ReplicaStatus, member", status(ReplicaStatus::Member, "")),
        ("ReplicaStatus, standby", status(ReplicaStatus::Standby, "")),
    ];
    for (name, stage) in [
        ("Progress, receiving", Stage::Receiving),
        ("Progress, stored", Stage::Stored),
        ("Progress, voted", Stage::Voted),
        ("Progress, dropped", Stage::Dropped),
    ] {
        messages.push((name, Message::Progress { stream, member: 2, stage }));
    }
    messages.extend(log_messages(cluster));
    messages.into_iter().map(|(name, message)| (name.to_owned(), message)).collect()
}

/// A log of one block with two ops.
struct ExampleLog {
    ops: Vec<SignedOp>,
    results: Vec<OpResult>,
    block: Block,
    head: LogHead,
    proof: OpProof,
}

impl ExampleLog {
    fn new(cluster: &TestCommittee) -> Self {
        let (identity, secret) = (cluster.committee.cluster(), node_secret("golden"));
        let op = |nonce, body: &[u8]| Op::new(0xA55A, [nonce; 16], ISSUED + 60, body.to_vec()).unwrap();
        let ops: Vec<_> = [op(1, b"an op"), op(2, b"")].map(|op| SignedOp::sign(op, &identity, &secret)).into();
        let effects: Vec<_> = [&b"its effect"[..], b""].map(|bytes| Effect::new(bytes.to_vec()).unwrap()).into();
        let result = |(op, effect): (&SignedOp, &Effect)| OpResult {
            op: op.op.id(&identity),
            submitter: op.submitter,
            effect: effect.clone(),
        };
        let results: Vec<_> = ops.iter().zip(&effects).map(result).collect();
        let before = LogTree::new();
        let header = BlockHeader {
            cluster: identity,
            epoch: 0,
            height: 1,
            parent: BlockDigest::GENESIS,
            author: secret.node_key(),
            time: ISSUED,
            log_root: before.root(),
            count: 2,
            ops: OpsDigest::of(&ops),
            results: result_tree(&results).unwrap().root(),
            state: StateDigest::of(b"the state"),
        };
        let block = Block::new(header.clone(), ops.clone()).unwrap();
        let head = LogHead::new(&header, &before).unwrap();
        let submitted: Vec<_> = ops.iter().map(|signed| (signed.submitter, signed.op.clone())).collect();
        let proof = OpProof::new(&header, &submitted, &effects, 0, 1, |_| Some(block.digest())).unwrap();
        Self { ops, results, block, head, proof }
    }
}

/// The messages about the log.
fn log_messages(cluster: &TestCommittee) -> Vec<(&'static str, Message)> {
    let ExampleLog { ops, results, block, head, proof } = ExampleLog::new(cluster);
    let signature = Tally::new(cluster.record(), head).statement().sign(&cluster.votes[0]);
    let (stream, path, height) = (Stream(7), vec![TreeHash([9; 32]); 3], MAX_SAFE_INTEGER);
    vec![
        ("Peer", Message::Peer(Bytes::from_static(b"a frame"))),
        ("SubmitOp", Message::SubmitOp { stream, op: ops[0].op.clone() }),
        ("OpDecided", Message::OpDecided { stream, height }),
        ("LogTip", Message::LogTip { height, time: ISSUED }),
        ("LogTip, no block", Message::LogTip { height: 0, time: 0 }),
        ("AskLogHead", Message::AskLogHead { stream, height }),
        ("LogHead", Message::LogHead { stream, head, signature }),
        ("AskOpProof", Message::AskOpProof { stream, op: results[0].op, head: 1 }),
        ("OpProof", Message::OpProof { stream, proof: Box::new(proof) }),
        ("AskBlock", Message::AskBlock { stream, height: 1, head: height }),
        ("LogBlock", Message::LogBlock { stream, path, block: Box::new(block) }),
        ("AskSeal", Message::AskSeal { stream, epoch: MAX_SAFE_INTEGER, from: 8192 }),
        ("SealPart", Message::SealPart { stream, count: 8194, identities: vec![StatementId([7; 32]); 2] }),
        ("NextMembers", Message::NextMembers { members: vec![node_secret("golden").node_key(); 2] }),
        ("NextMembers, no change", Message::NextMembers { members: Vec::new() }),
        ("Access", Message::Access(Box::new(access_view()))),
        ("SealPart, no statement", Message::SealPart { stream, count: 0, identities: Vec::new() }),
    ]
}

/// Every encoding of the log.
fn log_encodings(cluster: &TestCommittee) -> Vec<(&'static str, Vec<u8>)> {
    let ExampleLog { ops, results, block, head, proof } = ExampleLog::new(cluster);
    let (identity, secret, header) = (cluster.committee.cluster(), node_secret("golden"), block.header());
    let mut tree = LogTree::new();
    for height in 0..5 {
        tree.append(&if height == 0 { block.digest() } else { BlockDigest([height; 32]) });
    }
    let mut edge = Vec::new();
    tree.write(&mut edge);
    let mut tally = Tally::new(cluster.record(), head);
    for member in 0..3u16 {
        let vote = tally.statement().sign(&cluster.votes[usize::from(member)]);
        tally.add(&cluster.committee, member, vote).unwrap();
    }
    let certificate = tally.certificates([head]).unwrap().remove(0);
    let vote = EngineVote { vote_type: EngineVoteType::Precommit, height: 1, round: 2, block: Some(block.digest()) };
    let none = EngineVote { block: None, ..vote };
    let proposal = EngineProposal { height: 1, round: 2, valid_round: Some(1), block: block.digest() };
    let other = EngineProposal { valid_round: None, block: BlockDigest([9; 32]), ..proposal };
    let member = secret.node_key();
    let votes = [vote, none].map(|vote| (vote, vote.sign(&identity, 0, &secret)));
    let proposals = [proposal, other].map(|proposal| (proposal, proposal.sign(&identity, 0, &secret)));
    let votes = Evidence::of_votes(identity, 0, member, votes).unwrap();
    let committee = &CommitteeChain::new(cluster.committee.clone());
    let block_bundle = BlockBundle::new(block.clone(), proof.block_path.clone(), &certificate, committee);
    vec![
        ("log op", ops[0].op.encode()),
        ("log op identity", results[0].op.0.to_vec()),
        ("log op, signed", ops[0].encode()),
        ("log result", results[0].encode()),
        ("log block", block.encode()),
        ("log block digest", block.digest().0.to_vec()),
        ("log state digest", header.state.0.to_vec()),
        ("log tree", edge),
        ("log tree root", tree.root().0.to_vec()),
        ("log head statement", tally.statement().encode()),
        ("log head certificate", certificate.encode()),
        ("log engine vote", vote.signed_bytes(&identity, 0)),
        ("log engine vote for no block", none.signed_bytes(&identity, 0)),
        ("log engine proposal", proposal.signed_bytes(&identity, 0)),
        ("log engine proposal, new block", other.signed_bytes(&identity, 0)),
        ("log evidence, votes", votes.encode()),
        ("log evidence, proposals", Evidence::of_proposals(identity, 0, member, proposals).unwrap().encode()),
        ("op proof", proof.encode()),
        ("op bundle", OpBundle::new(proof, &certificate, committee).to_json().into_bytes()),
        ("log head bundle", HeadBundle::new(&certificate, committee).to_json().into_bytes()),
        ("log block bundle", block_bundle.to_json().into_bytes()),
        ("log evidence bundle", EvidenceBundle::new(votes, committee).to_json().into_bytes()),
    ]
}

/// Every frame from one member to another.
fn peer_frames(cluster: &TestCommittee) -> [(&'static str, Vec<u8>); 3] {
    let (identity, secret) = (cluster.committee.cluster(), node_secret("golden"));
    let (from, to) = (secret.node_key(), node_secret("server").node_key());
    let header = FrameHeader { from, to, session: PeerSession([0x5E; 16]), number: MAX_SAFE_INTEGER };
    let receiver = PeerSession([0xEC; 16]);
    let silent = PeerHello { echo: None, asks: true, address: None };
    let listening = PeerHello { echo: Some(receiver), asks: false, address: Some("[::1]:9091".parse().unwrap()) };
    let hello = |hello| header.seal_hello(hello, &identity, &secret).unwrap();
    [
        ("peer hello", hello(&silent)),
        ("peer hello with echo and address", hello(&listening)),
        ("peer message", header.seal_message(b"a message", &receiver, &identity, &secret).unwrap()),
    ]
}

/// Every encoding by name.
fn encodings() -> BTreeMap<String, Vec<u8>> {
    let cluster = TestCommittee::labelled("golden", 4);
    let one = receipt("golden");
    let certificate = cluster.certify_one(ISSUED, one);
    let statement = certificate.statement(cluster.record()).unwrap();
    let mut all: BTreeMap<_, _> = messages(&cluster)
        .into_iter()
        .map(|(name, message)| (format!("message {name}"), message.encode().to_vec()))
        .collect();
    let mut add = |name: &str, bytes: Vec<u8>| assert!(all.insert(name.into(), bytes).is_none(), "{name} twice");
    add("committee", cluster.record().encode());
    add("committee digest", cluster.record().digest().0.to_vec());
    add("receipt", one.encode().to_vec());
    add("receipt kept for ever", Receipt { expires_at: NEVER, ..one }.encode().to_vec());
    add("statement", statement.encode());
    add("statement identity", statement.id().0.to_vec());
    add("vote", statement.sign(&cluster.votes[0]).0.to_vec());
    add("certificate", certificate.encode());
    let mut founding = Founding::new(cluster.committee.clone());
    founding.accept_as(&cluster.record().members()[1].node_key, &cluster.votes[1]);
    add("founding record, nothing accepted", ReplicaRecord::default().encode());
    add("founding record", ReplicaRecord::default().with(founding).encode());
    add("bundle", Bundle::new(&certificate, &cluster.committee.clone().into()).to_json().into_bytes());
    for (name, bytes) in log_encodings(&cluster).into_iter().chain(peer_frames(&cluster)) {
        add(name, bytes);
    }
    for (name, exporter) in [("", None), (", with TLS", Some([9; 32]))] {
        // the transcript's bytes are private: a deterministic signature over them represents them
        let client = Hello::new(Role::Client, None, NodeKey::ANONYMOUS, [1; 32]);
        let server = Hello::new(Role::Server, None, node_secret("server").node_key(), [2; 32]);
        let transcript = Transcript::new(&client, &server, exporter);
        add(&format!("link transcript signed{name}"), node_secret("server").sign(&transcript, Role::Server).0.to_vec());
    }
    all
}

/// JSON with one encoding per line, sorted by name.
fn spelled(encodings: &BTreeMap<String, Vec<u8>>) -> String {
    let lines: Vec<_> =
        encodings.iter().map(|(name, bytes)| format!("  \"{name}\": \"{}\"", HEXLOWER.encode(bytes))).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

fn access_view() -> AccessView {
    let grant = |name: &str, limit| Grant {
        name: MemberName::new(name).unwrap(),
        largest: limit,
        rate: NO_LIMIT,
        quota: limit,
        expires_at: NO_LIMIT,
    };
    AccessView {
        number: 3,
        rules: Rules { put: Who::Tokens, read: Who::Anyone },
        tokens: vec![(TokenKey([1; 32]), grant("alice", 1 << 20)), (TokenKey([2; 32]), grant("bob", NO_LIMIT))],
    }
}

#[test]
fn encodings_are_unchanged() {
    let got = encodings();
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        std::fs::write(path(), spelled(&got)).unwrap();
        return;
    }
    let text = std::fs::read_to_string(path()).unwrap();
    let expected: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for name in expected.keys().filter(|name| !got.contains_key(*name)) {
        wrong.push(format!("{name}: in the file, and no longer made"));
    }
    for (name, bytes) in &got {
        let hex = HEXLOWER.encode(bytes);
        match expected.get(name) {
            None => wrong.push(format!("{name}: not in the file")),
            Some(expected) if *expected != hex => {
                wrong.push(format!("{name}:\n  expected {expected}\n  got      {hex}"))
            }
            Some(_) => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "the wire differs from tests/core/golden.json. Whoever reads old bytes would be broken by this. If it is meant, run\n  \
         {BLESS}=1 cargo test -p vouch-tests --test core golden\nand review the file's diff.\n{}",
        wrong.join("\n")
    );
}

#[test]
fn messages_round_trip_and_tags_match_the_specification() {
    let cluster = TestCommittee::labelled("golden", 4);
    let mut kinds: Vec<_> = Vec::new();
    for (name, message) in messages(&cluster) {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message), "{name}");
        assert_eq!(Message::decode(&bytes).unwrap().encode(), bytes, "{name}");
        kinds.push(bytes[0]);
    }
    kinds.sort_unstable();
    kinds.dedup();
    // the tags in the specification's table are accepted, all others refused
    let page = include_str!("../../shared/PROTOCOL.md");
    for tag in 0..=u8::MAX {
        let listed = page.contains(&format!("| 0x{tag:02x} |"));
        assert_eq!(kinds.contains(&tag), listed, "tag {tag:#04x}");
        let unknown = vouch_core::message::MessageError::UnknownTag(tag);
        assert_eq!(Message::decode(&Bytes::from(vec![tag])) == Err(unknown), !listed, "tag {tag:#04x}");
    }
}

#[test]
fn failure_codes_match_the_specification() {
    let page = include_str!("../../shared/PROTOCOL.md");
    let codes = page.split("\n### ").find(|section| section.starts_with("Codes of `Failed`")).unwrap();
    for number in 0..=u16::from(u8::MAX) {
        let mut bytes = vec![0x04, 0, 0, 0, 0];
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        match Message::decode(&bytes.into()) {
            Ok(Message::Failed(failed)) => {
                // some rows of the specification continue after the name
                let row = format!("| {number} | {}", failed.code.name());
                assert!(codes.contains(&row), "PROTOCOL.md lacks {row:?}");
            }
            other => {
                assert!(other.is_err());
                assert!(!codes.contains(&format!("\n| {number} |")), "code {number}");
            }
        }
    }
}

#[test]
fn other_encodings_round_trip() {
    let all = encodings();
    let record = CommitteeRecord::decode(&all["committee"], &Limits::default()).unwrap();
    assert_eq!(record.encode(), all["committee"]);
    assert_eq!(record, *TestCommittee::labelled("golden", 4).record());
    for name in ["receipt", "receipt kept for ever"] {
        assert_eq!(Receipt::decode(&all[name]).unwrap().encode(), all[name][..]);
    }
    assert_eq!(Receipt::decode(&all["receipt"]), Ok(receipt("golden")));
    assert_eq!(receipt("golden").expires_at, EXPIRES);
    let certificate: Certificate = Certificate::decode(&all["certificate"], &Limits::default()).unwrap();
    assert_eq!(certificate.encode(), all["certificate"]);
    assert_eq!(certificate.statement(&record).unwrap().encode(), all["statement"]);
    let bundle = Bundle::parse(&all["bundle"], &Limits::default()).unwrap();
    assert_eq!(bundle.to_json().into_bytes(), all["bundle"]);
    assert_eq!(
        (bundle.certificate, bundle.chain.start.committee),
        (all["certificate"].clone(), all["committee"].clone())
    );
}
