//! Verifies bytes that were kept from an earlier get, without getting them again.
//!
//! The proofs of two slices contain the hashes of all subtrees between the slices: those to the right of the first slice's
//! path, and those to the left of the second one's. So two groups of 16 KiB are enough to verify any number of bytes between
//! them.

use std::collections::VecDeque;
use std::ops::Range;

use blake3::hazmat::{ChainingValue, HasherExt};

use super::{GROUP_U64, Node, Parent};

/// A slice that [`verify`](super::verify) accepted.
#[derive(Debug, Clone, Copy)]
pub struct VerifiedSlice<'a> {
    /// The slice's offset in the blob.
    pub offset: u64,
    /// The slice's bytes.
    pub bytes: &'a [u8],
    /// The slice's proof.
    pub proof: &'a [Parent],
}

impl VerifiedSlice<'_> {
    fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.bytes.len() as u64)
    }

    /// The subtrees outside the slice with their hashes, from left to right.
    fn beside(&self, length: u64) -> Option<Vec<(Range<u64>, ChainingValue)>> {
        let (range, mut parents, mut beside) = (self.range(), self.proof.iter(), Vec::new());
        let mut todo = vec![(Node::root(length, GROUP_U64), None)];
        while let Some((node, hash)) = todo.pop() {
            let bytes = node.bytes(length);
            if node.straddles(&range, length) {
                let (left, right) = node.children();
                let (left_hash, right_hash) = parents.next()?.halves();
                todo.extend([(right, Some(right_hash)), (left, Some(left_hash))]);
            } else if bytes.end <= range.start || range.end <= bytes.start {
                beside.push((bytes, hash?));
            }
        }
        parents.next().is_none().then_some(beside)
    }
}

/// Verifies a held range of a blob's bytes as they are read.
#[derive(Debug)]
pub struct HeldRange {
    held: Range<u64>,
    /// The bytes of the first slice that belong to the held range.
    first: Vec<u8>,
    /// The subtrees that follow them, with their expected hashes.
    expected: VecDeque<(Range<u64>, ChainingValue)>,
    hasher: blake3::Hasher,
    position: u64,
    /// Whether all bytes so far are the blob's.
    is_intact: bool,
}

impl HeldRange {
    /// For the held range of a blob of this length. `first` must contain the range's first byte, and `next` must begin at its
    /// end; otherwise `None`.
    pub fn new(length: u64, held: Range<u64>, first: VerifiedSlice<'_>, next: VerifiedSlice<'_>) -> Option<Self> {
        let Range { start, end } = first.range();
        if !(start..end).contains(&held.start) || end > held.end || next.offset != held.end {
            return None;
        }
        let known = [first.beside(length)?, next.beside(length)?].concat();
        let (mut expected, mut at) = (VecDeque::new(), end);
        while at < held.end {
            let subtree = known.iter().find(|(bytes, _)| bytes.start == at && bytes.end <= held.end)?;
            at = subtree.0.end;
            expected.push_back(subtree.clone());
        }
        let from = usize::try_from(held.start - start).ok()?;
        let first = first.bytes.get(from..)?.to_vec();
        let position = held.start;
        Some(Self { held, first, expected, hasher: blake3::Hasher::new(), position, is_intact: true })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        let known = usize::try_from(self.position - self.held.start).ok().and_then(|from| self.first.get(from..));
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            let size = known.len().min(bytes.len());
            self.is_intact &= known[..size] == bytes[..size];
            self.position += size as u64;
            bytes = &bytes[size..];
        }
        while !bytes.is_empty() {
            let Some((subtree, hash)) = self.expected.front().cloned() else {
                // More bytes than the held range has.
                self.is_intact = false;
                return;
            };
            if self.position == subtree.start {
                self.hasher = blake3::Hasher::new();
                self.hasher.set_input_offset(subtree.start);
            }
            let left = usize::try_from(subtree.end - self.position).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(left.min(bytes.len()));
            self.hasher.update(now);
            self.position += now.len() as u64;
            bytes = rest;
            if self.position == subtree.end {
                self.is_intact &= self.hasher.finalize_non_root() == hash;
                self.expected.pop_front();
            }
        }
    }

    /// Whether all bytes of the held range were passed, and all of them are the blob's.
    pub fn is_intact(&self) -> bool {
        self.is_intact && self.position == self.held.end
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Sliced, sliced};
    use super::super::{GROUP, verify};
    use super::*;

    fn slice<'a>(sliced: &'a Sliced, wanted: &Range<usize>) -> VerifiedSlice<'a> {
        let (range, proof) = sliced.slices.iter().find(|(range, _)| range == wanted).unwrap();
        let (offset, bytes) = (range.start as u64, &sliced.bytes[range.clone()]);
        assert_eq!(verify(&sliced.digest, sliced.bytes.len() as u64, offset, bytes, proof), Ok(()));
        VerifiedSlice { offset, bytes, proof }
    }

    fn check(sliced: &Sliced, held: &Range<usize>, bytes: &[u8], piece: usize) -> bool {
        let length = sliced.bytes.len();
        let start = held.start / GROUP * GROUP;
        let first = slice(sliced, &(start..(start + GROUP).min(length)));
        let next = slice(sliced, &(held.end..(held.end + GROUP).min(length)));
        let mut check = HeldRange::new(length as u64, held.start as u64..held.end as u64, first, next).unwrap();
        bytes.chunks(piece).for_each(|piece| check.update(piece));
        check.is_intact()
    }

    #[test]
    fn every_range_is_accepted_and_every_change_is_detected() {
        for length in [2 * GROUP, 7 * GROUP + 5, 13 * GROUP, 16 * GROUP + 1] {
            let sliced = sliced(length);
            let ends = (GROUP..length).step_by(GROUP);
            for (end, start) in ends.flat_map(|end| (0..end).step_by(GROUP).map(move |start| (end, start))) {
                for from in [start, start + 7, start + GROUP - 1] {
                    let (held, bytes) = (from..end, sliced.bytes[from..end].to_vec());
                    assert!(check(&sliced, &held, &bytes, 100_003), "{held:?} of {length}");
                    for at in [0, bytes.len() / 2, bytes.len() - 1] {
                        let mut other = bytes.clone();
                        other[at] ^= 1;
                        assert!(!check(&sliced, &held, &other, 5000), "{held:?} of {length}, {at}");
                    }
                    assert!(!check(&sliced, &held, &bytes[..bytes.len() - 1], GROUP), "too few");
                    assert!(!check(&sliced, &held, &[&bytes[..], b"x"].concat(), GROUP), "too many");
                }
            }
        }
    }

    #[test]
    fn slices_that_do_not_enclose_the_range_are_refused() {
        let sliced = sliced(8 * GROUP);
        let length = sliced.bytes.len() as u64;
        let group = |number: usize| slice(&sliced, &(number * GROUP..(number + 1) * GROUP));
        let at = |number: u64| number * GROUP_U64;
        assert!(HeldRange::new(length, at(1)..at(4), group(1), group(4)).is_some());
        for (held, first, next) in [(1, 2, 4), (1, 0, 4), (1, 1, 5), (1, 1, 3), (4, 4, 4)] {
            assert!(
                HeldRange::new(length, at(held)..at(4), group(first), group(next)).is_none(),
                "{held} {first} {next}"
            );
        }
        let mut short = group(4);
        short.proof = &short.proof[1..];
        assert!(HeldRange::new(length, at(1)..at(4), group(1), short).is_none());
    }
}
