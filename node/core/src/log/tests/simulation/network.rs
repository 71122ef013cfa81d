//! The network: what is sent, what liars make of it, and what arrives.

use super::*;

impl Simulation {
    pub(super) fn deliver(&mut self, from: NodeKey, to: usize, bytes: &[u8]) -> Result<(), String> {
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
        if let LogMessage::Vote { vote, .. } = &message {
            self.rounds = self.rounds.max(vote.vote.round);
        }
        if self.nodes[to].lie == Some(Lie::Censor) && matches!(message, LogMessage::Op(_)) {
            return Ok(());
        }
        self.give(to, LogInput::Message { from, message })
    }

    pub(super) fn send(&mut self, from: usize, to: usize, message: &LogMessage) -> Result<(), String> {
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
            Some(Lie::State) if matches!(message, LogMessage::StateOffer { .. } | LogMessage::StatePart { .. }) => {
                if let Some(forged) = with_forged_state(message, &mut self.random) {
                    self.transmit(from, to, forged.encode());
                }
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

    pub(super) fn transmit(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let is_proposal = bytes.get(1) == Some(&3);
        let copies = match self.is_stable {
            true => 1,
            false if self.plan.parts_rounds => usize::from(from != 0 && to != 0 && !is_proposal),
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
}
