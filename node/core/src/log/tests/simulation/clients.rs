//! What is submitted.

use super::*;

const ACCOUNT: u32 = 1;

impl Simulation {
    /// A random honest node that is up and a member.
    fn able_node(&mut self) -> Option<usize> {
        let is_able = |node: &usize| {
            let own = &self.nodes[*node];
            self.is_honest(*node)
                && own.core.as_ref().is_some_and(|core| core.applied().members().contains(&own.secret.node_key()))
        };
        let able: Vec<_> = (0..self.nodes.len()).filter(is_able).collect();
        (!able.is_empty()).then(|| able[self.random.index(able.len())])
    }

    fn op(&mut self, kind: u16, expires_at: u64, body: Vec<u8>) -> Op {
        Op::new(kind, self.nonce(), expires_at, body).unwrap()
    }

    fn nonce(&mut self) -> [u8; 16] {
        self.nonce += 1;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.nonce.to_le_bytes());
        nonce
    }

    fn submit_at(&mut self, node: usize, op: Op) -> Result<(), String> {
        self.checker.submitted(op.id(&CLUSTER));
        let signed = SignedOp::sign(op, &CLUSTER, &self.nodes[node].secret);
        self.give(node, LogInput::Submit(signed))
    }

    /// Some node submits an op.
    pub(super) fn submit(&mut self, kind: u16, body: Vec<u8>) -> Result<(), String> {
        let Some(node) = self.able_node() else { return Ok(()) };
        let body = if kind == TEXT && body.is_empty() {
            vec![1; if self.plan.fills_blocks || self.random.is(100) { 4096 } else { 20 }]
        } else {
            body
        };
        let op = self.op(kind, self.clock(node).unix_seconds + 100, body);
        if self.is_stable && kind == TEXT {
            self.last_ops.insert(op.id(&CLUSTER));
        }
        self.submit_at(node, op)
    }

    /// A liar sends many ops, of which the log must take no more than its share, and as many of a stranger, which it must not take. It goes
    /// on until the last ops of others are decided: what follows would only cost time.
    pub(super) fn flood(&mut self) -> Result<(), String> {
        if self.last_ops.len() == LAST_OPS && self.last_ops.iter().all(|op| self.checker.is_decided(op)) {
            return Ok(());
        }
        let stranger = NodeSecretKey::from_bytes(&[0xEE; 32]);
        let flooding: Vec<_> = (0..self.nodes.len()).filter(|node| self.nodes[*node].lie == Some(Lie::Flood)).collect();
        for node in flooding {
            let expires_at = self.clock(node).unix_seconds + 100;
            for _ in 0..10 {
                let own = self.op(TEXT, expires_at, vec![2; 3000]);
                self.checker.submitted(own.id(&CLUSTER));
                let own = SignedOp::sign(own, &CLUSTER, &self.nodes[node].secret);
                let other = SignedOp::sign(self.op(TEXT, expires_at, vec![3; 3000]), &CLUSTER, &stranger);
                for bytes in [own, other].map(|op| LogMessage::Op(op).encode()) {
                    (0..self.nodes.len())
                        .filter(|to| *to != node)
                        .for_each(|to| self.transmit(node, to, bytes.clone()));
                }
            }
        }
        self.after(Duration::from_millis(500), Event::Flood);
        Ok(())
    }

    /// An account is opened with $100. Then one client asks to deposit $100, and another one to charge 10 %, at the same time. Each asks
    /// some member again until its request is decided.
    pub(super) fn ask_for_accounts(&mut self) -> Result<(), String> {
        let is_decided = |op: &Op| self.checker.is_decided(&op.id(&CLUSTER));
        let expires_at = EPOCH_START + self.now.as_secs() + 115;
        if self.requests.is_empty() {
            let opening = Request::Deposit { account: ACCOUNT, cents: 10_000 };
            let opening = opening.op(self.nonce(), expires_at).unwrap();
            self.requests.push(opening);
        } else if self.requests.len() == 1 && is_decided(&self.requests[0]) {
            for request in [
                Request::Deposit { account: ACCOUNT, cents: 10_000 },
                Request::Charge { account: ACCOUNT, percent: 10 },
            ] {
                let request = request.op(self.nonce(), expires_at).unwrap();
                self.requests.push(request);
            }
        }
        let waiting: Vec<_> =
            self.requests.iter().filter(|op| !self.checker.is_decided(&op.id(&CLUSTER))).cloned().collect();
        if waiting.is_empty() && self.requests.len() > 1 {
            return Ok(());
        }
        for op in waiting {
            if let Some(node) = self.able_node() {
                self.submit_at(node, op)?;
            }
        }
        self.after(Duration::from_secs(1), Event::Clients);
        Ok(())
    }

    /// The balance at every honest node, if both requests are decided.
    pub(super) fn balance(&self) -> Result<Option<u64>, String> {
        let honest = (0..self.nodes.len()).filter(|node| self.is_honest(*node));
        let machines = honest.filter_map(|node| self.nodes[node].core.as_ref()).map(|core| core.applied().machine());
        let balances: BTreeSet<_> = machines.map(|machine| machine.balance(ACCOUNT)).collect();
        let is_decided = |op: &Op| self.checker.is_decided(&op.id(&CLUSTER));
        if self.requests.len() < 3 || !self.requests.iter().all(is_decided) {
            return Ok(None);
        }
        match balances.into_iter().collect::<Vec<_>>()[..] {
            [Some(balance @ (18_000 | 19_000))] => Ok(Some(balance)),
            ref others => Err(format!("balances: expected $180 or $190 at every node, got {others:?} cents")),
        }
    }
}
