//! Verification of one certificate, with the committee loaded, against one bare blst verification.

use std::hint::black_box;
use std::time::Instant;

use blst::min_pk::{PublicKey, SecretKey, Signature};
use vouch_core::Limits;
use vouch_core::bls::VoteSecretKey;
use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord, Member, MemberName};
use vouch_core::digest::Digest;
use vouch_core::link::NodeSecretKey;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::Batch;
use vouch_core::tally::Tally;
use vouch_core::verify::{Subject, verify_certificate};

use super::{median, row};

const NOW: u64 = 1_700_000_000;
const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";
/// Verifications per timed batch.
const BATCH: u32 = 50;

pub(crate) fn run(runs: usize) {
    for n in [4u16, 100, 1000] {
        for (who, signers) in [("all sign", n), ("quorum signs", vouch_core::quorum::quorum(n))] {
            let (committee, certificate) = certify(n, signers);
            let bytes = certificate.encode();
            let subject =
                Subject { digest: certificate.claim.receipt.digest, length: Some(certificate.claim.receipt.length) };
            let message = certificate.statement(committee.record()).unwrap().encode();
            let (key, signature) = bare(&message);
            let mut ours = Vec::new();
            let mut theirs = Vec::new();
            for _ in 0..runs {
                ours.push(time(|| {
                    let certificate = Certificate::decode(black_box(&bytes), &Limits::default()).unwrap();
                    verify_certificate(&certificate, &committee, &subject, NOW, false).unwrap();
                }));
                theirs.push(time(|| {
                    let signature = Signature::sig_validate(black_box(&signature), true).unwrap();
                    let verified = signature.verify(false, &message, DST, &[], &key, false);
                    assert_eq!(verified, blst::BLST_ERROR::BLST_SUCCESS);
                }));
            }
            row(&format!("verify, n = {n}, {who}"), median(ours), median(theirs), "ms", "bare blst verify");
        }
    }
}

/// Milliseconds per call.
fn time(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..BATCH {
        work();
    }
    start.elapsed().as_secs_f64() * 1e3 / f64::from(BATCH)
}

fn bare(message: &[u8]) -> (PublicKey, [u8; 96]) {
    let secret = SecretKey::key_gen(&[9; 32], &[]).unwrap();
    (secret.sk_to_pk(), secret.sign(message, DST, &[]).to_bytes())
}

fn certify(n: u16, signers: u16) -> (Committee, Certificate) {
    let seed = |kind: u8, i: u16| *blake3::hash(&[&[kind], &i.to_le_bytes()[..]].concat()).as_bytes();
    let mut nodes: Vec<_> = (0..n)
        .map(|i| (NodeSecretKey::from_bytes(&seed(1, i)).node_key(), VoteSecretKey::generate(&seed(2, i)).unwrap()))
        .collect();
    nodes.sort_by_key(|(node_key, _)| *node_key);
    let member = |(i, (node_key, vote)): (usize, &(_, VoteSecretKey))| Member {
        node_key: *node_key,
        vote_key: vote.vote_key(),
        name: MemberName::new(&format!("replica-{i}")).unwrap(),
    };
    let record = CommitteeRecord::genesis([7; 16], nodes.iter().enumerate().map(member).collect()).unwrap();
    let possessions = nodes.iter().map(|(_, vote)| vote.prove_possession()).collect();
    let committee = Committee::genesis(record, possessions).unwrap();
    let receipt = Receipt { salt: [1; 16], digest: Digest::of(b"bench"), length: 5, expires_at: NEVER };
    let batch = Batch::new(NOW, vec![receipt]).unwrap();
    let mut tally = Tally::new(committee.record(), batch.body());
    let statement = *tally.statement();
    for (position, (_, vote)) in (0..signers).zip(&nodes) {
        tally.add(&committee, position, statement.sign(vote)).unwrap();
    }
    let certificate = tally.certificates(batch.claims()).unwrap().remove(0);
    (committee, certificate)
}
