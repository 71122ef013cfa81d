//! Committees, receipts and certificates derived from labels, with the derivation of `tests/vectors/generator/world.mjs`.

use std::sync::Arc;

use bytes::Bytes;
use vouch_core::bls::{Possession, VoteSecretKey};
use vouch_core::bundle::Bundle;
use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord, Member, MemberName};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::NodeSecretKey;
use vouch_core::message::{ClusterMessage, Message};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Stored};
use vouch_core::tally::Tally;
use vouch_core::verify::{Subject, VerifyOptions};

/// Time of issue of test certificates, in Unix seconds.
pub const ISSUED: u64 = 1_790_000_000;
/// An hour after issue.
pub const NOW: u64 = ISSUED + 3600;
/// Expiry of test receipts: a year after issue.
pub const EXPIRES: u64 = ISSUED + 365 * 86_400;

fn derive(use_of: &str, label: &str) -> [u8; 32] {
    blake3::derive_key(&format!("vouch test {use_of} v1"), label.as_bytes())
}

fn half(whole: [u8; 32]) -> [u8; 16] {
    whole[..16].try_into().unwrap()
}

/// The vote key of a label.
pub fn vote_secret(label: &str) -> VoteSecretKey {
    let mut secret = derive("vote key", label);
    secret[0] &= 0x3F;
    VoteSecretKey::from_bytes(&secret).unwrap()
}

/// The node key of a label.
pub fn node_secret(label: &str) -> NodeSecretKey {
    NodeSecretKey::from_bytes(&derive("node key", label))
}

/// A hello's nonce.
pub fn hello_nonce(label: &str) -> [u8; 32] {
    derive("nonce", label)
}

/// The salt of a label.
pub fn salt(label: &str) -> [u8; 16] {
    half(derive("salt", label))
}

/// The file contents of a label.
pub fn file(label: &str) -> Vec<u8> {
    format!("Vouch test file {label}\n").into_bytes()
}

/// A receipt for these bytes.
pub fn receipt_of(salt: [u8; 16], bytes: &[u8]) -> Receipt {
    Receipt { salt, digest: Digest::of(bytes), length: bytes.len() as u64, expires_at: EXPIRES }
}

/// The receipt of a label's file.
pub fn receipt(label: &str) -> Receipt {
    receipt_of(salt(label), &file(label))
}

/// A committee with its secret keys, both in member order.
#[derive(Debug)]
pub struct TestCommittee {
    /// The committee.
    pub committee: Arc<Committee>,
    /// Vote keys in member order.
    pub votes: Vec<VoteSecretKey>,
}

fn batch(issued_at: u64, receipts: &[Receipt]) -> Batch {
    Batch::new(issued_at, receipts.to_vec()).unwrap()
}

impl TestCommittee {
    /// A committee of `n` members `replica-0`, `replica-1`, …
    pub fn new(label: &str, n: u16) -> Self {
        let mut secrets: Vec<_> = (0..n)
            .map(|i| {
                let label = format!("{label}/{i}");
                (node_secret(&label).node_key(), vote_secret(&label))
            })
            .collect();
        secrets.sort_by_key(|(node_key, _)| *node_key);
        let member = |(i, (node_key, vote)): (usize, &(_, VoteSecretKey))| Member {
            node_key: *node_key,
            vote_key: vote.vote_key(),
            name: MemberName::new(&format!("replica-{i}")).unwrap(),
        };
        let members = secrets.iter().enumerate().map(member).collect();
        let record = CommitteeRecord::genesis(half(derive("nonce", label)), members).unwrap();
        let votes: Vec<_> = secrets.into_iter().map(|(_, vote)| vote).collect();
        let possessions = votes.iter().map(VoteSecretKey::prove_possession).collect();
        Self { committee: Arc::new(Committee::genesis(record, possessions).unwrap()), votes }
    }

    /// Its record.
    pub fn record(&self) -> &CommitteeRecord {
        self.committee.record()
    }

    /// The votes of these members on a batch.
    pub fn tally(&self, issued_at: u64, receipts: &[Receipt], signers: impl IntoIterator<Item = u16>) -> Tally<Stored> {
        let mut tally = Tally::new(self.record(), batch(issued_at, receipts).body());
        for member in signers {
            let vote = tally.statement().sign(&self.votes[usize::from(member)]);
            tally.add(&self.committee, member, vote).unwrap();
        }
        tally
    }

    /// Certificates of a batch, signed by the first quorum of members.
    pub fn certify(&self, issued_at: u64, receipts: &[Receipt]) -> Vec<Certificate> {
        self.certify_by(issued_at, receipts, 0..self.record().quorum())
    }

    /// Certificates of a batch, signed by these members.
    pub fn certify_by(
        &self,
        issued_at: u64,
        receipts: &[Receipt],
        signers: impl IntoIterator<Item = u16>,
    ) -> Vec<Certificate> {
        self.tally(issued_at, receipts, signers).certificates(batch(issued_at, receipts).claims()).unwrap()
    }

    /// The certificate of a batch of one, signed by the first quorum of members.
    pub fn certify_one(&self, issued_at: u64, receipt: Receipt) -> Certificate {
        self.certify(issued_at, &[receipt]).remove(0)
    }

    /// The certificate of a batch of one, signed by all members.
    pub fn certify_by_all(&self, issued_at: u64, receipt: Receipt) -> Certificate {
        self.certify_by(issued_at, &[receipt], 0..self.record().n()).remove(0)
    }

    /// Its cluster identity.
    pub fn cluster(&self) -> ClusterId {
        self.committee.cluster()
    }

    /// Its `Cluster` message.
    pub fn message(&self) -> Message {
        self.message_with(self.committee.possessions().to_vec())
    }

    /// Its `Cluster` message with other possession proofs.
    pub fn message_with(&self, possessions: Vec<Possession>) -> Message {
        Message::Cluster(ClusterMessage { genesis: self.record().clone(), possessions })
    }

    /// The JSON text of a bundle around any certificate bytes.
    pub fn bundle_of(&self, certificate: Vec<u8>) -> Vec<u8> {
        let (genesis, possessions) = (self.record().encode(), self.committee.possessions().to_vec());
        Bundle { certificate, genesis, possessions, epochs: 0 }.to_json().into_bytes()
    }

    /// The question whether this receipt's file is certified, asked an hour after issue.
    pub fn options(&self, receipt: &Receipt) -> VerifyOptions {
        let subject = Subject { digest: receipt.digest, length: Some(receipt.length) };
        VerifyOptions { cluster: Some(self.committee.cluster()), subject: Some(subject), now: NOW, waive_expiry: false }
    }
}

/// Bytes with period 251, a prime: no two aligned blocks are equal.
pub fn blob(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
}
