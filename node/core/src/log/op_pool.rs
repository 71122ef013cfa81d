//! The ops that wait to be decided. Every member pools the ops of all, so a proposer that leaves one out is overtaken by the next one.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use thiserror::Error;
use vouch_core::comparison::Comparison;
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;
use vouch_core::log::{OpId, OpResult, OpSignatureError, SignedOp};
use vouch_core::message::Code;

use super::applied::{Applied, OpError};
use super::state_machine::StateMachine;
use super::verified_op::VerifiedOp;

/// Maximum number of ops that wait, of all submitters.
pub const POOL_OPS: usize = 16_384;
/// Maximum total size of the ops that wait, in bytes.
pub const POOL_BYTES: usize = 8 << 20;
/// Interval at which a member sends its own ops to all others, until they are decided or expired. A lost one costs this long.
pub const GOSSIP_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of ops sent at once. Others take a bounded number of messages a second, and votes must not wait behind ops.
pub const GOSSIP_OPS: usize = 128;
/// Maximum size of the ops sent at once, in bytes, unless a single one is larger.
pub const GOSSIP_BYTES: usize = 65_536;
/// Interval between sending parts of a longer queue.
pub const GOSSIP_PAUSE: Duration = Duration::from_millis(50);

/// The share of one submitter among so many members: a number of ops, and bytes. Together they cannot fill the pool, so a member that
/// floods it keeps nobody else out. It is always enough for one op of the largest size.
pub fn pool_share(members: usize) -> (usize, usize) {
    (POOL_OPS / members.max(1), POOL_BYTES / members.max(1))
}

/// Why an op does not wait here. Unless it is malformed or a stranger's, it may be accepted later.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpPoolError {
    /// The next block may not contain it.
    Op(#[from] OpError),
    /// Too many ops of the submitter wait.
    SubmitterOps {
        /// The submitter.
        submitter: NodeKey,
        /// Its share.
        limit: usize,
    },
    /// The ops of the submitter that wait are too large.
    SubmitterBytes {
        /// The submitter.
        submitter: NodeKey,
        /// Its share.
        limit: usize,
        /// The size with this op.
        got: usize,
    },
    /// Too many ops wait.
    Ops,
    /// The ops that wait are too large.
    Bytes {
        /// The size with this op.
        got: usize,
    },
}

impl From<OpSignatureError> for OpPoolError {
    fn from(error: OpSignatureError) -> Self {
        Self::Op(error.into())
    }
}

impl OpPoolError {
    /// The code of a refusal on a link.
    pub fn code(&self) -> Code {
        match self {
            Self::Op(OpError::Stranger { .. }) => Code::NotAdmitted,
            Self::Op(OpError::Expired { .. }) => Code::Expired,
            Self::Op(OpError::ExpiresTooLate { .. } | OpError::UnknownKind { .. } | OpError::Signature(_)) => {
                Code::Malformed
            }
            Self::Op(OpError::AppliedBefore { .. }) => Code::Unexpected,
            Self::Op(OpError::SubmitterQuota { .. } | OpError::TotalQuota)
            | Self::SubmitterOps { .. }
            | Self::SubmitterBytes { .. }
            | Self::Ops
            | Self::Bytes { .. } => Code::Busy,
        }
    }

    /// What the rule requires, and what there is instead.
    pub fn comparison(&self) -> Comparison {
        let compare = |subject: String, limit: usize, unit: &str, got: String| Comparison {
            subject,
            expected: format!("at most {limit} {unit}"),
            got,
        };
        match self {
            Self::Op(error) => error.comparison(),
            Self::SubmitterOps { submitter, limit } => {
                compare(format!("waiting ops of {submitter}"), *limit, "ops", "one more".into())
            }
            Self::SubmitterBytes { submitter, limit, got } => {
                compare(format!("waiting ops of {submitter}"), *limit, "bytes", got.to_string())
            }
            Self::Ops => compare("waiting ops".into(), POOL_OPS, "ops", "one more".into()),
            Self::Bytes { got } => compare("waiting ops".into(), POOL_BYTES, "bytes", got.to_string()),
        }
    }
}

impl fmt::Display for OpPoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.comparison().fmt(f)
    }
}

/// Whether the pool had the op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    /// It waits from now on.
    New,
    /// It waits already, from the same submitter.
    Known,
}

/// What one submitter has in the pool, by order of arrival.
#[derive(Debug, Default)]
struct Queue {
    ops: BTreeMap<u64, VerifiedOp>,
    bytes: usize,
}

/// Ops that wait to be decided. One client's op may wait several times, from several submitters: otherwise a member could put the op of
/// another one at the end of its own long queue.
#[derive(Debug)]
pub struct OpPool {
    cluster: ClusterId,
    /// This member, whose ops are sent to the others.
    own: NodeKey,
    queues: BTreeMap<NodeKey, Queue>,
    /// Where an op waits: its arrival in the queue of each submitter.
    places: BTreeMap<OpId, BTreeMap<NodeKey, u64>>,
    by_expiry: BTreeSet<(u64, OpId)>,
    arrivals: u64,
    ops: usize,
    bytes: usize,
    /// This member's ops, by the time at which they are sent next, and by arrival.
    to_send: BTreeSet<(Duration, u64)>,
    /// Nothing is sent before this time.
    send_after: Duration,
}

impl OpPool {
    /// An empty pool of the member with this node key.
    pub fn new(cluster: ClusterId, own: NodeKey) -> Self {
        Self {
            cluster,
            own,
            queues: BTreeMap::new(),
            places: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            arrivals: 0,
            ops: 0,
            bytes: 0,
            to_send: BTreeSet::new(),
            send_after: Duration::ZERO,
        }
    }

    /// The number of ops that wait.
    pub fn count(&self) -> usize {
        self.ops
    }

    /// Their total size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets an op wait: this member's own, or one that another member sent. The signature is verified last, because it costs the most.
    ///
    /// # Errors
    /// See [`OpPoolError`].
    pub fn add<M: StateMachine>(
        &mut self,
        signed: SignedOp,
        applied: &Applied<M>,
        now: Duration,
        unix_seconds: u64,
    ) -> Result<Pooled, OpPoolError> {
        let (id, submitter, size) = (signed.op.id(&self.cluster), signed.submitter, signed.encoded_size());
        if self.places.get(&id).is_some_and(|places| places.contains_key(&submitter)) {
            return Ok(Pooled::Known);
        }
        applied.check_op(&signed.op, id, &submitter, unix_seconds.max(applied.time()))?;
        self.check_room(applied.members().count(), submitter, size)?;
        let op = VerifiedOp::verify(signed, &self.cluster)?;

        self.arrivals += 1;
        self.ops += 1;
        self.bytes += size;
        self.places.entry(id).or_default().insert(submitter, self.arrivals);
        self.by_expiry.insert((op.signed().op.expires_at(), id));
        if submitter == self.own {
            self.to_send.insert((now, self.arrivals));
        }
        let queue = self.queues.entry(submitter).or_default();
        queue.bytes += size;
        queue.ops.insert(self.arrivals, op);
        Ok(Pooled::New)
    }

    fn check_room(&self, members: usize, submitter: NodeKey, size: usize) -> Result<(), OpPoolError> {
        let (limit, limit_bytes) = pool_share(members);
        if let Some(queue) = self.queues.get(&submitter) {
            if queue.ops.len() >= limit {
                return Err(OpPoolError::SubmitterOps { submitter, limit });
            }
            let got = queue.bytes + size;
            if got > limit_bytes {
                return Err(OpPoolError::SubmitterBytes { submitter, limit: limit_bytes, got });
            }
        }
        // Shares were larger when there were fewer members.
        if self.ops >= POOL_OPS {
            return Err(OpPoolError::Ops);
        }
        let got = self.bytes + size;
        if got > POOL_BYTES { Err(OpPoolError::Bytes { got }) } else { Ok(()) }
    }

    /// Whether exactly this submission waits here, and so was verified.
    pub fn has_verified(&self, id: OpId, signed: &SignedOp) -> bool {
        let arrival = self.places.get(&id).and_then(|places| places.get(&signed.submitter));
        let queue = self.queues.get(&signed.submitter);
        arrival.zip(queue).and_then(|(arrival, queue)| queue.ops.get(arrival)).is_some_and(|op| op.signed() == signed)
    }

    /// The ops in the order in which they should be decided: what waits longest first, one of each submitter before a second one of any.
    /// So a queue of thousands delays nobody else's op.
    pub fn candidates(&self) -> impl Iterator<Item = &VerifiedOp> {
        let mut queues: Vec<_> = self.queues.values().map(|queue| queue.ops.iter()).collect();
        let mut pass = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if let Some((_, op)) = pass.next() {
                return Some(op);
            }
            let mut heads: Vec<_> = queues.iter_mut().filter_map(Iterator::next).collect();
            heads.sort_unstable_by_key(|(arrival, _)| **arrival);
            pass = heads.into_iter();
            pass.next().map(|(_, op)| op)
        })
    }

    /// Whether an op waits that the next block may contain. If not, there is no reason to begin a height.
    pub fn is_ready<M: StateMachine>(&self, applied: &Applied<M>, unix_seconds: u64) -> bool {
        let time = unix_seconds.max(applied.time());
        self.candidates().any(|op| {
            let signed = op.signed();
            applied.check_op(&signed.op, op.id(), &signed.submitter, time).is_ok()
        })
    }

    /// Removes the ops of a decided block, of every submitter.
    pub fn decided(&mut self, results: &[OpResult]) {
        for result in results {
            self.remove(result.op);
        }
    }

    /// Removes the ops that no later block may contain: `time` is the time of the last block, or this member's clock.
    pub fn expire(&mut self, time: u64) {
        while let Some((expires_at, id)) = self.by_expiry.first().copied().filter(|(expires_at, _)| *expires_at < time)
        {
            self.by_expiry.remove(&(expires_at, id));
            self.remove(id);
        }
    }

    /// Removes what can never be in a block after this state: for a state that was not reached block by block, and when the members
    /// changed.
    pub fn settle<M: StateMachine>(&mut self, applied: &Applied<M>) {
        self.expire(applied.time());
        let members = applied.members();
        let mut over = Vec::new();
        for (submitter, queue) in &self.queues {
            for op in queue.ops.values() {
                let check = applied.check_op(&op.signed().op, op.id(), submitter, applied.time());
                let is_applied = matches!(check, Err(OpError::AppliedBefore { .. }));
                if is_applied || !members.contains(submitter) {
                    over.push((op.id(), *submitter));
                }
            }
        }
        for (id, submitter) in over {
            self.remove_one(id, submitter);
        }
    }

    fn remove(&mut self, id: OpId) {
        let submitters: Vec<_> = self.places.get(&id).into_iter().flatten().map(|(submitter, _)| *submitter).collect();
        for submitter in submitters {
            self.remove_one(id, submitter);
        }
    }

    fn remove_one(&mut self, id: OpId, submitter: NodeKey) {
        let Some(places) = self.places.get_mut(&id) else { return };
        let Some(arrival) = places.remove(&submitter) else { return };
        let is_last = places.is_empty();
        if is_last {
            self.places.remove(&id);
        }
        let Some(queue) = self.queues.get_mut(&submitter) else { return };
        let Some(op) = queue.ops.remove(&arrival) else { return };
        let size = op.signed().encoded_size();
        queue.bytes -= size;
        if queue.ops.is_empty() {
            self.queues.remove(&submitter);
            if submitter == self.own {
                self.to_send.clear();
            }
        }
        self.ops -= 1;
        self.bytes -= size;
        if is_last {
            self.by_expiry.remove(&(op.signed().op.expires_at(), id));
        }
    }

    /// The own ops to send to all other members now. Each is sent at once when it arrives, and then every second.
    pub fn due(&mut self, now: Duration) -> Vec<SignedOp> {
        let (mut due, mut size) = (Vec::new(), 0);
        while self.send_after <= now {
            let Some((at, arrival)) = self.to_send.first().copied().filter(|(at, _)| *at <= now) else { break };
            let op = self.queues.get(&self.own).and_then(|queue| queue.ops.get(&arrival));
            let Some(op) = op.map(VerifiedOp::signed) else {
                self.to_send.remove(&(at, arrival));
                continue;
            };
            size += op.encoded_size();
            if due.len() == GOSSIP_OPS || size > GOSSIP_BYTES && !due.is_empty() {
                self.send_after = now + GOSSIP_PAUSE;
                break;
            }
            due.push(op.clone());
            self.to_send.remove(&(at, arrival));
            self.to_send.insert((now + GOSSIP_EVERY, arrival));
        }
        due
    }

    /// When [`due`](Self::due) has something to send. `None` if no own op waits.
    pub fn next_due(&self) -> Option<Duration> {
        let is_waiting = self.queues.contains_key(&self.own);
        let (at, _) = self.to_send.first().filter(|_| is_waiting)?;
        Some((*at).max(self.send_after))
    }
}
