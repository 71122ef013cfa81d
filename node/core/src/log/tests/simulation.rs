//! Nodes, their network, disks and clocks, under a seed.

mod clients;
mod ending;
mod network;
mod nodes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{Op, OpId, SignedOp};

use super::checker::Checker;
use super::disk::{Disk, Write};
use super::liar::{Lie, Memory, forge, with_forged_state, with_wrong_parent};
use super::machine::{MEMBERS, Machine, Request, TEXT};
use super::plan::{Loss, Plan};
use super::random::Random;
use crate::log::applied::Applied;
use crate::log::interface::{LogClock, LogInput, LogOutput};
use crate::log::log_core::{LogConfig, LogCore};
use crate::log::members::LogMembers;
use crate::log::recovery::Voting;
use crate::log::wire::LogMessage;

const CLUSTER: ClusterId = ClusterId([7; 32]);
const EPOCH_START: u64 = 1_790_000_000;
/// Ops after stabilisation.
const LAST_OPS: usize = 12;
/// The log must have decided them within this time.
const PATIENCE: Duration = Duration::from_secs(100);
/// The committee's epoch after the last change.
const LAST_EPOCH: u64 = 4;
/// A node that is away returns so long after everything else works.
const AWAY: Duration = Duration::from_secs(16);
/// A node notices that its clock is wrong by more than this, in seconds. Others refuse its blocks from 60 seconds on.
const NOTICED: u64 = 100;
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) blocks: u64,
    pub(super) crashes: u64,
    /// States that took the place of blocks.
    pub(super) installs: u64,
    /// The balance in cents after the requests of two clients, if they are decided.
    pub(super) balance: Option<u64>,
    /// The highest round of a vote.
    pub(super) rounds: u32,
    pub(super) trace: [u8; 32],
}

#[derive(Debug)]
enum Event {
    Deliver { from: NodeKey, to: usize, bytes: Vec<u8> },
    Disk { node: usize, run: u64, is_wal: bool },
    Tick { node: usize, run: u64 },
    Start(usize),
    Submit,
    Flood,
    Clients,
    Partition,
    ClockStep,
    Change(u64),
    Lose,
    Leave,
    Return,
    Stabilise,
    LastOp,
    End,
}

struct Node {
    secret: Arc<NodeSecretKey>,
    lie: Option<Lie>,
    core: Option<LogCore<Machine>>,
    /// Counts restarts: an event of an earlier run is void.
    run: u64,
    disk: Disk,
    /// The wall clock's error in seconds.
    clock_error: i64,
    memory: Memory,
    ticks_at: Option<Duration>,
    is_away: bool,
}

pub(super) struct Simulation {
    random: Random,
    plan: Plan,
    now: Duration,
    number: u64,
    events: BTreeMap<(Duration, u64), Event>,
    nodes: Vec<Node>,
    founders: LogMembers,
    /// The side of each node while the network is parted.
    sides: Option<Vec<bool>>,
    is_stable: bool,
    checker: Checker,
    /// Ops of the stable time, which must be decided.
    last_ops: BTreeSet<OpId>,
    crashes: u64,
    installs: u64,
    /// What the two clients ask for, after the opening deposit.
    requests: Vec<Op>,
    rounds: u32,
    nonce: u64,
    trace: [u8; 32],
    ended: bool,
}

impl Simulation {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let secret = |i: u64| Arc::new(NodeSecretKey::from_bytes(&Digest::of(&i.to_le_bytes()).0));
        let count = if plan.changes { 8 } else { plan.founders };
        let mut nodes = Vec::new();
        for i in 0..count {
            let lie = plan.lies.iter().find(|(liar, _)| *liar == i).map(|(_, lie)| *lie);
            // A twin is a second process with the same key and a disk of its own.
            for _ in 0..=u64::from(lie == Some(Lie::Twin)) {
                nodes.push(Node {
                    secret: secret(i),
                    lie,
                    core: None,
                    run: 0,
                    disk: Disk::new(plan.kept_blocks),
                    clock_error: 0,
                    memory: Memory::default(),
                    ticks_at: None,
                    is_away: false,
                });
            }
        }
        let founders = LogMembers::new(0, (0..plan.founders).map(|i| secret(i).node_key())).unwrap();
        Self {
            random: Random(seed),
            plan,
            now: Duration::ZERO,
            number: 0,
            events: BTreeMap::new(),
            nodes,
            founders,
            sides: None,
            is_stable: false,
            checker: Checker::default(),
            last_ops: BTreeSet::new(),
            crashes: 0,
            installs: 0,
            requests: Vec::new(),
            rounds: 0,
            nonce: 0,
            trace: [0; 32],
            ended: false,
        }
    }

    pub(super) fn run(mut self) -> Result<Outcome, String> {
        let chaos = Duration::from_secs(self.plan.chaos);
        for node in 0..self.nodes.len() {
            self.at(MILLISECOND, Event::Start(node));
        }
        self.at(Duration::from_millis(100), Event::Submit);
        self.at(Duration::from_secs(1), Event::Clients);
        if self.plan.lies.iter().any(|(_, lie)| *lie == Lie::Flood) {
            self.at(Duration::from_secs(1), Event::Flood);
        }
        self.at(Duration::from_secs(2), Event::Partition);
        self.at(Duration::from_secs(5), Event::ClockStep);
        if self.plan.changes {
            for (epoch, at) in (1..).zip([5, 15, 25, 35]) {
                self.at(Duration::from_secs(at), Event::Change(epoch));
            }
        }
        if self.plan.loss.is_some() {
            self.at(chaos / 2, Event::Lose);
        }
        if self.plan.is_away {
            self.at(chaos / 3, Event::Leave);
        }
        self.at(chaos, Event::Stabilise);
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.happen(event).map_err(|violation| format!("at {:?}: {violation}", self.now))?;
            if self.ended {
                break;
            }
        }
        self.check_end()?;
        Ok(Outcome {
            blocks: self.checker.blocks(),
            crashes: self.crashes,
            installs: self.installs,
            balance: self.balance()?,
            rounds: self.rounds,
            trace: self.trace,
        })
    }

    /// The committee's epoch at every honest node that is up.
    fn epochs(&self) -> impl Iterator<Item = u64> {
        let honest = self.nodes.iter().filter(|node| node.lie.is_none());
        honest.filter_map(|node| node.core.as_ref()).map(|core| core.applied().members().epoch())
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Deliver { from, to, bytes } => self.deliver(from, to, &bytes),
            Event::Disk { node, run, is_wal } => {
                if self.nodes[node].run != run {
                    return Ok(());
                }
                match self.nodes[node].disk.perform(is_wal) {
                    Some(write) => self.give(node, LogInput::Written(write)),
                    None => Ok(()),
                }
            }
            Event::Tick { node, run } => {
                if self.nodes[node].run != run || self.nodes[node].ticks_at.is_none_or(|at| at > self.now) {
                    return Ok(());
                }
                self.nodes[node].ticks_at = None;
                self.give(node, LogInput::Tick)
            }
            Event::Start(node) => self.start(node),
            Event::Submit => {
                if !self.is_stable {
                    let pause = self.random.between(50, 900);
                    self.after(MILLISECOND * u32::try_from(pause).unwrap(), Event::Submit);
                    for _ in 0..if self.plan.fills_blocks { 16 } else { 1 } {
                        self.submit(TEXT, Vec::new())?;
                    }
                }
                Ok(())
            }
            Event::Flood => self.flood(),
            Event::Clients => self.ask_for_accounts(),
            Event::Partition => {
                if !self.is_stable && !self.plan.parts_rounds {
                    let parts = self.sides.is_none() && self.random.is(600);
                    self.sides = parts.then(|| (0..self.nodes.len()).map(|_| self.random.is(400)).collect());
                    let pause = self.random.between(500, 6000);
                    self.after(MILLISECOND * u32::try_from(pause).unwrap(), Event::Partition);
                }
                Ok(())
            }
            Event::ClockStep => {
                if !self.is_stable {
                    let node = self.random.index(self.nodes.len());
                    // At most f clocks are far wrong: f + 1 that are far ahead could put the log's time there, and honest ops would be
                    // too old until the clocks get there, too.
                    let is_far = self.plan.founders >= 4 && self.plan.lies.is_empty() && self.plan.loss.is_none();
                    if is_far {
                        self.nodes.iter_mut().for_each(|node| node.clock_error = 0);
                    }
                    let most: u64 = if is_far { 200 } else { 50 };
                    let step = i64::try_from(self.random.below(2 * most)).unwrap() - i64::try_from(most).unwrap();
                    self.nodes[node].clock_error = if self.random.is(300) { 0 } else { step };
                    let pause = self.random.between(2000, 9000);
                    self.after(MILLISECOND * u32::try_from(pause).unwrap(), Event::ClockStep);
                }
                Ok(())
            }
            Event::Change(epoch) => {
                let members: &[usize] = match epoch {
                    1 => &[0, 1, 2, 3],
                    2 => &[0, 1, 2],
                    3 => &[0, 1, 2, 3],
                    _ => &[4, 5, 6, 7],
                };
                let mut body = epoch.to_le_bytes().to_vec();
                members.iter().for_each(|i| body.extend_from_slice(&self.key(*i).0));
                if self.epochs().all(|known| known < epoch) {
                    self.after(Duration::from_secs(4), Event::Change(epoch));
                    self.submit(MEMBERS, body)?;
                }
                Ok(())
            }
            Event::Lose => {
                self.crash(0);
                if self.plan.loss == Some(Loss::Disk) {
                    self.nodes[0].disk = Disk::new(self.plan.kept_blocks);
                    self.checker.lost(0);
                } else {
                    self.nodes[0].disk.lose_wal();
                }
                Ok(())
            }
            Event::Leave => {
                self.crash(1);
                self.nodes[1].is_away = true;
                Ok(())
            }
            Event::Return => {
                let node = if self.plan.parts_rounds { 3 } else { 1 };
                self.nodes[node].is_away = false;
                self.start(node)?;
                self.link_up(node)
            }
            Event::Stabilise => self.stabilise(),
            Event::LastOp => {
                // An op of a member that leaves before it is decided is void.
                let changes = self.plan.changes && self.epochs().any(|epoch| epoch < LAST_EPOCH);
                if changes && self.now < Duration::from_secs(self.plan.chaos) + PATIENCE {
                    self.after(Duration::from_secs(2), Event::LastOp);
                } else if self.last_ops.len() < LAST_OPS {
                    self.submit(TEXT, vec![1])?;
                    self.after(Duration::from_secs(2), Event::LastOp);
                } else {
                    self.after(PATIENCE, Event::End);
                }
                Ok(())
            }
            Event::End => {
                self.ended = true;
                Ok(())
            }
        }
    }
}
