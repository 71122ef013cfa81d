//! Slices read from an untrusted server, verified by the digest alone.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use support::blobs::proof;
use vouch_core::digest::Digest;
use vouch_core::session::{Failure, FailureKind};
use vouch_core::slice::{Head, Slice, SliceError, SliceReader};
use vouch_core::tree::{self, GROUP, TreeError};

use support::committee::blob;

static BLOB: LazyLock<Bytes> = LazyLock::new(|| blob(700_000));
const LENGTH: u64 = 700_000;

fn slice(range: Range<u64>) -> Slice {
    let bytes = BLOB.slice(place(range.start)..place(range.end));
    Slice { offset: range.start, proof: proof(&BLOB, range), bytes }
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

fn last_group() -> Range<u64> {
    LENGTH / GROUP as u64 * GROUP as u64..LENGTH
}

fn body(length: u64, range: Range<u64>, slices: &[Slice]) -> Vec<u8> {
    let mut body = Head { length, range }.encode().to_vec();
    for slice in slices {
        body.extend_from_slice(&slice.encode_head());
        body.extend_from_slice(&slice.bytes);
    }
    body
}

/// The honest response for the range 100 000 to 600 000.
fn honest() -> Vec<u8> {
    let slices = [slice(last_group()), slice(98_304..262_144), slice(262_144..524_288), slice(524_288..606_208)];
    body(LENGTH, 100_000..600_000, &slices)
}

fn read(body: &[u8], size: usize) -> Result<Vec<u8>, SliceError> {
    let mut reader = SliceReader::new(Digest::of(&BLOB));
    let mut got = Vec::new();
    for piece in body.chunks(size) {
        reader.push(piece)?.iter().for_each(|bytes| got.extend_from_slice(bytes));
    }
    reader.finish()?;
    Ok(got)
}

#[test]
fn body_split_anywhere_yields_exactly_the_range() {
    for size in [1, 7, 24, 1000, 262_144, usize::MAX] {
        assert!(read(&honest(), size) == Ok(BLOB[100_000..600_000].to_vec()), "{size}");
    }
    // the last group proves the length and has the requested bytes
    let end = body(LENGTH, 699_000..LENGTH, &[slice(last_group())]);
    assert!(read(&end, 100) == Ok(BLOB[699_000..].to_vec()));
    let longer = body(LENGTH, 500_000..LENGTH, &[slice(491_520..LENGTH)]);
    assert!(read(&longer, 100_000) == Ok(BLOB[500_000..].to_vec()));
}

#[test]
fn no_bytes_are_output_before_the_length_is_proved() {
    let mut reader = SliceReader::new(Digest::of(&BLOB));
    assert_eq!(reader.push(&honest()[..24]).unwrap(), Vec::<Bytes>::new());
    assert_eq!(reader.verified_head(), None);
    let first = body(LENGTH, 100_000..600_000, &[slice(98_304..262_144)]);
    assert_eq!(read(&first, 1000), Err(SliceError::NoEnd { length: LENGTH, end: 262_144 }));
}

#[test]
fn changed_byte_is_detected() {
    let honest = honest();
    let (head, proofs) = (24, 24 + 13 + 6 * 64);
    // every byte of the head and of the first slice before its blob bytes, and a sample of the rest
    for at in (0..head + proofs).chain((0..honest.len()).step_by(4999)) {
        let mut other = honest.clone();
        other[at] ^= 1;
        match read(&other, 50_000) {
            Err(_) => {}
            // a changed head may describe another valid range
            Ok(got) => {
                let mut reader = SliceReader::new(Digest::of(&BLOB));
                reader.push(&other).unwrap();
                let range = reader.verified_head().unwrap().range.clone();
                assert!((8..24).contains(&at) && got == BLOB[place(range.start)..place(range.end)], "{at}");
            }
        }
    }
}

#[test]
fn truncated_or_extended_body_is_refused() {
    let honest = honest();
    for end in [0, 1, 23, 24, 30, 500, 11_000, 300_000, honest.len() - 1] {
        assert!(matches!(read(&honest[..end], 10_000), Err(SliceError::Truncated { .. })), "{end}");
    }
    let longer = [&honest[..], b"!"].concat();
    assert_eq!(read(&longer, longer.len()), Err(SliceError::Trailing(1)));
    assert_eq!(read(&longer, honest.len()), Err(SliceError::Trailing(1)));
}

#[test]
fn slices_out_of_order_or_with_gaps_are_refused() {
    let first = slice(last_group());
    let range = 100_000..600_000;
    let out_of_order = |slices: &[Slice]| read(&body(LENGTH, range.clone(), slices), 100_000);
    let expected = |expected, got| Err(SliceError::OutOfOrder { expected, got });
    let (second, third) = (slice(98_304..262_144), slice(262_144..524_288));
    assert_eq!(out_of_order(&[first.clone(), third.clone(), second.clone()]), expected(98_304, 262_144));
    assert_eq!(out_of_order(&[first.clone(), second.clone(), second.clone()]), expected(262_144, 98_304));
    assert_eq!(out_of_order(&[first.clone(), first.clone(), second.clone()]), expected(98_304, last_group().start));
}

#[test]
fn false_head_is_detected() {
    let slices = [slice(last_group()), slice(0..262_144)];
    let reversed = Range { start: 5, end: 4 };
    for (length, range) in [(LENGTH, reversed), (LENGTH, 0..LENGTH + 1), (1 << 53, 0..1), (LENGTH, 1 << 53..1 << 53)] {
        assert!(matches!(read(&body(length, range, &slices), 1000), Err(SliceError::Decode(_))), "{length}");
    }
    let shorter = body(LENGTH - 1, 0..5, &slices);
    assert_eq!(read(&shorter, 1000), Err(SliceError::NoEnd { length: LENGTH - 1, end: LENGTH }));
    // truncated to end where the head says
    let mut cut = slice(last_group());
    cut.bytes.truncate(cut.bytes.len() - 1);
    let result = read(&body(LENGTH - 1, 0..5, &[cut]), 1000);
    assert!(matches!(result, Err(SliceError::Tree(TreeError::Bytes { .. }))), "{result:?}");
    // an empty claim without a slice proves nothing
    assert!(matches!(read(&body(0, 0..0, &[]), 1000), Err(SliceError::Tree(_))));
    let mut empty = SliceReader::new(Digest::of(b""));
    assert_eq!(empty.push(&body(0, 0..0, &[])), Ok(Vec::new()));
    assert_eq!((empty.finish(), empty.verified_head()), (Ok(()), Some(&Head { length: 0, range: 0..0 })));
    assert_eq!(tree::verify(&Digest::of(b""), 0, 0, &[], &[]), Ok(()));
}

/// A reader that expects a range and length refuses any other, even a valid one.
#[test]
fn response_to_another_request_is_refused() {
    let expecting = |length, range| {
        let mut reader = SliceReader::expecting(Digest::of(&BLOB), Head { length, range });
        reader.push(&honest()).map(|pieces| pieces.concat())
    };
    assert!(expecting(LENGTH, 100_000..600_000) == Ok(BLOB[100_000..600_000].to_vec()));
    assert_eq!(
        expecting(LENGTH + 1, 100_000..600_000),
        Err(SliceError::AnotherLength { expected: LENGTH + 1, got: LENGTH })
    );
    for range in [100_000..600_001, 99_999..600_000, 0..LENGTH] {
        let expected = range.clone();
        assert_eq!(expecting(LENGTH, range), Err(SliceError::AnotherRange { expected, got: 100_000..600_000 }));
    }
}

#[test]
fn failure_names_the_check_and_the_expected_value() {
    let failure = |at: usize| {
        let mut body = honest();
        body[at] ^= 1;
        let mut reader = SliceReader::expecting(Digest::of(&BLOB), Head { length: LENGTH, range: 100_000..600_000 });
        Failure::from(&reader.push(&body).unwrap_err())
    };
    let Failure { code, check, expected, got, members, .. } = failure(honest().len() - 1);
    assert_eq!((code, check, members.len()), (FailureKind::Invalid, Some("bytes"), 0));
    let (expected, got) = (expected.unwrap(), got.unwrap());
    assert!([expected.len(), got.len()] == [64, 64] && expected != got, "{expected} {got}");
    for (at, check) in [(0, "length"), (8, "range"), (24 + 13, "proof")] {
        assert_eq!((failure(at).code, failure(at).check), (FailureKind::Invalid, Some(check)), "{at}");
    }
    assert_eq!((failure(24 + 8 + 3).code, failure(24 + 8 + 3).check), (FailureKind::Protocol, None));
}

/// A size or parent count beyond the limits is refused before the reader waits for its bytes.
#[test]
fn claimed_sizes_beyond_the_limits_are_refused() {
    let head = Head { length: LENGTH, range: 0..LENGTH }.encode();
    for (size, parents) in [(0, 0), (262_145, 0), (u32::MAX, 0), (5, 81), (5, 255)] {
        let body = [&head[..], &[0; 8], &u32::to_le_bytes(size), &[parents]].concat();
        assert!(matches!(read(&body, 1000), Err(SliceError::Decode(_))), "{size}, {parents}");
    }
}
