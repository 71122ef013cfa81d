//! The reads from one holder: which ranges are requested next, and which are not answered yet.

use std::collections::VecDeque;
use std::ops::Range;

use crate::message::{Holder, MAX_CHUNK, Stream};
use crate::tree::GROUP;

pub(super) const CHUNK: u64 = MAX_CHUNK as u64;

/// A read that is not answered yet.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub(super) stream: Stream,
    pub(super) range: Range<u64>,
    /// The read is only for the proof of the length: its bytes are not passed on.
    pub(super) for_length_only: bool,
}

/// The reads from the current holder.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) holder: Holder,
    pub(super) name: String,
    /// The bytes not requested yet, in whole groups.
    pub(super) unrequested: Range<u64>,
    /// The last group is to be read before them, as proof of the length.
    pub(super) needs_length_read: bool,
    /// Oldest first.
    pub(super) pending: VecDeque<PendingRead>,
}

impl Transfer {
    /// The next range to request, and whether it is only for the proof of the length.
    pub(super) fn next(&mut self) -> Option<(Range<u64>, bool)> {
        let length = self.holder.length;
        if std::mem::take(&mut self.needs_length_read) {
            return Some((last_group(length)..length, true));
        }
        let Range { start, end } = self.unrequested;
        if start >= end {
            return None;
        }
        // Cut at multiples of the chunk size: such chunks are whole subtrees, which have the shortest proofs.
        let cut = if end - start <= CHUNK { end } else { (start / CHUNK + 1) * CHUNK };
        self.unrequested.start = cut;
        Some((start..cut, false))
    }

    /// Removes an answered read; `None` unless it was the oldest.
    pub(super) fn answered(&mut self, stream: Stream) -> Option<PendingRead> {
        let position = self.pending.iter().position(|read| read.stream == stream)?;
        let read = self.pending.remove(position)?;
        (position == 0).then_some(read)
    }
}

/// The offset of a blob's last group that has any bytes.
fn last_group(length: u64) -> u64 {
    length.saturating_sub(1) / GROUP as u64 * GROUP as u64
}
