//! The exchange in which members confirm that they hold a large blob: it is offered to them, and each names its resume offset, which is the
//! end of the blob for a member that has just read all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use vouch_core::message::Stream;
use vouch_core::receipt::Receipt;
use vouch_core::session::progress::SERVER_STORES;

use crate::server::grace_period::GracePeriod;
use crate::server::put::READING_RATE;

/// Time within which members confirm a small blob. A large one takes as much longer as reading it takes.
pub(super) const CONFIRMING: Duration = SERVER_STORES;

#[derive(Debug)]
pub(super) struct Confirmation {
    stream: Stream,
    receipt: Receipt,
    /// The members that were offered the blob and have not answered; `None` until it was offered.
    awaited: Option<BTreeSet<u16>>,
    holders: BTreeSet<u16>,
    grace: GracePeriod,
    deadline: Duration,
}

impl Confirmation {
    /// `most`: the most bytes that one member has to read.
    pub(super) fn new(stream: Stream, receipt: Receipt, most: u64, now: Duration) -> Self {
        let deadline = now + CONFIRMING + Duration::from_secs(most / READING_RATE);
        let (holders, grace) = (BTreeSet::new(), GracePeriod::new(now));
        Self { stream, receipt, awaited: None, holders, grace, deadline }
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// These members were offered the blob.
    pub(super) fn offered(&mut self, members: BTreeSet<u16>) {
        self.awaited.get_or_insert(members);
    }

    /// A member answered with its resume offset, or refused. `true` if the offer must be cancelled at it.
    pub(super) fn answered(&mut self, stream: Stream, member: u16, offset: Option<u64>) -> bool {
        let is_first = stream == self.stream && self.awaited.as_mut().is_some_and(|awaited| awaited.remove(&member));
        let assignment = self.receipt.assignment(Some(member));
        if is_first && offset.is_some_and(|offset| assignment.is_complete_at(offset)) {
            self.holders.insert(member);
        }
        // A member that refused has no put to cancel.
        is_first && offset.is_some()
    }

    fn awaits(&self, member: u16) -> bool {
        self.awaited.as_ref().is_none_or(|awaited| awaited.contains(&member))
    }

    /// The time at which the exchange ends without another answer: at the end of the grace period, once a quorum and the asking member have
    /// confirmed.
    pub(super) fn next_tick(&self, asking: u16) -> Duration {
        self.grace.until().filter(|_| !self.awaits(asking)).unwrap_or(self.deadline).min(self.deadline)
    }

    /// Whether the exchange has ended.
    pub(super) fn is_over(&mut self, asking: u16, quorum: usize, now: Duration) -> bool {
        let Some(awaited) = &self.awaited else { return false };
        let is_over = self.grace.is_over(self.holders.len(), quorum, awaited.len(), now);
        awaited.is_empty() || now >= self.deadline || (is_over && !self.awaits(asking))
    }

    /// What was offered, the members that have not answered, and those that hold it.
    pub(super) fn into_parts(self) -> (Receipt, BTreeSet<u16>, BTreeSet<u16>) {
        (self.receipt, self.awaited.unwrap_or_default(), self.holders)
    }
}
