//! Verification of a slice.

use std::ops::Range;

use blake3::hazmat::ChainingValue;
use thiserror::Error;

use super::{GROUP_U64, Node, Parent, proof_size, widen_to_groups};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::Digest;
use crate::limits::MAX_SAFE_INTEGER;

/// Why a slice does not verify.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The slice is not a run of whole groups of a blob of this length.
    NotGroups {
        /// The blob's length.
        length: u64,
        /// The slice's offset.
        offset: u64,
        /// The slice's size in bytes.
        size: u64,
    },
    /// The proof does not have as many parents as this slice needs.
    ProofSize {
        /// The number of parents that the slice needs.
        expected: usize,
        /// The number of parents in the proof.
        got: usize,
        /// The slice's offset.
        offset: u64,
        /// The slice's size in bytes.
        size: u64,
        /// The blob's length.
        length: u64,
    },
    /// No hasher can have been suspended in this state.
    Suspended {
        /// The number of bytes hashed.
        length: u64,
        /// The number of chaining values for this many bytes.
        expected: u32,
        /// The number of chaining values in the state.
        got: usize,
    },
    /// A parent in the proof is not the blob's parent above these bytes.
    Parent {
        /// The first byte below the parent.
        start: u64,
        /// The byte after the last one below the parent.
        end: u64,
        /// The blob's hash of this node, in hex.
        expected: String,
        /// The hash of the parent in the proof, in hex.
        got: String,
    },
    /// The bytes are not the blob's.
    Bytes {
        /// The first of these bytes.
        start: u64,
        /// The byte after the last one.
        end: u64,
        /// The blob's hash of this node, in hex.
        expected: String,
        /// The hash of these bytes, in hex.
        got: String,
    },
}

impl TreeError {
    /// What a slice or a state of this blob must be, and what was found.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::NotGroups { length, offset, size } => {
                let expected = format_args!("whole groups of a blob of {length} bytes");
                Comparison::new(&"", &expected, &format_args!("{size} bytes at {offset}"))
            }
            Self::ProofSize { expected, got, offset, size, length } => {
                let expected = format_args!("a proof of {expected} parents for {size} bytes at {offset} of {length}");
                Comparison::new(&"", &expected, got)
            }
            Self::Suspended { length, expected, got } => {
                let expected = format_args!("whole groups and a chaining value for each of their {expected} subtrees");
                Comparison::new(&"", &expected, &format_args!("{length} bytes and {got}"))
            }
            Self::Parent { start, end, expected, got } => {
                let subject = format_args!("the proof differs above bytes {start} to {end}");
                Comparison::new(&subject, expected, got)
            }
            Self::Bytes { start, end, expected, got } => {
                Comparison::new(&format_args!("the bytes {start} to {end} differ"), expected, got)
            }
        }
    }
}

display_comparison!(TreeError);

/// Checks that `bytes` are at `offset` of the blob with this digest, given that the blob has this length. A slice that reaches
/// the blob's end proves the length as well. An empty blob has one slice, which is empty.
///
/// # Errors
/// See [`TreeError`].
pub fn verify(digest: &Digest, length: u64, offset: u64, bytes: &[u8], proof: &[Parent]) -> Result<(), TreeError> {
    let within = |position: u64| usize::try_from(position - offset).unwrap_or(usize::MAX);
    verify_with(digest, length, offset, bytes.len() as u64, proof, |node| {
        let Range { start, end } = node.bytes(length);
        node.hash(&bytes[within(start)..within(end)])
    })
}

/// As [`verify`]. `hash` returns the hash of a node that lies wholly within the slice.
pub(super) fn verify_with(
    digest: &Digest,
    length: u64,
    offset: u64,
    size: u64,
    proof: &[Parent],
    hash: impl Fn(Node) -> [u8; 32],
) -> Result<(), TreeError> {
    let range = offset..offset.saturating_add(size);
    // The last condition refuses an empty slice of a blob that is not empty, and a slice beyond the blob's end.
    if length > MAX_SAFE_INTEGER || widen_to_groups(&range, length) != range || range.is_empty() != (length == 0) {
        return Err(TreeError::NotGroups { length, offset, size });
    }
    let expected = proof_size(range.clone(), length);
    if proof.len() != expected {
        return Err(TreeError::ProofSize { expected, got: proof.len(), offset, size, length });
    }
    let mut parents = proof.iter();
    let mut todo = vec![(Node::root(length, GROUP_U64), digest.0)];
    while let Some((node, expected)) = todo.pop() {
        let Range { start, end } = node.bytes(length);
        let hex = base16ct::lower::encode_string;
        if node.straddles(&range, length) {
            // Never `None`: the number of parents was checked above.
            let Some(parent) = parents.next() else { break };
            let got = parent.hash(node.is_root);
            if got != expected {
                return Err(TreeError::Parent { start, end, expected: hex(&expected), got: hex(&got) });
            }
            let (left, right) = node.children();
            let (left_hash, right_hash) = parent.halves();
            todo.extend([(right, right_hash), (left, left_hash)]);
        } else if range.start <= start && end <= range.end {
            let got = hash(node);
            if got != expected {
                return Err(TreeError::Bytes { start, end, expected: hex(&expected), got: hex(&got) });
            }
        }
    }
    Ok(())
}

/// The hash of a node that is not the root, from the hashes of its groups.
pub(super) fn merged(groups: &[ChainingValue]) -> ChainingValue {
    match groups {
        [] => [0; 32],
        [one] => *one,
        several => {
            let (left, right) = several.split_at(several.len().div_ceil(2).next_power_of_two());
            Parent::new(&merged(left), &merged(right)).hash(false)
        }
    }
}
