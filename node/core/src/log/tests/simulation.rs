//! Nodes, their network, disks and clocks, under a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use vouch_core::digest::{ClusterId, Digest};
use vouch_core::link::{NodeKey, NodeSecretKey};
use vouch_core::log::{Op, OpId, SignedOp};

use super::checker::Checker;
use super::disk::{Disk, Write};
use super::liar::{Lie, Memory, forge, with_wrong_parent};
use super::machine::{MEMBERS, Machine, TEXT};
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
const MILLISECOND: Duration = Duration::from_millis(1);

/// What a seed stands for.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) founders: u64,
    pub(super) lies: Vec<Lie>,
    /// Whether the committee changes: 1 → 4 → 3 → 4, and then four others.
    pub(super) changes: bool,
    /// Whether node 0 loses its write-ahead log once.
    pub(super) loses_wal: bool,
    /// In seconds.
    pub(super) chaos: u64,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x10C);
        let changes = seed % 5 == 4;
        let founders =
            if changes { 1 } else { [4, 1, 4, 2, 7, 4, 3, 4][usize::try_from(seed / 5 * 4 + seed % 5).unwrap() % 8] };
        let liars: u64 = if changes { 0 } else { (founders - 1) / 3 };
        let loses_wal = !changes && random.is(150);
        // A node without its write-ahead log is one of the f.
        let liars = if loses_wal { liars.saturating_sub(1) } else { liars };
        let lies = (0..liars).map(|_| Lie::ALL[random.index(Lie::ALL.len())]).collect();
        let chaos = if changes { 60 } else { random.between(20, 50) };
        Self { founders, lies, changes, loses_wal, chaos }
    }
}

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) blocks: u64,
    pub(super) crashes: u64,
    pub(super) trace: [u8; 32],
}

#[derive(Debug)]
enum Event {
    Deliver { from: NodeKey, to: usize, bytes: Vec<u8> },
    Disk { node: usize, run: u64, is_wal: bool },
    Tick { node: usize, run: u64 },
    Start(usize),
    Submit,
    Partition,
    ClockStep,
    Change(u64),
    LoseWal,
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
            // The last ones lie, so that node 0 never does.
            let from_last = usize::try_from(count - 1 - i).unwrap();
            let lie = plan.lies.get(from_last).copied();
            // A twin is a second process with the same key and a disk of its own.
            for _ in 0..=u64::from(lie == Some(Lie::Twin)) {
                nodes.push(Node {
                    secret: secret(i),
                    lie,
                    core: None,
                    run: 0,
                    disk: Disk::default(),
                    clock_error: 0,
                    memory: Memory::default(),
                    ticks_at: None,
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
        self.at(Duration::from_secs(2), Event::Partition);
        self.at(Duration::from_secs(5), Event::ClockStep);
        if self.plan.changes {
            for (epoch, at) in (1..).zip([5, 15, 25, 35]) {
                self.at(Duration::from_secs(at), Event::Change(epoch));
            }
        }
        if self.plan.loses_wal {
            self.at(chaos / 2, Event::LoseWal);
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
        Ok(Outcome { blocks: self.checker.blocks(), crashes: self.crashes, trace: self.trace })
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
                    self.submit(TEXT, Vec::new())?;
                }
                Ok(())
            }
            Event::Partition => {
                if !self.is_stable {
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
                    let is_far = self.plan.founders >= 4 && self.plan.lies.is_empty() && !self.plan.loses_wal;
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
                let is_done = self
                    .nodes
                    .iter()
                    .filter_map(|node| node.core.as_ref())
                    .any(|core| core.applied().members().epoch() >= epoch);
                if !is_done {
                    self.after(Duration::from_secs(4), Event::Change(epoch));
                    self.submit(MEMBERS, body)?;
                }
                Ok(())
            }
            Event::LoseWal => {
                self.crash(0);
                self.nodes[0].disk.lose_wal();
                Ok(())
            }
            Event::Stabilise => self.stabilise(),
            Event::LastOp => {
                if self.last_ops.len() < LAST_OPS {
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

    fn key(&self, node: usize) -> NodeKey {
        self.nodes[node].secret.node_key()
    }

    fn is_honest(&self, node: usize) -> bool {
        self.nodes[node].lie.is_none()
    }

    /// A node that lost its write-ahead log in a committee that tolerates no fault votes again when its operator says so, and may then
    /// contradict itself. All others are honest, so it harms nobody.
    fn is_exempt(&self, node: usize) -> bool {
        self.plan.loses_wal && node == 0 && self.plan.founders < 4
    }

    fn clock(&self, node: usize) -> LogClock {
        let unix_seconds = EPOCH_START + self.now.as_secs();
        LogClock { now: self.now, unix_seconds: unix_seconds.saturating_add_signed(self.nodes[node].clock_error) }
    }

    fn start(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].core.is_some() || self.nodes[node].lie == Some(Lie::Silent) {
            return Ok(());
        }
        let is_new = self.nodes[node].run == 0;
        self.nodes[node].run += 1;
        let own = &self.nodes[node];
        let applied = match own.disk.state() {
            None => Applied::genesis(CLUSTER, self.founders.clone(), Machine::default()),
            Some(state) => Applied::decode(state, CLUSTER, self.founders.clone()).map_err(|error| error.to_string())?,
        };
        let blocks = own.disk.blocks();
        let recent = blocks[blocks.len().saturating_sub(32)..].to_vec();
        if applied.height() != blocks.len() as u64 {
            return Err(format!(
                "node {node}: the state is of height {}, and {} blocks",
                applied.height(),
                blocks.len()
            ));
        }
        let key = own.secret.clone();
        let wal = self.nodes[node].disk.wal(is_new);
        let config = LogConfig { key, applied, recent, wal, may_recover: self.is_exempt(node) };
        if self.is_honest(node) {
            for (block, _) in self.nodes[node].disk.blocks() {
                self.checker.stored(&CLUSTER, node, block)?;
            }
        }
        let (core, outputs) = LogCore::open(config, self.clock(node));
        self.nodes[node].core = Some(core);
        self.nodes[node].ticks_at = None;
        self.perform(node, outputs)
    }

    fn crash(&mut self, node: usize) {
        self.crashes += 1;
        self.nodes[node].core = None;
        self.nodes[node].run += 1;
        self.nodes[node].disk.crash(&mut self.random);
        let pause = self.random.between(20, 2000);
        self.after(MILLISECOND * u32::try_from(pause).unwrap(), Event::Start(node));
    }

    fn deliver(&mut self, from: NodeKey, to: usize, bytes: &[u8]) -> Result<(), String> {
        let trace = [&self.trace[..], &self.now.as_nanos().to_le_bytes(), bytes].concat();
        self.trace = Digest::of(&trace).0;
        if self.nodes[to].lie == Some(Lie::Replay) {
            let random = &mut self.random;
            self.nodes[to].memory.keep(bytes, random);
            if self.random.is(200)
                && let Some(old) = self.nodes[to].memory.any(&mut self.random)
            {
                let receiver = self.random.index(self.nodes.len());
                self.transmit(to, receiver, old);
            }
        }
        // A peer that sends what is no message is cut off; here it only goes unheard.
        let Ok(message) = LogMessage::decode(bytes) else { return Ok(()) };
        if message.encode() != bytes {
            return Err("a message has two encodings".into());
        }
        if self.nodes[to].lie == Some(Lie::Censor) && matches!(message, LogMessage::Op(_)) {
            return Ok(());
        }
        self.give(to, LogInput::Message { from, message })
    }

    fn give(&mut self, node: usize, input: LogInput) -> Result<(), String> {
        let clock = self.clock(node);
        let Some(core) = self.nodes[node].core.as_mut() else { return Ok(()) };
        let outputs = core.handle(input, clock);
        self.perform(node, outputs)
    }

    fn perform(&mut self, node: usize, outputs: Vec<LogOutput>) -> Result<(), String> {
        let run = self.nodes[node].run;
        for output in outputs {
            if !self.is_stable && self.random.is(6) {
                self.crash(node);
                return Ok(());
            }
            match output {
                LogOutput::Append { write, records } => self.write(node, Write::Append(write, records)),
                LogOutput::Commit { write, blocks, state } => self.write(node, Write::Commit(write, blocks, state)),
                LogOutput::ResetWal { records } => self.write(node, Write::Reset(records)),
                LogOutput::Send { to, message } => {
                    for receiver in 0..self.nodes.len() {
                        if self.key(receiver) == to {
                            self.send(node, receiver, &message)?;
                        }
                    }
                }
                LogOutput::Broadcast(message) => {
                    for receiver in 0..self.nodes.len() {
                        if receiver != node {
                            self.send(node, receiver, &message)?;
                        }
                    }
                }
                LogOutput::Read { to, from, count } => {
                    let blocks = self.nodes[node].disk.read(from, count);
                    self.give(node, LogInput::Blocks { to, blocks })?;
                    if self.nodes[node].run != run {
                        return Ok(());
                    }
                }
                LogOutput::Decided(decided) => {
                    if self.is_honest(node) {
                        self.checker.decided(&CLUSTER, node, &decided.block)?;
                    }
                }
                LogOutput::Evidence(evidence) => {
                    let member = evidence.member();
                    if (0..self.nodes.len())
                        .any(|other| self.key(other) == member && self.is_honest(other) && !self.is_exempt(other))
                    {
                        return Err(format!("evidence against the honest {member}"));
                    }
                }
                LogOutput::Stopped(stop) if self.is_honest(node) => return Err(format!("node {node}: {stop}")),
                LogOutput::Refused { .. } | LogOutput::Misbehaved { .. } | LogOutput::Stopped(_) => {}
            }
        }
        let next = self.nodes[node].core.as_ref().and_then(LogCore::next_tick);
        if let Some(at) = next.map(|at| at.max(self.now))
            && self.nodes[node].ticks_at.is_none_or(|known| at < known)
        {
            self.nodes[node].ticks_at = Some(at);
            self.at(at, Event::Tick { node, run });
        } else if next.is_none() {
            self.nodes[node].ticks_at = None;
        }
        Ok(())
    }

    fn write(&mut self, node: usize, write: Write) {
        let is_wal = self.nodes[node].disk.queue(write);
        let delay = self.random.between(500, 9000);
        let run = self.nodes[node].run;
        self.after(Duration::from_micros(delay), Event::Disk { node, run, is_wal });
    }

    fn send(&mut self, from: usize, to: usize, message: &LogMessage) -> Result<(), String> {
        if self.is_honest(from) && !self.is_exempt(from) {
            self.checker.sent(&self.key(from), message)?;
        }
        match self.nodes[from].lie {
            Some(Lie::Withhold) if matches!(message, LogMessage::Proposal { .. }) && self.random.is(500) => {
                return Ok(());
            }
            Some(Lie::WrongParent) => {
                let forged = with_wrong_parent(message, &self.nodes[from].secret, &CLUSTER);
                self.transmit(from, to, forged.encode());
                return Ok(());
            }
            Some(Lie::Forge) => {
                let secret = self.nodes[from].secret.clone();
                let forged = forge(message, &secret, &CLUSTER, &mut self.random);
                self.transmit(from, to, forged);
            }
            _ => {}
        }
        self.transmit(from, to, message.encode());
        Ok(())
    }

    fn transmit(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let copies = match self.is_stable {
            true => 1,
            false if self.sides.as_ref().is_some_and(|sides| sides[from] != sides[to]) => 0,
            false if self.random.is(80) => 0,
            false if self.random.is(100) => 2,
            false => 1,
        };
        let key = self.key(from);
        for _ in 0..copies {
            let delay = self.random.between(1000, if self.is_stable { 50_000 } else { 200_000 });
            self.after(Duration::from_micros(delay), Event::Deliver { from: key, to, bytes: bytes.clone() });
        }
    }

    /// A random honest node that is up and a member submits an op.
    fn submit(&mut self, kind: u16, body: Vec<u8>) -> Result<(), String> {
        let is_able = |node: &usize| {
            let own = &self.nodes[*node];
            self.is_honest(*node)
                && own.core.as_ref().is_some_and(|core| core.applied().members().contains(&own.secret.node_key()))
        };
        let able: Vec<_> = (0..self.nodes.len()).filter(is_able).collect();
        if able.is_empty() {
            return Ok(());
        }
        let node = able[self.random.index(able.len())];
        self.nonce += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonce.to_le_bytes());
        let expires_at = self.clock(node).unix_seconds + 100;
        let body = if kind == TEXT && body.is_empty() {
            // Some fill a block.
            vec![1; if self.random.is(100) { 4096 } else { 20 }]
        } else {
            body
        };
        let op = Op::new(kind, nonce, expires_at, body).unwrap();
        let id = op.id(&CLUSTER);
        let signed = SignedOp::sign(op, &CLUSTER, &self.nodes[node].secret);
        self.checker.submitted(id);
        if self.is_stable {
            self.last_ops.insert(id);
        }
        self.give(node, LogInput::Submit(signed))
    }

    fn stabilise(&mut self) -> Result<(), String> {
        self.is_stable = true;
        self.sides = None;
        for node in 0..self.nodes.len() {
            self.nodes[node].clock_error = 0;
            self.start(node)?;
        }
        for node in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                let key = self.key(other);
                if key != self.key(node) {
                    self.give(node, LogInput::PeerUp(key))?;
                }
            }
        }
        self.after(Duration::from_secs(5), Event::LastOp);
        Ok(())
    }

    fn check_end(&self) -> Result<(), String> {
        let undecided = self.last_ops.iter().filter(|op| !self.checker.is_decided(op)).count();
        let heights: Vec<_> = (0..self.nodes.len())
            .filter(|node| self.is_honest(*node))
            .map(|node| self.nodes[node].core.as_ref().map(LogCore::next_height))
            .collect();
        if undecided > 0 {
            return Err(format!("liveness: {undecided} of {} ops undecided, heights {heights:?}", self.last_ops.len()));
        }
        if heights.iter().any(|height| *height != heights[0]) {
            return Err(format!("heights differ at the end: {heights:?}"));
        }
        if let Some(core) = self.nodes[0].core.as_ref()
            && core.voting() != Voting::Yes
        {
            return Err(format!("node 0 does not vote again: {:?}", core.voting()));
        }
        if self.plan.changes {
            let epochs: BTreeSet<_> = self
                .nodes
                .iter()
                .filter_map(|node| node.core.as_ref())
                .map(|core| core.applied().members().epoch())
                .collect();
            if epochs != BTreeSet::from([4]) {
                return Err(format!("the committee did not change as often as it should: epochs {epochs:?}"));
            }
        }
        Ok(())
    }
}
