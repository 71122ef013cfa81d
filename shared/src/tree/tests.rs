//! The oracle for digests, outboards and the positions of parents is `bao-tree`. `blake3::hash` is a second one for digests.

mod suspended;

use bao_tree::BlockSize;
use bao_tree::io::outboard::PostOrderMemOutboard;
use proptest::prelude::*;

use super::*;
use crate::limits::MAX_SAFE_INTEGER;

const KIB: usize = 1 << 10;

/// Bytes whose period divides none of the sizes used here.
fn blob(length: usize) -> Vec<u8> {
    (0u8..=250).cycle().take(length).zip((0..=255u8).cycle().flat_map(|byte| [byte; 997])).map(|(a, b)| a ^ b).collect()
}

fn hash_in(pieces: impl Iterator<Item = Vec<u8>>) -> (Digest, Vec<u8>) {
    let mut outboard = Vec::new();
    let mut keep = |parent: &Parent| outboard.extend_from_slice(&parent.0);
    let mut hasher = TreeHasher::new();
    pieces.for_each(|piece| hasher.update(&piece, &mut keep));
    let digest = hasher.finish(&mut keep);
    (digest, outboard)
}

fn hash(bytes: &[u8]) -> (Digest, Vec<u8>) {
    hash_in(std::iter::once(bytes.to_vec()))
}

fn prove(range: Range<u64>, length: u64, outboard: &[u8]) -> Vec<Parent> {
    let read = |offset: u64| {
        let offset = usize::try_from(offset).unwrap();
        Ok::<_, std::convert::Infallible>(Parent(outboard[offset..offset + Parent::SIZE].try_into().unwrap()))
    };
    let Ok(parents) = proof(range, length, read);
    parents
}

pub(super) struct Sliced {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    /// Every slice with its proof.
    pub(super) slices: Vec<(Range<usize>, Vec<Parent>)>,
}

pub(super) fn sliced(length: usize) -> Sliced {
    let bytes = blob(length);
    let (digest, outboard) = hash(&bytes);
    let starts = || (0..length.max(1)).step_by(GROUP);
    let ends = || starts().map(move |start| (start + GROUP).min(length));
    let ranges =
        starts().flat_map(|start| ends().filter(move |end| *end > start || length == 0).map(move |end| start..end));
    let prove = |range: Range<usize>| {
        let proof = prove(range.start as u64..range.end as u64, length as u64, &outboard);
        (range, proof)
    };
    let slices = ranges.map(prove).collect();
    Sliced { bytes, digest, slices }
}

fn against_the_oracle(bytes: &[u8], pieces: impl Iterator<Item = Vec<u8>>) {
    let (digest, outboard) = hash_in(pieces);
    let oracle = PostOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(4));
    assert_eq!(digest, Digest::of(bytes), "{} bytes", bytes.len());
    assert_eq!(digest.0, *oracle.root.as_bytes());
    assert!(outboard == oracle.data, "the outboard of {} bytes", bytes.len());
    assert_eq!(outboard_size(bytes.len() as u64), outboard.len() as u64);
}

#[test]
fn lengths_around_every_boundary_match_the_oracle() {
    let borders = [0, 1, KIB, GROUP, 2 * GROUP, 3 * GROUP, 5 * GROUP, 256 * KIB, 1024 * KIB];
    for length in borders.into_iter().flat_map(|border| border.saturating_sub(1)..=border + 1) {
        let bytes = blob(length);
        against_the_oracle(&bytes, std::iter::once(bytes.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_length_in_any_pieces_matches_the_oracle(
        length in 0..3_000_000_usize,
        sizes in prop::collection::vec(1..200_000_usize, 1..9),
    ) {
        let bytes = blob(length);
        let mut rest = &bytes[..];
        let pieces = sizes.iter().cycle().map_while(|size| {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            rest = after;
            (!piece.is_empty()).then(|| piece.to_vec())
        });
        against_the_oracle(&bytes, pieces);
    }

    #[test]
    fn any_range_of_any_blob_verifies_once_widened(
        length in 1..2_000_000_usize,
        (one, other) in (0..2_000_000_u64, 1..2_000_000_u64),
    ) {
        let (bytes, length) = (blob(length), length as u64);
        let (digest, outboard) = hash(&bytes);
        let range = (one % length).min(other % length)..(one % length).max(other % length) + 1;
        let wide = widen_to_groups(&range, length);
        prop_assert!(wide.start <= range.start && range.end <= wide.end && wide.end <= length);
        prop_assert!(range.start - wide.start < GROUP as u64 && wide.end - range.end < GROUP as u64);
        let proof = prove(range, length, &outboard);
        let (start, end) = (usize::try_from(wide.start).unwrap(), usize::try_from(wide.end).unwrap());
        prop_assert_eq!(verify(&digest, length, wide.start, &bytes[start..end], &proof), Ok(()));
    }

    #[test]
    fn hostile_slices_are_refused_without_a_panic(
        length: u64,
        offset: u64,
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        parents in prop::collection::vec(any::<[u8; 32]>(), 0..90),
    ) {
        let parents: Vec<_> = parents.iter().map(|half| Parent::new(half, half)).collect();
        let groups = vec![7; GROUP];
        for (offset, length) in [(offset, length), (offset / GROUP_U64 * GROUP_U64, length >> 11), (0, length)] {
            prop_assert!(verify(&Digest([1; 32]), length, offset, &bytes, &parents).is_err());
            prop_assert!(verify(&Digest([1; 32]), length, offset, &groups, &parents).is_err());
        }
    }
}

#[test]
fn every_slice_verifies_alone() {
    for length in [0, 1, KIB, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP, 7 * GROUP + 5, 16 * GROUP, 17 * GROUP + 1] {
        let Sliced { bytes, digest, slices } = sliced(length);
        let groups = length.div_ceil(GROUP).max(1);
        assert_eq!(slices.len(), groups * (groups + 1) / 2, "{length}");
        for (range, proof) in slices {
            let slice = &bytes[range.clone()];
            let verified = verify(&digest, length as u64, range.start as u64, slice, &proof);
            assert_eq!(verified, Ok(()), "{range:?} of {length}");
            assert_eq!(proof.len(), proof_size(range.start as u64..range.end as u64, length as u64));
            assert_eq!(proof.is_empty(), range == (0..length), "{range:?} of {length}");
        }
    }
}

#[test]
fn every_flipped_bit_in_a_proof_or_in_the_bytes_is_detected() {
    for length in [GROUP, 3 * GROUP, 5 * GROUP + 77] {
        let Sliced { bytes, digest, slices } = sliced(length);
        for (range, proof) in slices {
            let offset = range.start as u64;
            for bit in 0..proof.len() * Parent::SIZE * 8 {
                let mut proof = proof.clone();
                proof[bit / 8 / Parent::SIZE].0[bit / 8 % Parent::SIZE] ^= 1 << (bit % 8);
                let result = verify(&digest, length as u64, offset, &bytes[range.clone()], &proof);
                let is_found = matches!(result, Err(TreeError::Parent { .. } | TreeError::Bytes { .. }));
                // This includes the half of a parent that lies outside the slice: its parent's hash covers it.
                assert!(is_found, "bit {bit} of the proof of {range:?} of {length}: {result:?}");
            }
            for position in [0, 1, range.len() / 2, range.len() - 1] {
                let mut bytes = bytes[range.clone()].to_vec();
                bytes[position] ^= 1 << (position % 8);
                let result = verify(&digest, length as u64, offset, &bytes, &proof);
                let expected = offset + position as u64;
                assert!(
                    matches!(result, Err(TreeError::Bytes { start, end, .. }) if (start..end).contains(&expected)),
                    "byte {position} of {range:?} of {length}: {result:?}"
                );
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_small_blob_is_detected() {
    let mut bytes = blob(GROUP + 40);
    let (digest, outboard) = hash(&bytes);
    let length = bytes.len() as u64;
    let proof = prove(GROUP_U64..length, length, &outboard);
    for bit in 0..40 * 8 {
        bytes[GROUP + bit / 8] ^= 1 << (bit % 8);
        let result = verify(&digest, length, GROUP_U64, &bytes[GROUP..], &proof);
        assert!(matches!(result, Err(TreeError::Bytes { .. })), "bit {bit}: {result:?}");
        bytes[GROUP + bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_proof_with_a_missing_or_extra_parent_is_refused() {
    let length = 5 * GROUP + 77;
    let Sliced { bytes, digest, slices } = sliced(length);
    for (range, proof) in slices {
        let verify =
            |proof: &[Parent]| verify(&digest, length as u64, range.start as u64, &bytes[range.clone()], proof);
        let mut longer = proof.clone();
        longer.push(Parent([0; Parent::SIZE]));
        let expected = proof.len();
        for wrong in proof.len().checked_sub(1).map(|less| &proof[..less]).into_iter().chain([&longer[..]]) {
            let result = verify(wrong);
            assert!(
                matches!(&result, Err(TreeError::ProofSize { expected: e, got, .. }) if *e == expected && *got == wrong.len()),
                "{result:?}"
            );
        }
    }
}

#[test]
fn a_wrong_offset_is_refused() {
    let length = 6 * GROUP + 9;
    let Sliced { bytes, digest, slices } = sliced(length);
    for (range, proof) in slices {
        for offset in (0..length as u64 + GROUP_U64).step_by(KIB).filter(|offset| *offset != range.start as u64) {
            let result = verify(&digest, length as u64, offset, &bytes[range.clone()], &proof);
            assert!(result.is_err(), "{range:?} at {offset}");
        }
    }
}

/// A slice that does not reach the end may verify with a wrong length; its bytes are still the blob's at this offset.
#[test]
fn a_slice_that_reaches_the_end_proves_the_length() {
    let length = 6 * GROUP + 9;
    let Sliced { bytes, digest, slices } = sliced(length);
    for (range, proof) in slices.into_iter().filter(|(range, _)| range.end == length) {
        for other in (1..3 * length).step_by(257).filter(|other| *other != length) {
            // With the proof unchanged, and with as many bytes as a blob of this length has there.
            let result = verify(&digest, other as u64, range.start as u64, &bytes[range.clone()], &proof);
            assert!(result.is_err(), "{range:?} of {other}");
            if let Some(shorter) = bytes.get(range.start..other) {
                let result = verify(&digest, other as u64, range.start as u64, shorter, &proof);
                assert!(result.is_err(), "{range:?} cut at {other}");
            }
        }
    }
    let lengthened = [&bytes[..], &[0]].concat();
    assert!(verify(&digest, length as u64 + 1, 0, &lengthened, &[]).is_err());
}

#[test]
fn only_whole_groups_are_slices() {
    let bytes = blob(3 * GROUP + 9);
    let digest = Digest::of(&bytes);
    let length = bytes.len() as u64;
    let none: &[u8] = &[];
    let wrong = [
        (length, 0, none),
        (length, length, none),
        (length, GROUP_U64, none),
        (length, 1, &bytes[1..]),
        (length, 0, &bytes[..GROUP + 1]),
        (length, 0, &bytes[..bytes.len() - 1]),
        (length, u64::MAX, &bytes[..GROUP]),
        (length - 1, 0, &bytes[..]),
        (0, GROUP_U64, none),
        (MAX_SAFE_INTEGER + 1, 0, &bytes[..GROUP]),
    ];
    for (length, offset, bytes) in wrong {
        let result = verify(&digest, length, offset, bytes, &[]);
        let expected = TreeError::NotGroups { length, offset, size: bytes.len() as u64 };
        assert_eq!(result, Err(expected));
    }
}

#[test]
fn proofs_are_short() {
    let longest = |length: u64| (0..64).map(|k| proof_size(k * 262_144..(k + 1) * 262_144, length)).max();
    assert_eq!(longest(1 << 30), Some(12));
    let middle = (MAX_SAFE_INTEGER / 2 / GROUP_U64) * GROUP_U64;
    assert_eq!(proof_size(middle..middle + 2 * GROUP_U64, MAX_SAFE_INTEGER), 77);
    assert!(proof_size(middle - GROUP_U64..middle + 2 * GROUP_U64, MAX_SAFE_INTEGER) <= MAX_PROOF);
}

#[test]
fn a_read_error_of_the_outboard_is_returned() {
    let mut asked = Vec::new();
    let result = proof(0..GROUP_U64, 4 * GROUP_U64, |offset| {
        asked.push(offset);
        if asked.len() == 2 { Err("unreadable") } else { Ok(Parent([0; Parent::SIZE])) }
    });
    assert_eq!(result, Err("unreadable"));
    // The root is the last of three parents, its left child the first.
    assert_eq!(asked, [128, 0]);
}

#[test]
fn update_verified_gives_the_same_digest_and_outboard_as_update() {
    const BLOCK: usize = super::BLOCK;
    for length in [0, 1, GROUP, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + GROUP, 5 * BLOCK + 7] {
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let mut outline = super::OutlineHasher::new();
        outline.update(&bytes);
        let (digest, outline) = outline.finish();
        let (mut expected, mut got) = (Vec::new(), Vec::new());
        let mut plain = TreeHasher::new();
        plain.update(&bytes, &mut |parent| expected.push(*parent));
        plain.finish(&mut |parent| expected.push(*parent));
        let about = (&digest, length as u64);
        let mut tree = TreeHasher::new();
        for (start, block) in (0..).step_by(BLOCK).zip(bytes.chunks(BLOCK)) {
            let range = start as u64..(start + block.len()) as u64;
            let proof = outline.proof(range).unwrap();
            // Wrong bytes, a wrong parent, or a missing parent: nothing is taken.
            let mut wrong = block.to_vec();
            wrong[block.len() / 2] ^= 1;
            let keep = &mut |parent: &Parent| got.push(*parent);
            assert!(tree.update_verified(about, &wrong, &proof, keep).is_err(), "{start} of {length}");
            if let Some((last, others)) = proof.split_last() {
                let mut last = *last;
                last.0[40] ^= 1;
                assert!(tree.update_verified(about, block, &[others, &[last]].concat(), keep).is_err());
                assert!(tree.update_verified(about, block, others, keep).is_err());
            }
            // Only the last block proves the length.
            if start + BLOCK >= length {
                assert!(tree.update_verified((&digest, (length + GROUP) as u64), block, &proof, keep).is_err());
            }
            assert_eq!(tree.length(), start as u64);
            assert_eq!(tree.update_verified(about, block, &proof, keep), Ok(()), "{start} of {length}");
        }
        assert_eq!(tree.finish(&mut |parent| got.push(*parent)), digest);
        assert_eq!(got, expected, "{length}");
    }
}
