//! A changed certificate is never valid, and an invalid vote never enters one.

use vouch_core::Limits;
use vouch_core::bls::{AggregateSignature, BlsError, VoteSignature};
use vouch_core::bundle::Bundle;
use vouch_core::certificate::{Certificate, CertificateError, Signers};
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Batch, Stored};
use vouch_core::tally::{BelowQuorum, Tally, VoteError};
use vouch_core::verify::{Subject, Verdict, Verifier, VerifyOptions, verify_certificate};

use support::committee::{ISSUED, NOW, TestCommittee, receipt};

use crate::vectors::epoch_case;

/// Flips every `step`-th bit of `certificate`; returns the bits whose flip went undetected.
fn undetected(cluster: &TestCommittee, certificate: &Certificate, step: usize) -> Vec<usize> {
    let options = cluster.options(&certificate.claim.receipt);
    let mut verifier = Verifier::new();
    let bytes = certificate.encode();
    let verdict = verifier.verify(&cluster.bundle_of(bytes.clone()), &options);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    let is_valid = |bit: &usize| {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        matches!(verifier.verify(&cluster.bundle_of(bytes), &options), Verdict::Valid(_))
    };
    (0..8 * bytes.len()).step_by(step).filter(is_valid).collect()
}

#[test]
fn every_flipped_bit_is_detected() {
    let cluster = TestCommittee::labelled("tampering", 4);
    let certificate = cluster.certify_one(ISSUED, receipt("tampering"));
    assert_eq!(certificate.encode().len(), 228);
    assert_eq!(undetected(&cluster, &certificate, 1), [0; 0]);
}

#[test]
fn flipped_bits_are_detected_in_a_large_committee_and_batch() {
    let cluster = TestCommittee::labelled("tampering in a hundred", 100);
    let receipts: Vec<_> = (0..100).map(|i| receipt(&format!("tampering {i}"))).collect();
    let certificate = cluster.certify(ISSUED, &receipts).swap_remove(37);
    assert_eq!(certificate.claim.path.len(), 7);
    // five is coprime to eight, so every bit position of a byte is covered
    assert_eq!(undetected(&cluster, &certificate, 5), [0; 0]);
}

/// All that a bundle with later epochs has, by name.
fn parts(bundle: &mut Bundle) -> Vec<(String, &mut [u8])> {
    let Bundle { certificate, chain, sealed } = bundle;
    let mut all: Vec<(String, &mut [u8])> = vec![
        ("certificate".into(), certificate),
        ("first committee".into(), &mut chain.start.committee),
        ("first proof".into(), &mut chain.start.possessions[0].0),
        ("seal path".into(), sealed.as_mut().unwrap()),
    ];
    for (place, epoch) in chain.epochs.iter_mut().enumerate() {
        all.push((format!("handoff {place}"), &mut epoch.handoff));
        all.push((format!("committee {place}"), &mut epoch.committee));
        all.extend(epoch.seal.as_mut().map(|seal| (format!("seal {place}"), &mut seal.0[..])));
    }
    all
}

/// Flips every `step`-th bit of each part; returns where a flip went undetected, and which bit it was.
fn undetected_in_epochs(bundle: &[u8], options: &VerifyOptions, step: usize) -> Vec<(String, usize)> {
    let whole = Bundle::parse(bundle, &Limits::default()).unwrap();
    let is_valid = |bundle: &Bundle| {
        // a fresh verifier: a cached chain would be compared, and not verified
        matches!(Verifier::new().verify(bundle.to_json().as_bytes(), options), Verdict::Valid(_))
    };
    assert!(is_valid(&whole));
    let sizes: Vec<_> = parts(&mut whole.clone()).into_iter().map(|(name, part)| (name, part.len())).collect();
    let mut missed = Vec::new();
    for (number, (name, size)) in sizes.iter().enumerate() {
        for bit in (0..8 * size).step_by(step) {
            let mut altered = whole.clone();
            parts(&mut altered)[number].1[bit / 8] ^= 1 << (bit % 8);
            if is_valid(&altered) {
                missed.push((name.clone(), bit));
            }
        }
    }
    missed
}

#[test]
fn flipped_bits_are_detected_in_every_part_of_a_chain() {
    let (bundle, options) = epoch_case("sealed_without_pin");
    assert_eq!(undetected_in_epochs(&bundle, &options, 29), []);
    // The committee of epoch 2 fixes the handoff to epoch 1, whose signature begins at byte 131.
    let (bundle, options) = epoch_case("sealed");
    let mut missed = undetected_in_epochs(&bundle, &options, 29);
    missed.retain(|(part, bit)| part != "handoff 0" || *bit < 8 * 131);
    assert_eq!(missed, []);
}

#[test]
fn decoder_for_four_members_refuses_five() {
    let cluster = TestCommittee::labelled("five", 5);
    let bytes = cluster.certify_one(ISSUED, receipt("five")).encode();
    let limits = Limits { members: 4, ..Limits::default() };
    let decode = |limits| Certificate::<Stored>::decode(&bytes, &limits);
    assert!(decode(Limits::default()).is_ok());
    assert!(matches!(decode(limits), Err(CertificateError::Decode(error)) if error.comparison().got == "5"));
}

fn subject(receipt: &Receipt) -> Subject {
    Subject { digest: receipt.digest, length: Some(receipt.length) }
}

fn add(a: &[u8; 96], b: &[u8; 96]) -> [u8; 96] {
    let point = |bytes| blst::min_pk::Signature::from_bytes(bytes).unwrap();
    let mut sum = blst::min_pk::AggregateSignature::from_signature(&point(a));
    sum.add_signature(&point(b), true).unwrap();
    sum.to_signature().to_bytes()
}

/// Negates a point: the sign is one flag of the compressed form.
fn negated(mut point: [u8; 96]) -> [u8; 96] {
    point[0] ^= 0x20;
    point
}

#[test]
fn invalid_votes_that_cancel_out_never_enter_a_tally() {
    let cluster = TestCommittee::labelled("cancelling", 4);
    let one = receipt("cancelling");
    let mut tally = cluster.tally(ISSUED, &[one], [2]);
    let statement = *tally.statement();
    let honest = |member: usize| statement.sign(&cluster.votes[member]).0;
    // any group element: here a signature over another statement
    let d = cluster.tally(ISSUED + 1, &[one], []).statement().sign(&cluster.votes[3]).0;
    let bad = [add(&honest(0), &d), add(&honest(1), &negated(d))];
    for (member, vote) in (0..).zip(bad) {
        let refused = VoteError::Invalid { member, error: BlsError::Mismatch };
        assert_eq!(tally.add(&cluster.committee, member, VoteSignature(vote)), Err(refused));
    }
    assert_eq!(tally.voters().collect::<Vec<_>>(), [2]);
    assert_eq!(tally.certificates([]), Err(BelowQuorum { votes: 1, quorum: 3 }));

    // batch verification with random weights finds them too, and keeps the honest votes
    let votes: Vec<_> = (0..).zip(bad).chain([(2, honest(2)), (3, honest(3)), (4, honest(3))]).collect();
    let votes: Vec<_> = votes.into_iter().map(|(member, vote)| (member, VoteSignature(vote))).collect();
    let refused = |member| Some(VoteError::Invalid { member, error: BlsError::Mismatch });
    let expected = [refused(0), refused(1), None, None, Some(VoteError::NotAMember { n: 4, got: 4 })];
    for count in 2..=votes.len() {
        let verified = tally.ballot().verify_all(&cluster.committee, &votes[..count]);
        let got: Vec<_> = verified.into_iter().map(Result::err).collect();
        assert_eq!(got, expected[..count]);
    }
    for vote in tally.ballot().verify_all(&cluster.committee, &votes[2..4]) {
        let counted = tally.count(vote.unwrap());
        assert!(matches!(counted, Ok(()) | Err(VoteError::Repeated(2))), "{counted:?}");
    }
    assert_eq!(tally.voters().collect::<Vec<_>>(), [2, 3]);

    // summed unverified they equal the honest aggregate: hence votes are verified one by one or with weights
    let mut forged = cluster.certify_one(ISSUED, one);
    let honest_sum = forged.signature;
    forged.signature = AggregateSignature(add(&add(&bad[0], &bad[1]), &honest(2)));
    assert_eq!(forged.signature, honest_sum);
    assert_eq!(verify_certificate(&forged, &cluster.committee, &subject(&one), NOW, false), Ok(()));
}

#[test]
fn tally_counts_each_member_once_and_certifies_at_quorum() {
    for n in [1, 2, 3, 4, 7] {
        let cluster = TestCommittee::labelled("tally", n);
        let (committee, one) = (&cluster.committee, receipt("tally"));
        let quorum = cluster.record().quorum();
        let batch = Batch::new(ISSUED, vec![one]).unwrap();
        let mut tally = Tally::new(committee.record(), batch.body());
        for member in (0..n).rev() {
            let vote = tally.statement().sign(&cluster.votes[usize::from(member)]);
            let another = usize::from((member + 1) % n);
            let foreign = tally.statement().sign(&cluster.votes[another]);
            if n > 1 {
                assert!(matches!(tally.add(committee, member, foreign), Err(VoteError::Invalid { .. })), "{member}");
            }
            assert_eq!(tally.add(committee, member, vote), Ok(()));
            assert_eq!(tally.add(committee, member, vote), Err(VoteError::Repeated(member)));
            assert_eq!(tally.add(committee, n, vote), Err(VoteError::NotAMember { n, got: n }));
            let votes = n - member;
            match tally.certificates(batch.claims()) {
                Err(below) => {
                    assert!(votes < quorum, "{votes} of {n}");
                    assert_eq!(below, BelowQuorum { votes, quorum });
                }
                Ok(certificates) => {
                    assert!(votes >= quorum, "{votes} of {n}");
                    let certificate = &certificates[0];
                    assert_eq!(certificate.signers, Signers::new(n, member..n).unwrap());
                    assert_eq!(verify_certificate(certificate, committee, &subject(&one), NOW, false), Ok(()));
                }
            }
        }
    }
}

#[test]
fn vote_for_another_statement_does_not_count() {
    let (cluster, foreign) = (TestCommittee::labelled("tally", 4), TestCommittee::labelled("another", 4));
    let (one, other) = (receipt("tally"), receipt("other"));
    let mut tally = cluster.tally(ISSUED, &[one], []);
    let statements = [
        *cluster.tally(ISSUED + 1, &[one], []).statement(),
        *cluster.tally(ISSUED, &[other], []).statement(),
        *cluster.tally(ISSUED, &[Receipt { salt: [0; 16], ..one }], []).statement(),
        *cluster.tally(ISSUED, &[one, other], []).statement(),
        *foreign.tally(ISSUED, &[one], []).statement(),
    ];
    for statement in statements {
        let vote = statement.sign(&cluster.votes[0]);
        let refused = VoteError::Invalid { member: 0, error: BlsError::Mismatch };
        assert_eq!(tally.add(&cluster.committee, 0, vote), Err(refused), "{statement:?}");
    }
    // a proof of possession is a signature by the same key under another domain tag
    let proof = VoteSignature(cluster.votes[0].prove_possession().0);
    assert!(tally.add(&cluster.committee, 0, proof).is_err());
}
