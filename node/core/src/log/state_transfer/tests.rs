//! Two nodes: one that has the log, and one that lacks more of it than is kept. A third may be a liar.

use std::sync::Arc;
use std::time::Duration;

use vouch_core::codec::Reader;
use vouch_core::digest::ClusterId;
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{Block, Effect, EngineVote, EngineVoteType, Op, SignedOp};

use super::*;
use crate::log::applied::Applied;
use crate::log::interface::{LogClock, LogInput, LogOutput, WalState};
use crate::log::members::LogMembers;
use crate::log::messages::VoteCertificate;
use crate::log::state_machine::{BlockContext, RestoreError, StateMachine};
use crate::log::verified_op::VerifiedOp;
use crate::log::wire::LogMessage;
use crate::log::{LogConfig, LogCore};

const CLUSTER: ClusterId = ClusterId([3; 32]);
const KEPT: u64 = 8;
const HEIGHT: u64 = 20;

/// Counts ops, and takes three parts. An op of kind 1 begins the next epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Large {
    count: u64,
    epoch: u64,
}

impl StateMachine for Large {
    fn knows(&self, kind: u16) -> bool {
        kind < 2
    }

    fn apply(&mut self, _: &BlockContext, op: &Op) -> Effect {
        self.count += 1;
        self.epoch += u64::from(op.kind());
        Effect::default()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = [self.count.to_le_bytes(), self.epoch.to_le_bytes()].concat();
        out.resize(STATE_PART * 5 / 2, 7);
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut reader = Reader::new(bytes);
        Ok(Self { count: reader.safe_u64("count")?, epoch: reader.safe_u64("epoch")? })
    }

    fn members(&self) -> Option<LogMembers> {
        LogMembers::new(self.epoch, members().keys().iter().copied())
    }
}

fn secret(i: u8) -> NodeSecretKey {
    NodeSecretKey::from_bytes(&[i; 32])
}

fn key(i: u8) -> NodeKey {
    secret(i).node_key()
}

fn members() -> LogMembers {
    LogMembers::new(0, (1..=4).map(key)).unwrap()
}

fn clock(milliseconds: u64) -> LogClock {
    LogClock { now: Duration::from_millis(milliseconds), unix_seconds: 1_790_000_000, is_in_doubt: false }
}

/// The log up to a height: the states from height 0 on, and the blocks.
struct History {
    states: Vec<Applied<Large>>,
    blocks: Vec<(Block, VoteCertificate)>,
}

impl History {
    /// `change_at`: the height of a block that begins the next epoch.
    fn new(height: u64, change_at: Option<u64>) -> Self {
        let mut history =
            Self { states: vec![Applied::genesis(CLUSTER, members(), Large::default())], blocks: Vec::new() };
        for at in 1..=height {
            history.append(u16::from(change_at == Some(at)));
        }
        history
    }

    fn append(&mut self, kind: u16) {
        let last = self.states.last().unwrap();
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&last.height().to_le_bytes());
        let op = Op::new(kind, nonce, 1_790_000_060, Vec::new()).unwrap();
        let op = VerifiedOp::verify(SignedOp::sign(op, &CLUSTER, &secret(1)), &CLUSTER).unwrap();
        let executed = last.build([&op], key(1), 1_790_000_000).unwrap().unwrap();
        let header = executed.block.header();
        let vote = EngineVote {
            vote_type: EngineVoteType::Precommit,
            height: header.height,
            round: 0,
            block: Some(header.digest()),
        };
        let signatures = (1..=3).map(|i| (key(i), vote.sign(&CLUSTER, header.epoch, &secret(i)))).collect();
        let certificate = VoteCertificate { height: header.height, round: 0, block: header.digest(), signatures };
        self.blocks.push((executed.block.clone(), certificate));
        self.states.push(executed.next);
    }

    /// The node that has it all.
    fn node(&self, i: u8, height: u64) -> LogCore<Large> {
        let height = usize::try_from(height).unwrap();
        let recent = self.blocks[..height].to_vec();
        open(i, self.states[height].clone(), recent[recent.len().saturating_sub(5)..].to_vec())
    }

    fn offer(&self) -> LogMessage {
        let (block, certificate) = self.blocks.last().unwrap();
        LogMessage::StateOffer {
            header: Box::new(block.header().clone()),
            certificate: certificate.clone(),
            length: u32::try_from(self.states.last().unwrap().encode().unwrap().len()).unwrap(),
        }
    }
}

fn open(i: u8, applied: Applied<Large>, recent: Vec<(Block, VoteCertificate)>) -> LogCore<Large> {
    let (key, wal) = (Arc::new(secret(i)), WalState::Records(Vec::new()));
    let config = LogConfig { key, applied, recent, wal, may_recover: false, kept_blocks: KEPT };
    LogCore::open(config, clock(0)).0
}

/// What the node that is behind did besides sending.
#[derive(Debug, Default)]
struct Seen {
    blamed: Vec<(NodeKey, String)>,
    installed: Vec<u64>,
    unverified: Vec<HeadError>,
    /// The nodes that it asked for blocks.
    asked: Vec<NodeKey>,
    parts: usize,
}

/// Node 4 is behind, and nodes 1 to 3 have the log. `tamper` changes what they send.
struct Pair {
    behind: LogCore<Large>,
    sources: Vec<LogCore<Large>>,
    seen: Seen,
    now: u64,
}

impl Pair {
    fn new(history: &History, behind: u64) -> Self {
        let height = history.blocks.len() as u64;
        let sources = (1..=3).map(|i| history.node(i, height)).collect();
        let mut pair = Self { behind: history.node(4, behind), sources, seen: Seen::default(), now: 1000 };
        for i in 1..=3 {
            let message = LogMessage::Status { next: height + 1, asks: false };
            pair.give(LogInput::Message { from: key(i), message }, &mut |_, message| Some(message));
        }
        pair
    }

    fn give(&mut self, input: LogInput, tamper: &mut dyn FnMut(u8, LogMessage) -> Option<LogMessage>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.behind.handle(input, clock(self.now)) {
                match output {
                    LogOutput::Send { to, message } => {
                        if matches!(message, LogMessage::Status { asks: true, .. }) {
                            self.seen.asked.push(to);
                        }
                        let place = (1..=3).find(|i| key(*i) == to).unwrap();
                        let input = LogInput::Message { from: key(4), message };
                        for answer in self.sources[usize::from(place) - 1].handle(input, clock(self.now)) {
                            let LogOutput::Send { to, message } = answer else { continue };
                            assert_eq!(to, key(4));
                            self.seen.parts += usize::from(matches!(message, LogMessage::StatePart { .. }));
                            if let Some(message) = tamper(place, message) {
                                assert_eq!(LogMessage::decode(&message.encode()), Ok(message.clone()));
                                inputs.push(LogInput::Message { from: key(place), message });
                            }
                        }
                    }
                    LogOutput::Install { write, install } => {
                        assert_eq!(install.before.root(), install.header.log_root);
                        inputs.push(LogInput::Written(write));
                    }
                    LogOutput::Commit { write, .. } => inputs.push(LogInput::Written(write)),
                    LogOutput::Installed(head) => self.seen.installed.push(head.height),
                    LogOutput::UnverifiedHead { error, .. } => self.seen.unverified.push(error),
                    LogOutput::Misbehaved { peer, reason } => self.seen.blamed.push((peer, reason)),
                    _ => {}
                }
            }
        }
    }

    /// Lets time pass in steps of 300 ms.
    fn wait(&mut self, seconds: u64, mut tamper: impl FnMut(u8, LogMessage) -> Option<LogMessage>) {
        let end = self.now + seconds * 1000;
        while self.now < end {
            self.now += 300;
            self.give(LogInput::Tick, &mut tamper);
        }
    }
}

#[test]
fn a_node_that_lacks_more_than_is_kept_gets_the_state_in_parts() {
    let history = History::new(HEIGHT, None);
    let mut pair = Pair::new(&history, 3);
    pair.wait(2, |_, message| Some(message));
    assert_eq!((&pair.seen.installed, &pair.seen.blamed), (&vec![HEIGHT], &Vec::new()));
    assert_eq!((pair.seen.parts, pair.behind.next_height()), (3, HEIGHT + 1));
    assert_eq!(pair.behind.applied().encode(), history.states[20].encode());
}

#[test]
fn a_node_that_lacks_only_what_is_kept_gets_blocks() {
    let history = History::new(HEIGHT, None);
    // The sources have five blocks in memory, and would read the others.
    for (behind, gets_state) in [(HEIGHT - KEPT - 1, true), (HEIGHT - KEPT, false), (HEIGHT - 3, false)] {
        let mut pair = Pair::new(&history, behind);
        pair.wait(2, |_, message| Some(message));
        assert_eq!(!pair.seen.installed.is_empty(), gets_state, "{behind}");
        assert_eq!(pair.behind.next_height() == HEIGHT + 1, gets_state || behind == HEIGHT - 3, "{behind}");
        assert_eq!(pair.seen.blamed, []);
    }
    // A liar would have it skip blocks that it can get.
    let mut pair = Pair::new(&history, HEIGHT - KEPT);
    pair.wait(1, |_, message| Some(message));
    let asked = *pair.seen.asked.last().unwrap();
    let offer = LogInput::Message { from: asked, message: history.offer() };
    pair.give(offer, &mut |_, message| Some(message));
    assert!(pair.seen.blamed[0].1.contains("expected the blocks from 13 on"), "{:?}", pair.seen.blamed);
    assert!(pair.seen.installed.is_empty());
}

/// One source lies. It is named, and another one is asked.
fn lies(expected: &str, lie: impl Fn(&mut LogMessage)) {
    let history = History::new(HEIGHT, None);
    let mut pair = Pair::new(&history, 3);
    let mut liar = None;
    pair.wait(20, |from, mut message| {
        if *liar.get_or_insert(from) == from {
            lie(&mut message);
        }
        Some(message)
    });
    let Seen { blamed, installed, .. } = &pair.seen;
    assert_eq!(blamed.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [key(liar.unwrap())], "{expected}");
    assert!(blamed[0].1.contains(expected), "expected {expected}, got {}", blamed[0].1);
    assert_eq!(installed, &[HEIGHT], "{expected}");
}

#[test]
fn liars_are_named_and_the_next_one_is_asked() {
    let other = History::new(HEIGHT, None).states[19].encode().unwrap();
    lies("expected 65536 bytes at 0, got 65535", |message| {
        if let LogMessage::StatePart { bytes, .. } = message {
            bytes.pop();
        }
    });
    lies("digest of the snapshot's state", |message| {
        if let LogMessage::StatePart { bytes, offset, .. } = message
            && *offset > 0
        {
            bytes[9] ^= 1;
        }
    });
    lies("as the last one", move |message| match message {
        LogMessage::StateOffer { length, .. } => *length = u32::try_from(other.len()).unwrap(),
        LogMessage::StatePart { bytes, offset, .. } => {
            let from = usize::try_from(*offset).unwrap();
            *bytes = other[from..other.len().min(from + STATE_PART)].to_vec();
        }
        _ => {}
    });
    lies("expected at most", |message| {
        if let LogMessage::StateOffer { length, .. } = message {
            *length = (16 << 20) + 1;
        }
    });
    lies("expected 3 signers, got 2", |message| {
        if let LogMessage::StateOffer { certificate, .. } = message {
            certificate.signatures.pop();
        }
    });
    lies("expected signatures for", |message| {
        if let LogMessage::StateOffer { header, .. } = message {
            header.height += 1;
        }
    });
    lies("cluster", |message| {
        if let LogMessage::StateOffer { header, .. } = message {
            header.cluster = ClusterId([9; 32]);
        }
    });
}

#[test]
fn whoever_stalls_is_given_up() {
    for last in [0, STATE_PART] {
        let history = History::new(HEIGHT, None);
        let mut pair = Pair::new(&history, 3);
        let mut liar = None;
        pair.wait(20, |from, message| match message {
            LogMessage::StatePart { offset, .. } if offset as usize >= last && *liar.get_or_insert(from) == from => {
                None
            }
            other => Some(other),
        });
        let reason = format!("expected {} bytes in time, got {last}", history.states[20].encode().unwrap().len());
        assert_eq!(pair.seen.blamed, [(key(liar.unwrap()), format!("state of height 20: {reason}"))]);
        assert_eq!(pair.seen.installed, [HEIGHT]);
    }
}

#[test]
fn lost_messages_of_a_transfer_are_repeated() {
    let history = History::new(HEIGHT, None);
    let mut pair = Pair::new(&history, 3);
    let mut lost = 0;
    pair.wait(9, |_, message| {
        let is_lost = matches!(message, LogMessage::StatePart { offset, .. } if offset > 0) && lost < 3;
        lost += u32::from(is_lost);
        (!is_lost).then_some(message)
    });
    assert_eq!((&pair.seen.installed, &pair.seen.blamed), (&vec![HEIGHT], &Vec::new()));
}

#[test]
fn after_a_change_of_members_the_state_waits_for_the_chain_of_committees() {
    let history = History::new(HEIGHT, Some(9));
    let mut pair = Pair::new(&history, 3);
    pair.wait(10, |_, message| Some(message));
    assert_eq!(pair.seen.unverified, [HeadError::OtherEpoch { expected: 0, got: 1 }], "said once");
    assert_eq!((&pair.seen.installed, &pair.seen.blamed), (&Vec::new(), &Vec::new()));
    // A node that learns the members from the chain can verify the state, too.
    let members = history.states.last().unwrap().members();
    pair.give(LogInput::Members(members), &mut |_, message| Some(message));
    pair.wait(10, |_, message| Some(message));
    assert_eq!((&pair.seen.installed, &pair.seen.blamed), (&vec![HEIGHT], &Vec::new()));
    // It knows the members after the change.
    let mut pair = Pair::new(&history, 9);
    pair.wait(2, |_, message| Some(message));
    assert_eq!(pair.seen.installed, [HEIGHT]);
}

#[test]
fn an_offer_that_was_not_asked_for_begins_nothing() {
    let history = History::new(HEIGHT, None);
    let mut pair = Pair::new(&history, 3);
    for from in 1..=3 {
        let offer = LogInput::Message { from: key(from), message: history.offer() };
        pair.give(offer, &mut |_, _| panic!("it was answered"));
    }
    assert!(pair.seen.installed.is_empty() && pair.seen.asked.is_empty());
}

#[test]
fn an_offered_state_stays_the_same_while_it_is_fetched() {
    let mut history = History::new(HEIGHT, None);
    let mut offering = Offering::default();
    let offer = |offering: &mut Offering, history: &History, from, now| {
        let certificate = history.blocks.last().map(|(_, certificate)| certificate);
        match offering.offer(from, history.states.last().unwrap(), certificate, KEPT, Duration::from_secs(now))? {
            LogMessage::StateOffer { header, .. } => Some(header.height),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(offer(&mut offering, &history, HEIGHT - KEPT + 1, 0), None, "it can have blocks");
    assert_eq!(offer(&mut offering, &history, HEIGHT - KEPT, 0), Some(20));
    history.append(0);
    history.append(0);
    assert_eq!(offer(&mut offering, &history, 5, 1), Some(20));
    let part = |offering: &mut Offering, to, height, offset, now| {
        offering.part(key(to), height, offset, Duration::from_secs(now)).is_some()
    };
    assert!(part(&mut offering, 1, 20, 0, 2));
    assert!(!part(&mut offering, 1, 20, 0, 2), "it was sent just now");
    assert!(part(&mut offering, 1, 20, 0, 3) && part(&mut offering, 2, 20, 0, 3));
    assert!(!part(&mut offering, 1, 22, 0, 4), "another state");
    assert!(!part(&mut offering, 1, 20, u32::MAX, 4), "beyond its end");
    assert_eq!(offer(&mut offering, &history, 14, 4), Some(22), "one that lacks only kept blocks of the held one");
    (0..4).for_each(|_| history.append(0));
    assert_eq!(offer(&mut offering, &history, 5, 5), Some(26), "half of the kept blocks came since");
    offering.expire(Duration::from_secs(34));
    assert!(part(&mut offering, 1, 26, 0, 34));
    offering.expire(Duration::from_secs(64));
    assert!(!part(&mut offering, 1, 26, 0, 65), "nobody asked for it");
}
