//! What each member must hold for a receipt, and what a put sends it.
//!
//! The receipt's kind decides this. Today there is one kind, and every member holds a copy of the whole blob. Only this module may assume
//! that: other code asks a receipt for a member's [`Assignment`], and compares what it has with that. Code that works only for copies, such
//! as sending one message to all members, matches on [`Placement`] without a wildcard. So a second kind (fragments, of which each member
//! holds its own) is a variant here, and the compiler names every place that it concerns.

use crate::digest::Digest;
use crate::receipt::{Receipt, ReceiptKind};
use crate::tree::BLOCK;

/// How a blob's bytes are spread over the members of a committee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Every member holds the whole blob.
    Copies,
}

/// The bytes that one member must hold for a receipt before it votes, and until when it must keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The receipt's salt. It tells two puts of the same bytes apart.
    pub salt: [u8; 16],
    /// The plain BLAKE3 hash of the member's bytes.
    pub digest: Digest,
    /// The number of the member's bytes.
    pub length: u64,
    /// When the duty to keep them ends, as in [`Receipt::expires_at`].
    pub expires_at: u64,
}

impl Receipt {
    /// How the blob's bytes are spread over the members.
    pub fn placement(&self) -> Placement {
        match self.kind() {
            ReceiptKind::WholeBlob => Placement::Copies,
        }
    }

    /// What a holder must hold. `member`: its index in the committee that certifies the receipt; `None` if it does not know its committee
    /// yet, as a replica that receives a put at the founding.
    pub fn assignment(&self, member: Option<u16>) -> Assignment {
        match (self.placement(), member) {
            (Placement::Copies, _) => {
                let Self { salt, digest, length, expires_at } = *self;
                Assignment { salt, digest, length, expires_at }
            }
        }
    }

    /// The most bytes that one of these members must hold: what bounds the time until all of them have read theirs.
    pub fn most_assigned(&self, members: impl IntoIterator<Item = u16>) -> u64 {
        let lengths = members.into_iter().map(|member| self.assignment(Some(member)).length);
        lengths.max().unwrap_or_default()
    }

    /// The number of bytes that a client sends to the server in a put.
    pub fn upload_length(&self) -> u64 {
        match self.placement() {
            Placement::Copies => self.length,
        }
    }
}

impl Assignment {
    /// Whether stored bytes are all that the member must hold. `length`: the number of bytes stored under [`digest`](Self::digest), if any.
    pub fn is_held(&self, length: Option<u64>) -> bool {
        length == Some(self.length)
    }

    /// Whether a member with this resume offset needs no more bytes. It has then just read all of them.
    pub fn is_complete_at(&self, offset: u64) -> bool {
        offset == self.length
    }

    /// Whether a member that keeps whole blocks can have this resume offset.
    pub fn is_resume_offset(&self, offset: u64) -> bool {
        self.is_complete_at(offset) || (offset < self.length && offset.is_multiple_of(BLOCK as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(length: u64) -> Receipt {
        Receipt { salt: [5; 16], digest: Digest::of(b"blob"), length, expires_at: 9 }
    }

    #[test]
    fn every_member_is_assigned_the_whole_blob() {
        let receipt = receipt(7);
        let whole = Assignment { salt: [5; 16], digest: Digest::of(b"blob"), length: 7, expires_at: 9 };
        for member in [None, Some(0), Some(999)] {
            assert_eq!(receipt.assignment(member), whole);
        }
        assert_eq!((receipt.upload_length(), receipt.most_assigned([2, 3]), receipt.most_assigned([])), (7, 7, 0));
        assert!(whole.is_held(Some(7)));
        assert!(!whole.is_held(Some(6)) && !whole.is_held(Some(8)) && !whole.is_held(None));
    }

    #[test]
    fn only_ends_of_blocks_and_of_the_bytes_are_resume_offsets() {
        let block = BLOCK as u64;
        let assignment = receipt(3 * block + 5).assignment(None);
        for offset in [0, block, 3 * block, 3 * block + 5] {
            assert!(assignment.is_resume_offset(offset), "{offset}");
            assert_eq!(assignment.is_complete_at(offset), offset == 3 * block + 5);
        }
        for offset in [1, block - 1, 3 * block + 4, 3 * block + 6, 4 * block, u64::MAX] {
            assert!(!assignment.is_resume_offset(offset), "{offset}");
        }
        let empty = receipt(0).assignment(None);
        assert!(empty.is_resume_offset(0) && !empty.is_resume_offset(block));
    }
}
