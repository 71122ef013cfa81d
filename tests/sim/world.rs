//! One run: a cluster, its clients, and the faults.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use crate::changes::change_members;
use crate::checker::{Checker, FOLDER, Promise};
use crate::clients::use_cluster;
use crate::lying_server::serve_lies;
use crate::network::{Node, SimulatedNetwork};
use crate::node::{self, Machine};
use crate::ordered_log::write_notes;
use crate::plan::{CLIENTS, Event, Plan, Shape, Story};
use crate::random::Random;
use crate::servers::{liar, lie_to, replicate, serve};
use crate::simulated::{Mishap, Names, Writes};
use crate::trace::Trace;

/// Interval between checks of a disk that is to fail.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a power cut waits for its operation. One that waits for a client's upload waits longer.
const CUT_WITHIN: Duration = Duration::from_secs(4);
const CUT_UPLOAD_WITHIN: Duration = Duration::from_secs(8);

/// A cluster under a seed.
pub struct World {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    events: Vec<(Duration, Event)>,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) network: SimulatedNetwork,
    pub(super) machines: Vec<Machine>,
    running: BTreeSet<Node>,
    pub(super) cuts: Vec<PendingCut>,
    /// Blobs whose upload was to be cut. Their owners put them again in the end.
    pub(super) cut_uploads: Vec<Bytes>,
    /// The replica whose disk decays.
    pub(super) decaying: Node,
    pub(super) checker: Checker,
}

/// A power cut that waits for an operation on a disk.
#[derive(Debug, Clone)]
pub(super) struct PendingCut {
    /// The node with the disk.
    node: Node,
    /// The machines that lose power.
    machines: Range<Node>,
    seed: u64,
    /// The cut is cancelled at this time.
    until: Duration,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of the trace.
    pub trace: blake3::Hash,
    /// Number of certified puts, and of puts that failed with a named error.
    pub certified: usize,
    pub failed: u64,
}

impl World {
    /// `is_repeat`: this run was made before.
    pub fn new(seed: u64, plan: Plan, trace: Trace, is_repeat: bool) -> Self {
        node::begin();
        let Plan { shape, events } = plan;
        let mut random = Random::new(seed, 1);
        let network = SimulatedNetwork::new(Random::new(seed, 2), shape.distance, trace.clone());
        let machines: Vec<Machine> = (0..=shape.lying_server()).map(Machine::new).collect();
        let decaying = shape.honest().start + random.index(shape.honest().len());
        let checker = Checker::new(shape, is_repeat);
        checker.known().disks = machines.iter().map(|machine| machine.disk.clone()).collect();
        let (running, cuts, cut_uploads) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { seed, shape, events, random, trace, network, machines, running, cuts, cut_uploads, decaying, checker }
    }

    /// Runs the plan, and checks the rules.
    ///
    /// # Panics
    /// A rule was broken.
    pub async fn run(mut self) -> Outcome {
        self.trace.note(format_args!("{:?}", self.shape));
        for node in self.shape.nodes() {
            self.start(node);
        }
        self.start_liars();
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let host = self.machines[self.shape.client(number)].start(self.seed, &self.network);
                let random = Random::new(self.seed, 100 + number as u64);
                tokio::spawn(use_cluster(host, random, self.trace.clone(), self.checker.clone()))
            })
            .collect();
        let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
        let random = Random::new(self.seed, 300);
        clients.push(tokio::spawn(write_notes(host, random, self.trace.clone(), self.checker.clone())));
        if self.shape.story == Story::Changes {
            let host = self.machines[self.shape.client(0)].start(self.seed, &self.network);
            let random = Random::new(self.seed, 400);
            clients.push(tokio::spawn(change_members(host, random, self.trace.clone(), self.checker.clone())));
        }
        for (at, event) in std::mem::take(&mut self.events) {
            self.wait_until(at).await;
            self.trace.note(format_args!("{event:?}"));
            self.perform(event);
            self.checker.assert_holds();
        }
        self.wait_until(self.shape.trouble()).await;
        for client in clients {
            client.abort();
            // pass a panic on
            if let Err(error) = client.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.checker.assert_holds();
        self.heal();
        if self.shape.story == Story::Changes {
            self.check_changes_end().await;
        }
        self.check_recovery().await;
        self.check_signers();
        self.check_repair().await;
        self.check_log().await;
        self.check_expired().await;
        self.check_without_some().await;
        self.write_until_decided(0).await;
        self.checker.check_logs();
        if self.shape.story == Story::Changes {
            self.check_certificates().await;
        }
        self.check_nothing_held().await;
        self.checker.assert_holds();
        let known = self.checker.known();
        Outcome { trace: self.trace.hash(), certified: known.promises.len(), failed: known.failures }
    }

    /// Waits, and performs the power cuts that become due meanwhile.
    async fn wait_until(&mut self, until: Duration) {
        while node::elapsed() < until {
            let left = until.saturating_sub(node::elapsed());
            sleep(if self.cuts.is_empty() { left } else { left.min(LOOK_EVERY) }).await;
            for cut in std::mem::take(&mut self.cuts) {
                if !self.is_up(cut.node) {
                    continue;
                }
                if self.machines[cut.node].disk.had_mishap() {
                    cut.machines.for_each(|node| self.stop(node, true, cut.seed));
                } else if node::elapsed() > cut.until {
                    self.machines[cut.node].disk.no_mishap();
                } else {
                    self.cuts.push(cut);
                }
            }
        }
    }

    pub(super) fn start(&mut self, node: Node) {
        if !self.running.insert(node) {
            return;
        }
        let host = self.machines[node].start(self.seed, &self.network);
        {
            let unaware = &mut self.checker.known().unaware;
            if self.machines[node].is_clock_off() {
                unaware.insert(node)
            } else {
                unaware.remove(&node)
            };
        }
        let (trace, checker, is_server) = (self.trace.clone(), self.checker.clone(), node < self.shape.servers);
        trace.note(format_args!("start {node}"));
        let starting = host.clone();
        // restart after a failure, as a supervisor does
        host.spawn(async move {
            loop {
                let (said, known) = (trace.clone(), checker.clone());
                let ended = match is_server {
                    true => serve(&starting, node, said, known).await,
                    false => replicate(&starting, node, said, known).await,
                };
                trace.note(format_args!("{node} ended: {ended}"));
                starting.sleep(Duration::from_secs(1)).await;
            }
        });
    }

    fn start_liars(&mut self) {
        if let (Some(node), Some(lie)) = (self.shape.liar(), self.shape.lie) {
            let host = self.machines[node].start(self.seed, &self.network);
            self.checker.known().liar_key = Some(liar(self.seed, node).node.node_key().to_string());
            for server in 0..self.shape.servers {
                host.spawn(lie_to(host.clone(), server, liar(self.seed, node), lie));
            }
        }
        if self.shape.has_lying_server {
            let node = self.shape.lying_server();
            let host = self.machines[node].start(self.seed, &self.network);
            host.spawn(serve_lies(host.clone(), node, Random::new(self.seed, 200), self.checker.clone()));
        }
    }

    /// Ends a node's process, or cuts its machine's power.
    pub(super) fn stop(&mut self, node: Node, loses_power: bool, seed: u64) {
        if !self.running.remove(&node) {
            return;
        }
        let machine = &mut self.machines[node];
        // after a disk fault, the machine restarts: unwritten data in its kernel is lost
        let loses_power = loses_power || machine.disk.had_mishap();
        self.trace.note(format_args!("stop {node}{}", if loses_power { ", without power" } else { "" }));
        let names = if seed & 1 == 0 { Names::Lost } else { Names::Kept };
        let writes = match seed >> 1 & 3 {
            0 => Writes::Lost,
            1 => Writes::Zeroed,
            _ => Writes::Mixed(seed.wrapping_add(node as u64)),
        };
        self.network.gone(node, loses_power);
        machine.disk = match loses_power {
            true => machine.disk.after_power_cut(writes, names),
            false => machine.disk.after_kill(),
        };
        machine.abort();
        self.checker.known().disks[node] = machine.disk.clone();
    }

    pub(super) fn is_up(&self, node: Node) -> bool {
        self.running.contains(&node)
    }

    fn perform(&mut self, event: Event) {
        let down = self.checker.honest_members().iter().filter(|node| !self.is_up(**node)).count();
        match event {
            Event::Start(node) => self.start(node),
            Event::Stop { node, loses_power, anyway, seed } => {
                if anyway || down < self.checker.spare() {
                    self.stop(node, loses_power, seed);
                }
            }
            Event::PowerCut { node, operations, all, seed } => {
                if self.is_up(node) && !self.machines[node].disk.had_mishap() {
                    self.machines[node].disk.mishap_after(operations, Mishap::PowerCut);
                    let machines = if all { self.shape.nodes() } else { node..node + 1 };
                    self.cuts.push(PendingCut { node, machines, seed, until: node::elapsed() + CUT_WITHIN });
                }
            }
            Event::CutUpload { node, size, operations, seed } => {
                let bytes = Random::new(seed, 0).bytes(size);
                self.cut_uploads.push(bytes.clone());
                self.checker.known().to_put.push_back(bytes);
                if self.is_up(node) && !self.machines[node].disk.had_mishap() {
                    let partials = Path::new(FOLDER).join("partial");
                    self.machines[node].disk.mishap_below(&partials, operations, Mishap::PowerCut);
                    let (machines, until) = (self.shape.honest(), node::elapsed() + CUT_UPLOAD_WITHIN);
                    self.cuts.push(PendingCut { node, machines, seed, until });
                }
            }
            Event::DiskFault { node, operations } => {
                if self.is_up(node) && !self.machines[node].disk.had_mishap() {
                    self.machines[node].disk.mishap_after(operations, Mishap::Error);
                }
            }
            Event::Cut { from, to } => self.network.cut(from, to),
            Event::Reset { one, other } => self.network.reset(one, other),
            Event::Slow { node, milliseconds } => self.network.slow(node, milliseconds),
            Event::Clock { node, seconds } => {
                if seconds == 0 || self.may_be_off(node) {
                    self.machines[node].set_clock_off(seconds);
                }
            }
            Event::Space { node, is_full } => {
                self.machines[node].disk.set_space(if is_full { 1 << 20 } else { 1 << 40 }, 1 << 40);
            }
            Event::Decay { pick } => self.decay(pick),
            Event::Ruin { pick } => self.ruin(pick),
            Event::Mend => self.network.mend(),
        }
    }

    /// Whether the clock of a replica may be wrong now. A committee that changes may shrink to two, which confirm each other's time.
    fn may_be_off(&self, node: Node) -> bool {
        let others = || self.shape.honest().filter(|other| *other != node);
        self.shape.story == Story::OneCommittee || others().all(|other| !self.machines[other].is_clock_off())
    }

    /// A certified blob that is large enough to have files.
    fn pick(&self, pick: u64) -> Option<Promise> {
        let mut promises = self.checker.promises();
        promises.retain(|promise| promise.bytes.len() > 64 << 10);
        let number = usize::try_from(pick).unwrap_or(usize::MAX).checked_rem(promises.len())?;
        Some(promises.swap_remove(number))
    }

    fn decay(&mut self, pick: u64) {
        if let Some(promise) = self.pick(pick)
            && self.spoil(self.decaying, &promise, Damage::of(pick))
        {
            self.checker.decayed(self.decaying, promise);
        }
    }

    fn ruin(&mut self, pick: u64) {
        let Some(promise) = self.pick(pick) else { return };
        let digest = promise.digest();
        for node in self.shape.honest() {
            self.spoil(node, &promise, Damage::of(pick));
        }
        let mut known = self.checker.known();
        known.ruined.insert(digest, node::elapsed());
        known.ruined_certificates.push(promise.certificate);
        known.promises.retain(|promise| promise.digest() != digest);
        known.to_put.push_back(promise.bytes);
    }

    /// Spoils a blob if it has files.
    fn spoil(&self, node: Node, promise: &Promise, damage: Damage) -> bool {
        let (disk, name) = (&self.machines[node].disk, promise.digest().to_hex());
        let mut path = Path::new(FOLDER).join("blobs").join(&name[..2]).join(&name);
        if damage == Damage::Outboard {
            path.set_extension("obao");
        }
        if !disk.files_below(&path).contains(&path) {
            return false;
        }
        let mut bytes = disk.bytes(&path);
        let length = bytes.len();
        match damage {
            Damage::Gone => {
                disk.remove_folder(&path);
                return true;
            }
            Damage::Shorter => bytes.truncate(length / 2),
            Damage::Byte | Damage::Outboard => match bytes.last_mut() {
                Some(last) => *last ^= 1,
                None => return false,
            },
        }
        disk.overwrite(&path, &bytes);
        true
    }
}

/// Damage to a blob's files that the replica does not notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Byte,
    Shorter,
    Gone,
    /// A byte of the outboard changes.
    Outboard,
}

impl Damage {
    fn of(pick: u64) -> Self {
        [Self::Byte, Self::Shorter, Self::Gone, Self::Outboard][usize::try_from(pick >> 32 & 3).unwrap_or(0)]
    }
}
