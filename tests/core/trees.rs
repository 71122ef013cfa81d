//! Blob hash trees from the independent implementation: `tests/vectors/tree.json`.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use vouch_core::digest::Digest;
use vouch_core::tree::{BLOCK, OutlineHasher, Parent, TreeHasher, proof, verify};

use crate::vectors::directory;

#[derive(Deserialize)]
struct TreeFile {
    blobs: Vec<Blob>,
}

#[derive(Deserialize)]
struct Blob {
    length: u64,
    digest: String,
    outboard: String,
    slices: Vec<Slice>,
}

#[derive(Deserialize)]
struct Slice {
    start: u64,
    end: u64,
    proof: Vec<String>,
}

fn at(position: u64) -> usize {
    usize::try_from(position).unwrap()
}

#[test]
fn digests_outboards_and_proofs_match_the_vectors() {
    let text = std::fs::read_to_string(directory().join("tree.json")).unwrap();
    let TreeFile { blobs } = serde_json::from_str(&text).unwrap();
    assert!(blobs.len() >= 12);
    for Blob { length, digest, outboard, slices } in blobs {
        let bytes: Vec<u8> = (0..251u8).cycle().take(at(length)).collect();
        let mut made = Vec::new();
        let mut hasher = TreeHasher::new();
        hasher.update(&bytes, &mut |parent: &Parent| made.extend_from_slice(&parent.0));
        let got = hasher.finish(&mut |parent: &Parent| made.extend_from_slice(&parent.0));
        assert_eq!((got.to_hex(), HEXLOWER.encode(&made)), (digest, outboard), "{length}");

        let mut outliner = OutlineHasher::new();
        outliner.update(&bytes);
        let (of_outline, outline) = outliner.finish();
        assert_eq!(of_outline, got);

        assert!(!slices.is_empty() || length == 0);
        for Slice { start, end, proof: expected } in slices {
            let read = |offset: u64| {
                let mut parent = Parent([0; Parent::SIZE]);
                parent.0.copy_from_slice(&made[at(offset)..][..Parent::SIZE]);
                Ok::<_, std::convert::Infallible>(parent)
            };
            let parents = proof(start..end, length, read).unwrap();
            let shown: Vec<String> = parents.iter().map(|parent| HEXLOWER.encode(&parent.0)).collect();
            assert_eq!(shown, expected, "{start} to {end} of {length}");
            assert_eq!(verify(&got, length, start, &bytes[at(start)..at(end)], &parents), Ok(()));
            assert!(verify(&Digest([1; 32]), length, start, &bytes[at(start)..at(end)], &parents).is_err());
            if at(start).is_multiple_of(BLOCK) && (at(end).is_multiple_of(BLOCK) || end == length) {
                assert_eq!(outline.proof(start..end), Some(parents), "{start} to {end} of {length}, by its outline");
            }
        }
    }
}
