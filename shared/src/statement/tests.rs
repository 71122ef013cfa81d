//! Tests that a statement kind needs only one file: everything accepts the kind defined here, which only this test knows.

use super::*;
use crate::bls::{AggregateSignature, BlsError};
use crate::certificate::CertificateError;
use crate::certificate::{Certificate, Signers};
use crate::committee::{Committee, Member, MemberName};
use crate::link::NodeSecretKey;
use crate::tally::{BelowQuorum, Tally, VoteError};
use crate::verify::{CheckError, Invalid, Missing, verify_signed};

/// A sum at a height. The certificate carries the terms, from which the sum follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    height: u64,
    sum: u64,
}

impl Body for Sum {
    const KIND: u16 = 0x7FFF;
    const NAME: &'static str = "sum";
    const SIZE: u32 = 16;

    type Claim = (u64, Vec<u8>);

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.sum.to_le_bytes());
    }

    fn of_claim((height, terms): &Self::Claim) -> Option<Self> {
        Some(Self { height: *height, sum: terms.iter().map(|term| u64::from(*term)).sum() })
    }

    fn write_claim((height, terms): &Self::Claim, out: &mut Vec<u8>) {
        out.extend_from_slice(&height.to_le_bytes());
        out.push(terms.len().try_into().unwrap());
        out.extend_from_slice(terms);
    }

    fn read_claim(reader: &mut Reader<'_>, _: &Limits) -> Result<Self::Claim, ClaimError> {
        let height = reader.safe_u64("height")?;
        let count = reader.u8("count")?;
        Ok((height, reader.take("terms", count.into())?.to_vec()))
    }
}

/// A committee and its vote keys, both in member order.
fn committee(n: u8) -> (Committee, Vec<VoteSecretKey>) {
    let mut keys: Vec<_> = (1..=n)
        .map(|i| (NodeSecretKey::from_bytes(&[i; 32]).node_key(), VoteSecretKey::generate(&[i; 32]).unwrap()))
        .collect();
    keys.sort_by_key(|(node_key, _)| *node_key);
    let name = MemberName::new("replica").unwrap();
    let member =
        |(node_key, vote): &(_, VoteSecretKey)| Member { node_key: *node_key, vote_key: vote.vote_key(), name };
    let record = CommitteeRecord::genesis([7; 16], keys.iter().map(member).collect()).unwrap();
    let possessions = keys.iter().map(|(_, vote)| vote.prove_possession()).collect();
    (Committee::proven(record, possessions).unwrap(), keys.into_iter().map(|(_, vote)| vote).collect())
}

const CLAIM: (u64, [u8; 3]) = (9, [1, 2, 4]);

fn claim() -> <Sum as Body>::Claim {
    (CLAIM.0, CLAIM.1.to_vec())
}

fn certify(committee: &Committee, votes: &[VoteSecretKey], signers: &[u16]) -> Result<Certificate<Sum>, BelowQuorum> {
    let mut tally = Tally::new(committee.record(), Sum::of_claim(&claim()).unwrap());
    for member in signers {
        let vote = tally.statement().sign(&votes[usize::from(*member)]);
        tally.add(committee, *member, vote).unwrap();
    }
    tally.certificates([claim()]).map(|mut certificates| certificates.remove(0))
}

#[test]
fn a_kind_in_one_file_is_certified_encoded_decoded_and_verified() {
    let (committee, votes) = committee(4);
    assert_eq!(certify(&committee, &votes, &[0, 3]), Err(BelowQuorum { votes: 2, quorum: 3 }));
    let certificate = certify(&committee, &votes, &[0, 1, 3]).unwrap();

    let bytes = certificate.encode();
    assert_eq!(bytes[6..8], [0xFF, 0x7F]);
    assert_eq!(bytes[48..60], [9, 0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 4]);
    let decoded = Certificate::<Sum>::decode(&bytes, &Limits::default()).unwrap();
    assert_eq!(decoded, certificate);
    assert_eq!(verify_signed(&decoded, &committee), Ok(()));

    let statement = decoded.statement(committee.record()).unwrap().encode();
    assert_eq!((statement.len(), &statement[18..24]), (112, &[0xFF, 0x7F, 16, 0, 0, 0][..]));
    assert_eq!(statement[96..], [9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);

    // Another claim with the same body is valid as well, because the members sign the body.
    let same = Certificate { claim: (9, vec![7]), ..certificate.clone() };
    assert_eq!(verify_signed(&same, &committee), Ok(()));
    let other = Certificate { claim: (9, vec![8]), ..certificate.clone() };
    assert_eq!(verify_signed(&other, &committee), Err(Invalid::Signature(BlsError::Mismatch)));
    let below = Certificate { signers: Signers::new(4, [0, 1]).unwrap(), ..certificate.clone() };
    assert_eq!(verify_signed(&below, &committee), Err(Invalid::BelowQuorum { signers: 2, quorum: 3 }));
    let (others, _) = self::committee(5);
    assert!(matches!(verify_signed(&certificate, &others), Err(Invalid::AnotherCommittee { .. })));
}

#[test]
fn a_kind_is_never_taken_for_another() {
    let (committee, votes) = committee(1);
    let bytes = certify(&committee, &votes, &[0]).unwrap().encode();
    for kind in [Stored::KIND, Accept::KIND, 2, 0x8001] {
        let mut bytes = bytes.clone();
        bytes[6..8].copy_from_slice(&kind.to_le_bytes());
        let refused = CertificateError::AnotherKind { expected: Sum::KIND, name: "sum", got: kind };
        assert_eq!(Certificate::<Sum>::decode(&bytes, &Limits::default()), Err(refused));
    }
    // A verifier of files reports an unknown kind as CANNOT CHECK, not as INVALID.
    let error = Certificate::<Stored>::decode(&bytes, &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "statement kind: expected 1 (stored), got 32767");
    assert_eq!(CheckError::from(error), CheckError::Missing(Missing::StatementKind(Sum::KIND)));
}

#[test]
fn votes_on_statements_of_two_kinds_do_not_mix() {
    let (committee, votes) = committee(1);
    let mut sums = Tally::new(committee.record(), Sum { height: 1, sum: 2 });
    let other = Tally::new(committee.record(), Sum { height: 1, sum: 3 });
    let vote = other.ballot().sign(committee.record(), 0, &votes[0]).unwrap();
    assert_eq!(sums.count(vote), Err(VoteError::AnotherStatement(0)));
    let accept = Tally::new(committee.record(), Accept::GENESIS).statement().sign(&votes[0]);
    assert!(matches!(sums.add(&committee, 0, accept), Err(VoteError::Invalid { .. })));
    assert!(!sums.is_complete());
}

#[test]
fn an_accept_of_a_genesis_needs_every_member() {
    let (committee, votes) = committee(4);
    let mut tally = Tally::new(committee.record(), Accept::GENESIS);
    for member in 0..4u16 {
        assert_eq!(tally.certificates([Accept::GENESIS]), Err(BelowQuorum { votes: member, quorum: 4 }));
        tally.count(tally.ballot().sign(committee.record(), member, &votes[usize::from(member)]).unwrap()).unwrap();
    }
    let certificate = tally.certificates([Accept::GENESIS]).unwrap().remove(0);
    assert_eq!(Certificate::decode(&certificate.encode(), &Limits::default()), Ok(certificate.clone()));
    assert_eq!(verify_signed(&certificate, &committee), Ok(()));
    let quorum = Certificate { signers: Signers::new(4, [0, 1, 2]).unwrap(), ..certificate.clone() };
    assert_eq!(verify_signed(&quorum, &committee), Err(Invalid::BelowQuorum { signers: 3, quorum: 4 }));
    let infinity = Certificate { signature: AggregateSignature([0xC0; 96]), ..certificate };
    assert!(matches!(verify_signed(&infinity, &committee), Err(Invalid::Signature(_))));
}
