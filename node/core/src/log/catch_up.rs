//! Catching up: a node that hears of a later height asks for the decided blocks that it lacks, a batch at a time. Each is checked
//! against its parent and the signatures of its own height's voters, so any node may supply it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use vouch_core::link::NodeKey;
use vouch_core::log::Block;

use super::messages::VoteCertificate;

/// Blocks in an answer.
pub(super) const BATCH: u64 = 32;
/// A height ahead is normal for a moment: its messages may overtake the end of the height before.
const PATIENCE: Duration = Duration::from_millis(300);
/// When no answer has come, the next node is asked.
const RETRY: Duration = Duration::from_secs(1);
/// A node gets at most one answer in this time, unless it has taken the last one.
const ANSWER_EVERY: Duration = Duration::from_millis(20);
/// The same blocks again only after this time.
const REPEAT_AFTER: Duration = Duration::from_millis(300);
/// How often a node that does not vote asks whether the height that runs is decided. It repeats no votes that would be answered, and if a
/// liar keeps the last block from it, nothing later tells it.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// Nodes whose claims are kept.
const MAX_PEERS: usize = 1024;

/// A received block that waits for those before it.
pub(super) type Received = (NodeKey, Box<Block>, VoteCertificate);

#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The height at which each node ahead works, as it claims.
    ahead: BTreeMap<NodeKey, u64>,
    ask_at: Option<Duration>,
    asked: Option<NodeKey>,
    /// When to ask whether the height that runs is decided.
    follow_at: Option<Duration>,
    /// The number of times that this was asked: each time of another member.
    follow_turn: usize,
    received: BTreeMap<u64, Received>,
    pace: AnswerPace,
    /// The last blocks, so that most answers need no read.
    recent: VecDeque<(Block, VoteCertificate)>,
}

/// How often nodes get answers, which are much larger than the questions.
#[derive(Debug, Default)]
pub(super) struct AnswerPace {
    /// What each node was sent last, from where on and when.
    answered: BTreeMap<NodeKey, (u64, Duration)>,
}

impl AnswerPace {
    /// Whether a node may be sent an answer now that begins at `from`. It may at once if it has taken the last answer, whose length is
    /// `length`: so it gets everything once as fast as it can take it.
    pub(super) fn allows(&mut self, peer: NodeKey, from: u64, length: u64, now: Duration) -> bool {
        if let Some((last, at)) = self.answered.get(&peer) {
            let pause = if *last == from { REPEAT_AFTER } else { ANSWER_EVERY };
            if from < last.saturating_add(length) && now < *at + pause {
                return false;
            }
        } else if self.answered.len() >= MAX_PEERS {
            self.answered.clear();
        }
        self.answered.insert(peer, (from, now));
        true
    }
}

impl CatchUp {
    pub(super) fn new(recent: Vec<(Block, VoteCertificate)>) -> Self {
        let mut catch_up = Self::default();
        recent.into_iter().for_each(|(block, certificate)| catch_up.remember(block, certificate));
        catch_up
    }

    pub(super) fn remember(&mut self, block: Block, certificate: VoteCertificate) {
        if self.recent.len() as u64 == BATCH {
            self.recent.pop_front();
        }
        self.recent.push_back((block, certificate));
    }

    /// A node works on `height`, while this one works on `next`.
    pub(super) fn note(&mut self, peer: NodeKey, height: u64, next: u64, now: Duration) {
        let is_known = self.ahead.contains_key(&peer);
        if height > next && (is_known || self.ahead.len() < MAX_PEERS) {
            self.ahead.insert(peer, height);
            self.ask_at.get_or_insert(now + PATIENCE);
        }
    }

    /// The node to ask for the blocks from `next` on, if it is time.
    pub(super) fn due(&mut self, next: u64, now: Duration) -> Option<NodeKey> {
        self.ahead.retain(|_, height| *height > next);
        if self.ahead.is_empty() {
            self.ask_at = None;
            return None;
        }
        self.ask_at.filter(|at| *at <= now)?;
        let after =
            self.asked.and_then(|asked| self.ahead.range(asked..).map(|(key, _)| *key).find(|key| *key > asked));
        let peer = after.or_else(|| self.ahead.keys().next().copied())?;
        self.asked = Some(peer);
        self.ask_at = Some(now + RETRY);
        Some(peer)
    }

    /// The member to ask whether the height that runs is decided, if it is time. `is_following`: a height runs, and this node does not vote.
    pub(super) fn follow(&mut self, is_following: bool, members: &[NodeKey], now: Duration) -> Option<NodeKey> {
        if !is_following {
            self.follow_at = None;
            return None;
        }
        if *self.follow_at.get_or_insert(now + FOLLOW_EVERY) > now {
            return None;
        }
        self.follow_at = Some(now + FOLLOW_EVERY);
        self.follow_turn = self.follow_turn.wrapping_add(1);
        members.get(self.follow_turn % members.len().max(1)).copied()
    }

    /// A node sent blocks and has more: it is asked again at once.
    pub(super) fn go_on(&mut self, peer: NodeKey, next: u64, now: Duration) -> bool {
        let has_more = self.ahead.get(&peer).is_some_and(|height| *height > next) && self.received.is_empty();
        if has_more {
            self.asked = Some(peer);
            self.ask_at = Some(now + RETRY);
        }
        has_more
    }

    /// A node sent a bad block: its claims count no more.
    pub(super) fn drop_peer(&mut self, peer: &NodeKey, now: Duration) {
        self.ahead.remove(peer);
        self.received.retain(|_, (from, ..)| from != peer);
        self.ask_at = self.ask_at.map(|_| now);
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.ask_at.into_iter().chain(self.follow_at).min()
    }

    /// Keeps a block whose turn comes soon. Only the node that was asked may send blocks ahead.
    pub(super) fn keep(&mut self, height: u64, next: u64, received: Received) {
        let is_asked = self.asked == Some(received.0);
        if height == next || (is_asked && height > next && height < next + BATCH) {
            self.received.entry(height).or_insert(received);
        }
    }

    /// The block of this height, if it was received. Older ones are dropped.
    pub(super) fn take(&mut self, height: u64) -> Option<Received> {
        self.received = self.received.split_off(&height);
        self.received.remove(&height)
    }

    /// Whether a node may be sent blocks from this height on now.
    pub(super) fn may_answer(&mut self, peer: NodeKey, from: u64, now: Duration) -> bool {
        self.pace.allows(peer, from, BATCH, now)
    }

    /// Whether this node is the one that was asked last.
    pub(super) fn was_asked(&self, peer: &NodeKey) -> bool {
        self.asked.as_ref() == Some(peer)
    }

    /// What decided the last block, if it is in memory.
    pub(super) fn last_certificate(&self) -> Option<&VoteCertificate> {
        self.recent.back().map(|(_, certificate)| certificate)
    }

    /// Forgets the last blocks: the next one does not follow them.
    pub(super) fn forget_blocks(&mut self) {
        self.recent.clear();
    }

    /// The decided blocks from this height on that are in memory. `None`: the first is not, and must be read.
    pub(super) fn batch(&self, from: u64) -> Option<Vec<(Block, VoteCertificate)>> {
        let first = self.recent.front()?.0.header().height;
        let skipped = usize::try_from(from.checked_sub(first)?).ok()?;
        Some(self.recent.iter().skip(skipped).cloned().collect())
    }
}
