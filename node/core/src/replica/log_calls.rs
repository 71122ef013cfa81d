//! What servers ask of a replica's log, and the ops that they wait for.

use std::collections::BTreeMap;

use vouch_core::log::{Op, OpId};
use vouch_core::message::Stream;

use crate::log::applied::BLOCK_TIME_TOLERANCE;

/// Maximum number of callers that wait for ops on one link.
pub const WAITING_PER_LINK: usize = 1024;

/// What a server asks of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogCall {
    /// Submit an op, and say when it is decided.
    Submit(Op),
    /// Sign the head of this height.
    Head(u64),
    /// The proof of an op, under the head of this height.
    Proof {
        /// The op.
        op: OpId,
        /// The height of the head.
        head: u64,
    },
    /// A block, and its path to the head of this height.
    Block {
        /// The block's height.
        height: u64,
        /// The height of the head.
        head: u64,
    },
    /// Statements of an epoch's seal, in order.
    Seal {
        /// The sealed epoch.
        epoch: u64,
        /// The place of the first statement.
        from: u32,
    },
}

/// Who waits for an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpCaller {
    /// The link of the server, by a number that no other link of this process has.
    pub link: u64,
    /// The request on that link.
    pub stream: Stream,
}

#[derive(Debug)]
struct Waiting {
    expires_at: u64,
    callers: Vec<OpCaller>,
}

/// The callers that wait until an op is decided.
#[derive(Debug, Default)]
pub struct OpCallers {
    ops: BTreeMap<OpId, Waiting>,
    /// The number of callers of each link.
    counts: BTreeMap<u64, usize>,
}

impl OpCallers {
    /// A caller waits for an op. `false` if too many wait on its link already.
    pub fn wait(&mut self, op: OpId, expires_at: u64, caller: OpCaller) -> bool {
        let count = self.counts.entry(caller.link).or_default();
        if *count >= WAITING_PER_LINK {
            return false;
        }
        *count += 1;
        let waiting = self.ops.entry(op).or_insert_with(|| Waiting { expires_at, callers: Vec::new() });
        waiting.callers.push(caller);
        true
    }

    /// The op is decided or refused: its callers, who wait no longer.
    pub fn take(&mut self, op: &OpId) -> Vec<OpCaller> {
        let callers = self.ops.remove(op).map(|waiting| waiting.callers).unwrap_or_default();
        for caller in &callers {
            self.uncount(caller.link);
        }
        callers
    }

    /// The callers of ops that cannot be decided any more: they expired so long ago that no block may have an earlier time.
    pub fn expired(&mut self, unix_seconds: u64) -> Vec<OpCaller> {
        let is_over = |waiting: &Waiting| waiting.expires_at.saturating_add(BLOCK_TIME_TOLERANCE) < unix_seconds;
        let over: Vec<_> = self.ops.iter().filter(|(_, waiting)| is_over(waiting)).map(|(op, _)| *op).collect();
        over.iter().flat_map(|op| self.take(op)).collect()
    }

    /// A link ended: its callers wait no longer.
    pub fn link_ended(&mut self, link: u64) {
        if self.counts.remove(&link).is_some() {
            self.ops.retain(|_, waiting| {
                waiting.callers.retain(|caller| caller.link != link);
                !waiting.callers.is_empty()
            });
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn uncount(&mut self, link: u64) {
        if let Some(count) = self.counts.get_mut(&link) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&link);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(link: u64, stream: u32) -> OpCaller {
        OpCaller { link, stream: Stream(stream) }
    }

    #[test]
    fn all_callers_of_an_op_are_answered_once() {
        let mut callers = OpCallers::default();
        assert!(callers.wait(OpId([1; 32]), 9, caller(1, 1)));
        assert!(callers.wait(OpId([1; 32]), 9, caller(2, 1)));
        assert!(callers.wait(OpId([2; 32]), 9, caller(1, 2)));
        assert_eq!(callers.take(&OpId([1; 32])), [caller(1, 1), caller(2, 1)]);
        assert_eq!(callers.take(&OpId([1; 32])), []);
        assert_eq!(callers.take(&OpId([2; 32])), [caller(1, 2)]);
        assert!(callers.is_empty() && callers.counts.is_empty());
    }

    #[test]
    fn callers_wait_until_no_block_can_have_their_op() {
        let mut callers = OpCallers::default();
        callers.wait(OpId([1; 32]), 100, caller(1, 1));
        callers.wait(OpId([2; 32]), 101, caller(1, 2));
        assert_eq!(callers.expired(100 + BLOCK_TIME_TOLERANCE), []);
        assert_eq!(callers.expired(101 + BLOCK_TIME_TOLERANCE), [caller(1, 1)]);
        assert_eq!(callers.take(&OpId([2; 32])), [caller(1, 2)]);
    }

    #[test]
    fn a_link_has_a_bound_and_leaves_nothing_behind() {
        let mut callers = OpCallers::default();
        for number in (0..).take(WAITING_PER_LINK) {
            assert!(callers.wait(OpId([1; 32]), 9, caller(1, number)));
        }
        assert!(!callers.wait(OpId([2; 32]), 9, caller(1, 0)), "the link has too many");
        assert!(callers.wait(OpId([1; 32]), 9, caller(2, 7)), "another has room");
        callers.link_ended(1);
        assert!(callers.wait(OpId([2; 32]), 9, caller(1, 0)), "the room is free again");
        assert_eq!(callers.take(&OpId([1; 32])), [caller(2, 7)]);
        callers.link_ended(1);
        assert!(callers.is_empty() && callers.counts.is_empty());
    }
}
