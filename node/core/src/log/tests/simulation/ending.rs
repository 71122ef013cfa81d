//! The end of a run: everything works again, and the log must get going.

use super::*;

impl Simulation {
    pub(super) fn stabilise(&mut self) -> Result<(), String> {
        self.is_stable = true;
        self.sides = None;
        for node in 0..self.nodes.len() {
            self.nodes[node].clock_error = 0;
            self.start(node)?;
        }
        for node in 0..self.nodes.len() {
            self.link_up(node)?;
        }
        if self.plan.parts_rounds {
            self.nodes[3].core = None;
            self.nodes[3].run += 1;
            self.nodes[3].is_away = true;
            self.after(PATIENCE, Event::Return);
        }
        if self.plan.is_away {
            self.after(AWAY, Event::Return);
        }
        self.after(Duration::from_secs(5), Event::LastOp);
        Ok(())
    }

    /// The links of a node to all others are up.
    pub(super) fn link_up(&mut self, node: usize) -> Result<(), String> {
        for other in 0..self.nodes.len() {
            let key = self.key(other);
            if key != self.key(node) {
                self.give(node, LogInput::PeerUp(key))?;
            }
        }
        Ok(())
    }

    pub(super) fn check_end(&self) -> Result<(), String> {
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
            let epochs: BTreeSet<_> = self.epochs().collect();
            if epochs != BTreeSet::from([LAST_EPOCH]) {
                return Err(format!("the committee did not change as often as it should: epochs {epochs:?}"));
            }
        }
        Ok(())
    }
}
