//! A hasher that is suspended and resumed.

use super::*;

#[test]
fn a_suspended_hasher_resumes_after_any_group() {
    for groups in [1, 2, 3, 7, 8, 13, 33] {
        for length in [groups * GROUP + 1, (groups + 1) * GROUP, (groups + 5) * GROUP + 77] {
            let bytes = blob(length);
            let (digest, whole) = hash(&bytes);
            for at in (0..=groups * GROUP).step_by(GROUP) {
                let mut outboard = Vec::new();
                let mut keep = |parent: &Parent| outboard.extend_from_slice(&parent.0);
                let mut hasher = TreeHasher::new();
                // The last of these groups stays open until another byte follows.
                hasher.update(&bytes[..at], &mut keep);
                let suspended = hasher.suspend(&mut keep).unwrap();
                assert_eq!((suspended.length, suspended.outboard_size()), (at as u64, outboard.len() as u64));
                assert!(suspended.stack.len() <= 39);
                let mut keep = |parent: &Parent| outboard.extend_from_slice(&parent.0);
                let mut resumed = TreeHasher::resume(&suspended).unwrap();
                assert_eq!(resumed.length(), at as u64);
                resumed.update(&bytes[at..], &mut keep);
                assert_eq!(resumed.finish(&mut keep), digest, "{at} of {length}");
                assert!(outboard == whole, "the outboard of {at} of {length}");
                // The suspended hasher itself may continue as well.
                hasher.update(&bytes[at..], &mut |_| {});
                assert_eq!(hasher.finish(&mut |_| {}), digest);
            }
        }
    }
}

/// Held bytes are compared with the proof of the slice after them, subtree by subtree.
#[test]
fn suspended_bytes_are_matched_against_the_next_slices_proof() {
    for groups in [1, 2, 3, 5, 6, 8, 11] {
        for length in [groups * GROUP, groups * GROUP - 1, (groups - 1) * GROUP + 1] {
            let Sliced { bytes, digest, slices } = sliced(length);
            for (range, proof) in slices.iter().filter(|(range, _)| range.start > 0) {
                let slice = &bytes[range.clone()];
                assert_eq!(verify(&digest, length as u64, range.start as u64, slice, proof), Ok(()));
                let matching = |held: &[u8]| {
                    let mut hasher = TreeHasher::new();
                    hasher.update(held, &mut |_| {});
                    let suspended = hasher.suspend(&mut |_| {}).unwrap();
                    suspended.matching(length as u64, slice.len() as u64, proof)
                };
                assert_eq!(matching(&bytes[..range.start]), range.start as u64, "{range:?} of {length}");
                let held = range.start / GROUP;
                for damaged in 0..held {
                    let mut other = bytes[..range.start].to_vec();
                    other[damaged * GROUP + 5] ^= 1;
                    // The subtrees' sizes are the powers of two that add up to the number of groups, largest first.
                    let (mut before, mut rest) = (0, held);
                    while before + (1 << rest.ilog2()) <= damaged {
                        before += 1 << rest.ilog2();
                        rest = held - before;
                    }
                    assert_eq!(matching(&other), (before * GROUP) as u64, "{damaged} of {held} of {groups}");
                }
            }
        }
    }
    // An empty slice, a slice beyond the end and a slice without its proof match nothing.
    let held = Suspended { length: GROUP_U64, stack: vec![[7; 32]] };
    for (length, size) in [(GROUP_U64, 0), (GROUP_U64, GROUP_U64), (3 * GROUP_U64, GROUP_U64), (3 * GROUP_U64, 5)] {
        assert_eq!(held.matching(length, size, &[]), 0);
    }
}

#[test]
fn suspending_inside_a_group_and_resuming_an_impossible_state_are_refused() {
    let mut hasher = TreeHasher::new();
    hasher.update(&blob(GROUP + 1), &mut |_| {});
    assert_eq!(hasher.suspend(&mut |_| {}), None);

    let suspended = |length: u64, values: usize| Suspended { length, stack: vec![[7; 32]; values] };
    for good in [suspended(0, 0), suspended(GROUP_U64, 1), suspended(3 * GROUP_U64, 2), suspended(1 << 52, 1)] {
        assert!(TreeHasher::resume(&good).is_ok(), "{good:?}");
    }
    let refused = [
        (suspended(0, 1), 0),
        (suspended(GROUP_U64, 0), 1),
        (suspended(3 * GROUP_U64, 1), 2),
        (suspended(3 * GROUP_U64, 3), 2),
        (suspended(3 * GROUP_U64 + 1, 2), 2),
        (suspended(MAX_SAFE_INTEGER + 1, 1), 1),
        (suspended(u64::MAX, 64), 50),
    ];
    for (bad, expected) in refused {
        let got = bad.stack.len();
        assert_eq!(TreeHasher::resume(&bad).map(drop), Err(TreeError::Suspended { length: bad.length, expected, got }),);
    }
    // Chaining values of other bytes lead to another digest.
    let mut resumed = TreeHasher::resume(&suspended(GROUP_U64, 1)).unwrap();
    resumed.update(b"x", &mut |_| {});
    assert_ne!(resumed.finish(&mut |_| {}), hash(&blob(GROUP + 1)).0);
}
