//! The values of `tests/vectors/log.json`, written by the independent implementation.

use serde::Deserialize;
use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::codec::Reader;
use vouch_core::committee::CommitteeRecord;
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::{
    Block, BlockDigest, Effect, EngineProposal, EngineSignature, EngineVote, EngineVoteType, Evidence,
    EvidenceFormatError, LogTree, Op, OpProof, OpResult, SignedOp, result_tree,
};
use vouch_core::statement::{LogHead, Statement};

use crate::vectors::{array, hex};

#[derive(Deserialize)]
struct Values {
    cluster: String,
    blocks: Vec<BlockValues>,
    engine: EngineValues,
    evidence: Vec<EvidenceCase>,
}

#[derive(Deserialize)]
struct BlockValues {
    height: u64,
    block: String,
    digest: String,
    ops_digest: String,
    results_root: String,
    log_root_before: String,
    log_root: String,
    edge: String,
    statement: String,
    statement_identity: String,
    certificate: String,
    ops: Vec<OpValues>,
}

#[derive(Deserialize)]
struct OpValues {
    op: String,
    identity: String,
    signed: String,
    effect: String,
    submitter: String,
}

#[derive(Deserialize)]
struct EngineValues {
    node_secret: String,
    votes: Vec<VoteValues>,
    proposals: Vec<ProposalValues>,
}

#[derive(Deserialize)]
struct VoteValues {
    r#type: u8,
    height: u64,
    round: u32,
    block: Option<String>,
    signed: String,
    signature: String,
}

#[derive(Deserialize)]
struct ProposalValues {
    height: u64,
    round: u32,
    valid_round: Option<u32>,
    block: String,
    signed: String,
    signature: String,
}

#[derive(Deserialize)]
struct EvidenceCase {
    name: String,
    evidence: String,
    expected: String,
}

fn values() -> Values {
    let text = std::fs::read_to_string(crate::vectors::directory().join("log.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The committee n4, from the base of the cases of ops.
fn committee() -> CommitteeRecord {
    let text = std::fs::read_to_string(crate::vectors::directory().join("ops.json")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(file["base"].as_str().unwrap()).unwrap();
    let encoded = bundle["genesis"]["committee"].as_str().unwrap();
    CommitteeRecord::decode(&data_encoding::BASE64URL_NOPAD.decode(encoded.as_bytes()).unwrap(), &Limits::default())
        .unwrap()
}

#[test]
fn blocks_ops_and_results_match_the_vectors() {
    let Values { cluster, blocks, .. } = values();
    let cluster = ClusterId(array(&cluster));
    assert_eq!(blocks.len(), 7);
    for expected in &blocks {
        let block = Block::decode(&hex(&expected.block)).unwrap();
        let header = block.header();
        assert_eq!((header.height, block.encode()), (expected.height, hex(&expected.block)));
        assert_eq!(block.digest().to_hex(), expected.digest);
        assert_eq!(header.ops.0, array(&expected.ops_digest));
        let mut results = Vec::new();
        for (op, values) in block.ops().iter().zip(&expected.ops) {
            assert_eq!(op.verify(&cluster), Ok(()));
            assert_eq!((op.encode(), op.op.encode()), (hex(&values.signed), hex(&values.op)));
            assert_eq!(Op::decode(&hex(&values.op)).unwrap().id(&cluster).to_hex(), values.identity);
            assert_eq!(op.submitter.0, array(&values.submitter));
            let effect = Effect::new(hex(&values.effect)).unwrap();
            results.push(OpResult { op: op.op.id(&cluster), submitter: op.submitter, effect });
        }
        assert_eq!(results.len(), expected.ops.len());
        assert_eq!(result_tree(&results).unwrap().root().0, array(&expected.results_root));
        assert_eq!(header.results.0, array(&expected.results_root));
    }
}

#[test]
fn log_trees_heads_and_proofs_match_the_vectors() {
    let Values { blocks, .. } = values();
    let record = committee();
    let mut tree = LogTree::new();
    let digests: Vec<_> = blocks.iter().map(|block| BlockDigest(array(&block.digest))).collect();
    for expected in &blocks {
        let block = Block::decode(&hex(&expected.block)).unwrap();
        assert_eq!(tree.root().0, array(&expected.log_root_before));
        assert_eq!(block.header().log_root, tree.root());
        let head = LogHead::new(block.header(), &tree).unwrap();
        tree.append(&block.digest());
        assert_eq!((tree.root().0, head.log_root), (array(&expected.log_root), tree.root()));
        let mut edge = Vec::new();
        tree.write(&mut edge);
        assert_eq!(edge, hex(&expected.edge));
        assert_eq!(LogTree::read(&mut Reader::new(&edge)), Ok(tree.clone()));
        let statement = Statement::new(&record, head);
        assert_eq!(statement.encode(), hex(&expected.statement));
        assert_eq!(statement.id().0, array(&expected.statement_identity));
        let certificate = Certificate::<LogHead>::decode(&hex(&expected.certificate), &Limits::default()).unwrap();
        assert_eq!((certificate.claim, certificate.encode()), (head, hex(&expected.certificate)));

        let effects: Vec<_> = expected.ops.iter().map(|op| Effect::new(hex(&op.effect)).unwrap()).collect();
        let ops: Vec<_> = block.ops().iter().map(|signed| (signed.submitter, signed.op.clone())).collect();
        let digest_of = |height: u64| digests.get(usize::try_from(height).unwrap() - 1).copied();
        for index in 0..block.header().count {
            let proof = OpProof::new(block.header(), &ops, &effects, index, 7, digest_of).unwrap();
            assert_eq!(OpProof::decode(&proof.encode()), Ok(proof));
        }
    }
}

#[test]
fn engine_messages_match_the_vectors() {
    let Values { cluster, engine, .. } = values();
    let cluster = ClusterId(array(&cluster));
    let secret = NodeSecretKey::from_bytes(&array(&engine.node_secret));
    for expected in &engine.votes {
        let vote_type = if expected.r#type == 1 { EngineVoteType::Prevote } else { EngineVoteType::Precommit };
        let block = expected.block.as_ref().map(|text| BlockDigest(array(text)));
        let vote = EngineVote { vote_type, height: expected.height, round: expected.round, block };
        assert_eq!(vote.signed_bytes(&cluster, 0), hex(&expected.signed));
        assert_eq!(vote.sign(&cluster, 0, &secret), EngineSignature(array(&expected.signature)));
    }
    for expected in &engine.proposals {
        let ProposalValues { height, round, valid_round, .. } = *expected;
        let proposal = EngineProposal { height, round, valid_round, block: BlockDigest(array(&expected.block)) };
        assert_eq!(proposal.signed_bytes(&cluster, 0), hex(&expected.signed));
        assert_eq!(proposal.sign(&cluster, 0, &secret), EngineSignature(array(&expected.signature)));
    }
    assert_eq!((engine.votes.len(), engine.proposals.len()), (4, 2));
}

#[test]
fn evidence_verdicts_match_the_vectors() {
    let record = committee();
    let mut seen = 0;
    for case in values().evidence {
        seen += 1;
        let bytes = hex(&case.evidence);
        let got = match Evidence::decode(&bytes) {
            Err(EvidenceFormatError::UnknownVersion(_)) => "cannot-check",
            Err(_) => "invalid",
            Ok(evidence) => {
                assert_eq!(evidence.encode(), bytes, "{}", case.name);
                if evidence.verify(&record) == Ok(1) { "valid" } else { "invalid" }
            }
        };
        assert_eq!(got, case.expected, "{}", case.name);
    }
    assert!(seen >= 20, "{seen}");
}

#[test]
fn a_signed_op_of_the_vectors_is_canonical() {
    for block in values().blocks {
        for op in block.ops {
            let bytes = hex(&op.signed);
            assert_eq!(SignedOp::decode(&bytes).unwrap().encode(), bytes);
            assert!(SignedOp::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
