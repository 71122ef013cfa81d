//! Properties over arbitrary values and bytes: encodings round-trip, and no input makes a decoder panic or allocate beyond its bound.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use vouch_core::Limits;
use vouch_core::bundle::Bundle;
use vouch_core::certificate::{Certificate, CertificateError, Signers};
use vouch_core::committee::CommitteeRecord;
use vouch_core::log::{Block, Evidence, Op, OpProof, SignedOp};
use vouch_core::message::Message;
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Accept, LogHead, Stored};

use crate::strategies::{block, bundle, certificate, committee, evidence, message, op_proof, receipt, signed_op};

/// Peak memory of a decoder, in multiples of its input: its result, and a list that grows by doubling.
const TIMES_INPUT: u64 = 8;
/// The same for JSON: `"",` is three bytes, while an empty string in a growing list takes many times that.
const TIMES_JSON: u64 = 40;
/// Peak memory that does not depend on the input, in bytes: errors, hashers.
const BASE: u64 = 8 * 1024;

/// Runs a decoder, and fails if its peak memory exceeds `times` the input plus `BASE`.
fn bounded(times: u64, input: &[u8], decode: impl FnOnce()) -> Result<(), TestCaseError> {
    let peak = allocation_counter::measure(decode).bytes_max;
    let limit = times * input.len() as u64 + BASE;
    prop_assert!(peak <= limit, "{} bytes of input took {peak} bytes, more than {limit}", input.len());
    Ok(())
}

/// Runs every decoder on the input. None may panic; what one accepts must re-encode to the same bytes.
fn decode_all(input: &[u8]) -> Result<(), TestCaseError> {
    let shared = Bytes::copy_from_slice(input);
    bounded(TIMES_INPUT, input, || drop(Receipt::decode(input)))?;
    bounded(TIMES_INPUT, input, || drop(CommitteeRecord::decode(input, &Limits::default())))?;
    bounded(TIMES_INPUT, input, || drop(Certificate::<Stored>::decode(input, &Limits::default())))?;
    bounded(TIMES_INPUT, input, || drop(Certificate::<Accept>::decode(input, &Limits::default())))?;
    bounded(TIMES_INPUT, input, || drop(Certificate::<LogHead>::decode(input, &Limits::default())))?;
    bounded(TIMES_INPUT, input, || drop(SignedOp::decode(input)))?;
    bounded(TIMES_INPUT, input, || drop(Block::decode(input)))?;
    bounded(TIMES_INPUT, input, || drop(OpProof::decode(input)))?;
    bounded(TIMES_INPUT, input, || drop(Evidence::decode(input)))?;
    bounded(TIMES_INPUT, input, || drop(Message::decode(&shared)))?;
    bounded(TIMES_JSON, input, || drop(Bundle::parse(input, &Limits::default())))?;
    if let Ok(receipt) = Receipt::decode(input) {
        prop_assert_eq!(&receipt.encode()[..], input);
    }
    if let Ok(committee) = CommitteeRecord::decode(input, &Limits::default()) {
        prop_assert_eq!(&committee.encode()[..], input);
    }
    if let Ok(certificate) = Certificate::<Accept>::decode(input, &Limits::default()) {
        prop_assert_eq!(certificate.encode(), input);
    }
    if let Ok(certificate) = Certificate::<Stored>::decode(input, &Limits::default()) {
        prop_assert_eq!(&certificate.encode()[..], input);
    }
    if let Ok(certificate) = Certificate::<LogHead>::decode(input, &Limits::default()) {
        prop_assert_eq!(certificate.encode(), input);
    }
    if let Ok(op) = Op::decode(input) {
        prop_assert_eq!(op.encode(), input);
    }
    if let Ok(op) = SignedOp::decode(input) {
        prop_assert_eq!(op.encode(), input);
    }
    if let Ok(block) = Block::decode(input) {
        prop_assert_eq!(block.encode(), input);
    }
    if let Ok(proof) = OpProof::decode(input) {
        prop_assert_eq!(proof.encode(), input);
    }
    if let Ok(evidence) = Evidence::decode(input) {
        prop_assert_eq!(evidence.encode(), input);
    }
    if let Ok(message) = Message::decode(&shared) {
        prop_assert_eq!(&message.encode()[..], input);
    }
    Ok(())
}

/// An encoding of an arbitrary value.
fn encoded() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => receipt().prop_map(|receipt| receipt.encode().to_vec()),
        2 => committee().prop_map(|committee| committee.encode()),
        2 => certificate().prop_map(|certificate| certificate.encode()),
        4 => message().prop_map(|message| message.encode().to_vec()),
        1 => bundle().prop_map(|bundle| bundle.to_json().into_bytes()),
        1 => signed_op().prop_map(|op| op.encode()),
        2 => block().prop_map(|block| block.encode()),
        2 => op_proof().prop_map(|proof| proof.encode()),
        1 => evidence().prop_map(|evidence| evidence.encode()),
    ]
}

proptest! {
    #[test]
    fn receipts_round_trip(receipt in receipt()) {
        prop_assert_eq!(Receipt::decode(&receipt.encode()), Ok(receipt));
    }

    #[test]
    fn committees_round_trip(committee in committee()) {
        prop_assert_eq!(CommitteeRecord::decode(&committee.encode(), &Limits::default()), Ok(committee));
    }

    #[test]
    fn certificates_round_trip(certificate in certificate()) {
        prop_assert_eq!(Certificate::decode(&certificate.encode(), &Limits::default()), Ok(certificate));
    }

    #[test]
    fn messages_round_trip(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn bundles_round_trip(bundle in bundle()) {
        prop_assert_eq!(Bundle::parse(bundle.to_json().as_bytes(), &Limits::default()), Ok(bundle));
    }

    #[test]
    fn ops_blocks_and_evidence_round_trip(op in signed_op(), block in block(), evidence in evidence()) {
        prop_assert_eq!(SignedOp::decode(&op.encode()), Ok(op));
        prop_assert_eq!(Block::decode(&block.encode()), Ok(block));
        prop_assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
    }

    #[test]
    fn op_proofs_round_trip(proof in op_proof()) {
        prop_assert_eq!(OpProof::decode(&proof.encode()), Ok(proof));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(input in vec(any::<u8>(), 0..600)) {
        decode_all(&input)?;
    }

    #[test]
    fn mutated_encodings_are_refused_or_canonical(
        mut input in encoded(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<Index>()),
        tail in vec(any::<u8>(), 0..3),
    ) {
        for (at, byte) in changes {
            let at = at.index(input.len());
            input[at] = byte;
        }
        if let Some(cut) = cut {
            input.truncate(cut.index(input.len()));
        }
        input.extend(tail);
        decode_all(&input)?;
    }

    /// Overwrites one to four bytes anywhere with 0xFF: this inflates every length field at some time.
    #[test]
    fn inflated_counts_allocate_nothing(mut input in encoded(), at in any::<Index>(), size in 1..=4usize) {
        let at = at.index(input.len());
        let end = input.len().min(at + size);
        input[at..end].fill(0xFF);
        decode_all(&input)?;
    }

    #[test]
    fn truncated_or_extended_encodings_are_refused(
        receipt in receipt(),
        committee in committee(),
        certificate in certificate(),
        extra in any::<u8>(),
    ) {
        let longer = |bytes: &[u8]| [bytes, &[extra]].concat();
        let shorter = |bytes: &[u8]| bytes[..bytes.len() - 1].to_vec();
        for change in [&longer as &dyn Fn(&[u8]) -> Vec<u8>, &shorter] {
            prop_assert!(Receipt::decode(&change(&receipt.encode())).is_err());
            prop_assert!(CommitteeRecord::decode(&change(&committee.encode()), &Limits::default()).is_err());
            prop_assert!(Certificate::<Stored>::decode(&change(&certificate.encode()), &Limits::default()).is_err());
        }
    }

    #[test]
    fn decoder_limits_refuse_larger_committees_and_batches(certificate in certificate()) {
        let (n, count) = (certificate.signers.n(), certificate.claim.count);
        let decode = |members, batch| Certificate::<Stored>::decode(&certificate.encode(), &Limits { members, batch, ..Limits::default() });
        prop_assert!(decode(n, count).is_ok());
        prop_assert!(matches!(decode(n - 1, count), Err(CertificateError::Decode(_))));
        prop_assert!(matches!(decode(n, count - 1), Err(CertificateError::Decode(_))));
    }

    #[test]
    fn signers_round_trip(n in 1..=1000u16, members in vec(0..1000u16, 0..40)) {
        let signers = Signers::new(n, members.iter().copied());
        if members.is_empty() || members.iter().any(|member| *member >= n) {
            prop_assert_eq!(signers, None);
            return Ok(());
        }
        let signers = signers.unwrap();
        let mut sorted = members;
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(usize::from(signers.count()), sorted.len());
        prop_assert_eq!(signers.absent().count() + sorted.len(), usize::from(n));
        prop_assert!(signers.absent().all(|member| !signers.contains(member)));
        prop_assert_eq!(signers.iter().collect::<Vec<_>>(), sorted);
        prop_assert!(!signers.contains(n));
    }
}

/// JSON that is expensive to parse for its length.
#[test]
fn hostile_json_uses_memory_proportional_to_its_length() {
    let many = |one: &str| vec![one; 20_000].join(",");
    let bundle = |pops: &str, epochs: &str, extra: &str| {
        format!(
            r#"{{"type":"application/vnd.vouch.bundle+json","version":1,"certificate":"","genesis":{{"committee":"","pops":[{pops}]}},"epochs":[{epochs}]{extra}}}"#
        )
    };
    let texts = [
        bundle(&many(r#""""#), "", ""),
        bundle("", &many("1"), ""),
        bundle("", &many("[]"), ""),
        bundle("", &many(r#"{"handoff":"","committee":""}"#), ""),
        bundle("", "", &format!(r#","more":[{}]"#, many("0"))),
        bundle(&format!("\"{}\"", "z".repeat(60_000)), "", ""),
        bundle("", "", "").replace("\"version\":1", &format!("\"version\":\"{}\"", "\u{7f}".repeat(60_000))),
        bundle("", "", "").replace("application", &"\u{7f}".repeat(60_000)),
        "[".repeat(60_000),
        r#"{"a":"#.repeat(10_000),
        " ".repeat(60_000),
        bundle("", "", "").replace("\"epochs\"", &format!("\"{}\":1,\"epochs\"", "\\u0000".repeat(10_000))),
    ];
    for text in texts {
        let start: String = text.chars().take(40).collect();
        let outcome = bounded(TIMES_JSON, text.as_bytes(), || drop(Bundle::parse(text.as_bytes(), &Limits::default())));
        assert!(outcome.is_ok(), "{start}…: {outcome:?}");
    }
}

#[test]
fn oversized_bundle_is_refused_before_parsing() {
    let text = vec![b'{'; vouch_core::limits::MAX_BUNDLE + 1];
    let message = Bytes::from(vec![0x11; vouch_core::message::MAX_MESSAGE + 1]);
    let peak = allocation_counter::measure(|| {
        assert!(Bundle::parse(&text, &Limits::default()).is_err());
        assert!(Message::decode(&message).is_err());
    });
    assert_eq!(peak.bytes_max, 0);
}
