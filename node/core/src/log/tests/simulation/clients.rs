//! What is submitted.

use super::*;

impl Simulation {
    /// A random honest node that is up and a member submits an op.
    pub(super) fn submit(&mut self, kind: u16, body: Vec<u8>) -> Result<(), String> {
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
}
