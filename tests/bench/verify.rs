//! Verification of one certificate, with the committee loaded, against one bare blst verification.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use blst::min_pk::{PublicKey, SecretKey, Signature};
use support::committee::TestCommittee;
use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::receipt::{NEVER, Receipt};
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

fn certify(n: u16, signers: u16) -> (Arc<Committee>, Certificate) {
    let cluster = TestCommittee::labelled("bench", n);
    let receipt = Receipt { salt: [1; 16], digest: Digest::of(b"bench"), length: 5, expires_at: NEVER };
    let certificate = cluster.certify_by(NOW, &[receipt], 0..signers).remove(0);
    (cluster.committee, certificate)
}
