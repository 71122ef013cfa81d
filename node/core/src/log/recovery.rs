//! A node that lost its write-ahead log does not know what it signed, so it signs nothing until it cannot contradict itself.
//!
//! It may have voted at the height that it worked on, and it got there with the precommits of a quorum for the height before. That quorum
//! shares an honest member with any n − f of the others, and this member worked on the height before, or a later one. So no vote was
//! given more than one height after the highest at which n − f others say they work: when that height is decided, the node votes again.
//!
//! With f = 0 every member is needed, so the wait would never end. The operator decides in that case: once all others have said how far they
//! are and this node has caught up, it votes again. All others are honest then, and a block needs the votes of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use vouch_core::link::NodeKey;
use vouch_core::quorum::{quorum, tolerated_faults};

use super::members::LogMembers;
use super::wal_record::WalRecord;

/// Interval at which the others are asked how far they are, until enough have said it.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// Whether this node signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voting {
    /// It signs, if it is a member.
    Yes,
    /// It lost its write-ahead log, and too few others have said how far they are.
    LostWal,
    /// It lost its write-ahead log, and signs once this height is decided.
    Until(u64),
}

#[derive(Debug)]
pub(super) struct Recovery {
    voting: Voting,
    /// `--recover-log`.
    is_allowed: bool,
    /// The height at which each other node works.
    reports: BTreeMap<NodeKey, u64>,
    ask_at: Duration,
}

impl Recovery {
    pub(super) fn new(voting: Voting, is_allowed: bool) -> Self {
        Self { voting, is_allowed, reports: BTreeMap::new(), ask_at: Duration::ZERO }
    }

    pub(super) fn voting(&self) -> Voting {
        self.voting
    }

    /// What a write-ahead log begins with.
    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        let abstain = match self.voting {
            Voting::Yes => return Vec::new(),
            Voting::LostWal => WalRecord::Abstain(None),
            Voting::Until(height) => WalRecord::Abstain(Some(height)),
        };
        abstain.encode().into_iter().collect()
    }

    /// Another node works on height `next`.
    pub(super) fn report(&mut self, from: NodeKey, next: u64, members: &LogMembers) {
        if self.voting == Voting::LostWal && members.contains(&from) {
            // The first report stays: a node that always claims a higher one must not keep this node waiting.
            self.reports.entry(from).or_insert(next);
        }
    }

    /// Decides whether to vote again, `height` being the last one that is decided here. Whether something changed.
    pub(super) fn advance(&mut self, own: &NodeKey, members: &LogMembers, height: u64) -> bool {
        let before = self.voting;
        if self.voting == Voting::LostWal {
            self.count(own, members, height);
        }
        if matches!(self.voting, Voting::Until(until) if height >= until) {
            self.voting = Voting::Yes;
        }
        self.voting != before
    }

    fn count(&mut self, own: &NodeKey, members: &LogMembers, height: u64) {
        let n = u16::try_from(members.count()).unwrap_or(u16::MAX);
        // A claim counts once its blocks are here: a lie about the future cannot be shown.
        let is_proved = |next: u64| next <= height + 1;
        let others = members.keys().iter().filter(|key| *key != own);
        let proved: Vec<_> = others.filter_map(|key| self.reports.get(key)).filter(|next| is_proved(**next)).collect();
        let highest = proved.iter().map(|next| **next).max();
        if tolerated_faults(n) > 0 {
            if proved.len() >= usize::from(quorum(n)) {
                self.voting = Voting::Until(highest.unwrap_or(height) + 1);
            }
        } else if self.is_allowed && proved.len() + usize::from(members.contains(own)) >= members.count() {
            self.voting = Voting::Yes;
        }
    }

    /// Whether to ask all others now.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let is_due = self.voting == Voting::LostWal && self.ask_at <= now;
        if is_due {
            self.ask_at = now + ASK_EVERY;
        }
        is_due
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        (self.voting == Voting::LostWal).then_some(self.ask_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u8) -> NodeKey {
        NodeKey([i; 32])
    }

    fn members(n: u8) -> LogMembers {
        LogMembers::new(0, (1..=n).map(key)).unwrap()
    }

    #[test]
    fn a_node_without_its_wal_waits_for_the_height_after_the_highest_reported() {
        let members = members(4);
        let mut recovery = Recovery::new(Voting::LostWal, false);
        recovery.report(key(2), 5, &members);
        recovery.report(key(3), 6, &members);
        recovery.report(key(9), 5, &members);
        assert!(!recovery.advance(&key(1), &members, 5), "two of three others, and a stranger");
        recovery.report(key(4), 9, &members);
        assert!(!recovery.advance(&key(1), &members, 5), "height 9 is not shown");
        assert_eq!(recovery.records(), [WalRecord::Abstain(None).encode().unwrap()]);
        assert!(recovery.advance(&key(1), &members, 8));
        assert_eq!(recovery.voting(), Voting::Until(10));
        assert_eq!(recovery.records(), [WalRecord::Abstain(Some(10)).encode().unwrap()]);
        assert!(!recovery.advance(&key(1), &members, 9));
        assert!(recovery.advance(&key(1), &members, 10));
        assert_eq!((recovery.voting(), recovery.records()), (Voting::Yes, Vec::new()));
    }

    #[test]
    fn a_small_committee_needs_its_operator_and_the_state_of_all_others() {
        for (n, is_allowed) in [(1, false), (3, false), (1, true), (3, true)] {
            let members = members(n);
            let mut recovery = Recovery::new(Voting::LostWal, is_allowed);
            assert_eq!(recovery.advance(&key(1), &members, 4), n == 1 && is_allowed);
            for other in 2..=n {
                assert_ne!(recovery.voting(), Voting::Yes);
                recovery.report(key(other), 5, &members);
                recovery.advance(&key(1), &members, 4);
            }
            assert_eq!(recovery.voting() == Voting::Yes, is_allowed, "{n}");
        }
    }
}
