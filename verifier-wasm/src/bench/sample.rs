//! Certificates of committees of any size, and `blst` called directly.

#![allow(clippy::unwrap_used, reason = "measurements on values made here")]

use blst::BLST_ERROR;
use blst::min_pk::{AggregatePublicKey, AggregateSignature, PublicKey, SecretKey, Signature};
use vouch_core::bls;
use vouch_core::bundle::{Bundle, BundleChain, BundleStart};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::{CommitteeRecord, Member, MemberName};
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::quorum::quorum;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::{Batch, Statement};
use wasm_bindgen::prelude::wasm_bindgen;

use super::DST;

const ISSUED_AT: u64 = 1_700_000_000;

/// One certificate, signed by the last quorum of a committee, so that as many members as possible are absent.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Sample {
    record: CommitteeRecord,
    bundle: String,
    signers: Vec<PublicKey>,
    sum: PublicKey,
    statement: Vec<u8>,
    certificate: Certificate,
}

#[wasm_bindgen]
impl Sample {
    /// A sample for a committee of `n`.
    #[wasm_bindgen(constructor)]
    pub fn new(n: u16) -> Self {
        let secrets: Vec<_> = (0..n).map(secret).collect();
        let member = |(i, secret): (u16, &SecretKey)| Member {
            // Big-endian, so that the node keys ascend.
            node_key: NodeKey(std::array::from_fn(|at| if at < 2 { i.to_be_bytes()[at] } else { 1 })),
            vote_key: bls::VoteKey(secret.sk_to_pk().to_bytes()),
            name: MemberName::new(&format!("replica-{i}")).unwrap(),
        };
        let record = CommitteeRecord::genesis([7; 16], (0..).zip(&secrets).map(member).collect()).unwrap();
        let receipt = Receipt { salt: [1; 16], digest: Digest::of(b"bench"), length: 5, expires_at: NEVER };
        let batch = Batch::new(ISSUED_AT, vec![receipt]).unwrap();
        let statement = Statement::new(&record, batch.body()).encode();

        let first = n - quorum(n);
        let signing = &secrets[usize::from(first)..];
        let votes: Vec<_> = signing.iter().map(|secret| secret.sign(&statement, DST, &[])).collect();
        let signature = AggregateSignature::aggregate(&votes.iter().collect::<Vec<_>>(), false).unwrap();
        let signers: Vec<_> = signing.iter().map(SecretKey::sk_to_pk).collect();
        let claim = batch.claims().next().unwrap();
        let signature = bls::AggregateSignature(signature.to_signature().to_bytes());
        let certificate = Certificate::new(&record, claim, Signers::new(n, first..n).unwrap(), signature);
        let possession = |i| bls::VoteSecretKey::from_bytes(&secret(i).to_bytes()).unwrap().prove_possession();
        let bundle = Bundle {
            certificate: certificate.encode(),
            chain: BundleChain {
                start: BundleStart {
                    committee: record.encode(),
                    possessions: (0..n).map(possession).collect(),
                    handed_by: None,
                },
                epochs: Vec::new(),
            },
            sealed: None,
        };
        let sum = AggregatePublicKey::aggregate(&signers.iter().collect::<Vec<_>>(), false).unwrap().to_public_key();
        Self { record, bundle: bundle.to_json(), signers, sum, statement, certificate }
    }

    /// The bundle.
    pub fn bundle(&self) -> String {
        self.bundle.clone()
    }

    /// The cluster identity.
    pub fn cluster(&self) -> String {
        self.record.cluster().to_string()
    }

    /// The file's digest.
    pub fn digest(&self) -> Vec<u8> {
        self.certificate.claim.receipt.digest.0.to_vec()
    }

    /// Seconds since 1970.
    pub fn now(&self) -> f64 {
        ISSUED_AT as f64
    }

    /// The signed bytes.
    pub fn statement(&self) -> Vec<u8> {
        self.statement.clone()
    }

    /// The aggregate signature.
    pub fn signature(&self) -> Vec<u8> {
        self.certificate.signature.0.to_vec()
    }

    /// The signers' keys, 48 bytes each.
    pub fn signers(&self) -> Vec<u8> {
        self.signers.iter().flat_map(PublicKey::to_bytes).collect()
    }

    /// One verification by `blst` alone: decodes and checks the signature, then checks the pairing. The sum of the signers' keys
    /// is computed beforehand.
    #[wasm_bindgen(js_name = bareVerify)]
    pub fn bare_verify(&self) -> bool {
        let signature = Signature::sig_validate(&self.certificate.signature.0, true).unwrap();
        signature.verify(false, &self.statement, DST, &[], &self.sum, false) == BLST_ERROR::BLST_SUCCESS
    }
}

fn secret(i: u16) -> SecretKey {
    SecretKey::key_gen(blake3::hash(&i.to_le_bytes()).as_bytes(), &[]).unwrap()
}
