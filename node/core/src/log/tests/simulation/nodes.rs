//! Nodes: their starts and crashes, and what their cores want.

use super::*;

impl Simulation {
    pub(super) fn key(&self, node: usize) -> NodeKey {
        self.nodes[node].secret.node_key()
    }

    pub(super) fn is_honest(&self, node: usize) -> bool {
        self.nodes[node].lie.is_none()
    }

    /// A node that lost its write-ahead log in a committee that tolerates no fault votes again when its operator says so, and may then
    /// contradict itself. All others are honest, so it harms nobody.
    pub(super) fn is_exempt(&self, node: usize) -> bool {
        self.plan.loss.is_some() && node == 0 && self.plan.founders < 4
    }

    pub(super) fn clock(&self, node: usize) -> LogClock {
        let unix_seconds = EPOCH_START + self.now.as_secs();
        let error = self.nodes[node].clock_error;
        LogClock {
            now: self.now,
            unix_seconds: unix_seconds.saturating_add_signed(error),
            is_in_doubt: error.unsigned_abs() > NOTICED,
        }
    }

    pub(super) fn start(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].core.is_some() || self.nodes[node].lie == Some(Lie::Silent) || self.nodes[node].is_away {
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
        if applied.height() != own.disk.height() {
            let (state, last) = (applied.height(), own.disk.height());
            return Err(format!("node {node}: the state is of height {state}, the last block of height {last}"));
        }
        let key = own.secret.clone();
        let wal = self.nodes[node].disk.wal(is_new);
        let config = LogConfig {
            key,
            applied,
            recent,
            wal,
            may_recover: self.is_exempt(node),
            kept_blocks: self.plan.kept_blocks,
        };
        if self.is_honest(node) {
            // A crash may have come before the node said so.
            if let Some((height, block)) = self.nodes[node].disk.installed() {
                self.checker.installed(node, height, block)?;
            }
            for (block, _) in self.nodes[node].disk.blocks() {
                self.checker.stored(&CLUSTER, node, block)?;
            }
        }
        let (core, outputs) = LogCore::open(config, self.clock(node));
        self.nodes[node].core = Some(core);
        self.nodes[node].ticks_at = None;
        self.perform(node, outputs)
    }

    pub(super) fn crash(&mut self, node: usize) {
        self.crashes += 1;
        self.nodes[node].core = None;
        self.nodes[node].run += 1;
        self.nodes[node].disk.crash(&mut self.random);
        let pause = self.random.between(20, 2000);
        self.after(MILLISECOND * u32::try_from(pause).unwrap(), Event::Start(node));
    }

    pub(super) fn give(&mut self, node: usize, input: LogInput) -> Result<(), String> {
        let clock = self.clock(node);
        let Some(core) = self.nodes[node].core.as_mut() else { return Ok(()) };
        let outputs = core.handle(input, clock);
        self.perform(node, outputs)
    }

    pub(super) fn perform(&mut self, node: usize, outputs: Vec<LogOutput>) -> Result<(), String> {
        let run = self.nodes[node].run;
        for output in outputs {
            if !self.is_stable && !self.plan.parts_rounds && self.random.is(6) {
                self.crash(node);
                return Ok(());
            }
            match output {
                LogOutput::Append { write, records } => self.write(node, Write::Append(write, records)),
                LogOutput::Commit { write, blocks, state } => self.write(node, Write::Commit(write, blocks, state)),
                LogOutput::Install { write, install } => self.write(node, Write::Install(write, install)),
                LogOutput::Installed(head) => {
                    self.installs += 1;
                    if self.is_honest(node) {
                        self.checker.installed(node, head.height, head.block)?;
                    }
                }
                LogOutput::UnverifiedHead { peer, error } => {
                    if (0..self.nodes.len()).any(|other| self.key(other) == peer && self.is_honest(other)) {
                        return Err(format!("node {node}: {error}"));
                    }
                }
                LogOutput::Misbehaved { peer, reason } if self.is_stable && self.is_honest(node) => {
                    if (0..self.nodes.len()).any(|other| self.key(other) == peer && self.is_honest(other)) {
                        return Err(format!("node {node} blames the honest {peer}: {reason}"));
                    }
                }
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
                LogOutput::Refused { .. }
                | LogOutput::Misbehaved { .. }
                | LogOutput::ClockDiffers { .. }
                | LogOutput::Stopped(_) => {}
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

    pub(super) fn write(&mut self, node: usize, write: Write) {
        let is_wal = self.nodes[node].disk.queue(write);
        let delay = self.random.between(500, 9000);
        let run = self.nodes[node].run;
        self.after(Duration::from_micros(delay), Event::Disk { node, run, is_wal });
    }
}
