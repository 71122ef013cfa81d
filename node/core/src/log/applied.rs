//! The state after a height: everything that follows from the blocks up to there. It makes the next block, and checks one.
//!
//! A block commits to the effects of its ops and to the state after them, so a proposer executes before it proposes, and a member
//! executes before it votes.

mod error;
mod recent_ops;
mod snapshot;
#[cfg(test)]
mod tests;

use vouch_core::bugs::{self, Bug};
use vouch_core::digest::ClusterId;
use vouch_core::limits::MAX_BLOCK_OPS;
use vouch_core::link::NodeKey;
use vouch_core::log::{
    Block, BlockDigest, BlockHeader, LogTree, Op, OpId, OpResult, OpsDigest, SignedOp, StateDigest, result_tree,
};
use vouch_core::merkle::TreeHash;
use vouch_core::statement::LogHead;

use super::members::LogMembers;
use super::state_machine::{BlockContext, MAX_MACHINE_SNAPSHOT, StateMachine};
use super::verified_op::VerifiedOp;
pub use error::{BlockError, OpError, SnapshotError};
use recent_ops::RecentOps;

/// Maximum time from a block to the expiry of its ops, in seconds. For so long, the identity of an op is remembered.
pub const OP_LIFETIME: u64 = 120;
/// Maximum number of unexpired ops of one submitter.
pub const LIVE_OPS_PER_MEMBER: usize = 8192;
/// Maximum number of unexpired ops of all submitters. It bounds the state that each block commits to: 44 bytes for each op.
pub const LIVE_OPS: usize = 131_072;
/// Maximum difference between the time of a new block and the clock of a member that votes for it, in seconds.
pub const BLOCK_TIME_TOLERANCE: u64 = 60;
/// Maximum size of a snapshot in bytes: all live ops, each by another submitter, and the largest state machine, rounded up.
pub const MAX_SNAPSHOT: usize = 16 << 20;

/// The quota of unexpired ops of one submitter among so many members. Together they cannot fill the log, so nobody can keep others out.
pub fn live_ops_quota(members: usize) -> usize {
    LIVE_OPS_PER_MEMBER.min(LIVE_OPS / members.max(1))
}

/// The state after a height.
#[derive(Debug, Clone)]
pub struct Applied<M> {
    cluster: ClusterId,
    founders: LogMembers,
    /// The header of the last block; `None` at height 0.
    header: Option<BlockHeader>,
    /// The digest of the last block.
    block: BlockDigest,
    /// The tree over the blocks before the last one.
    before: LogTree,
    /// The tree over all blocks.
    tree: LogTree,
    recent: RecentOps,
    machine: M,
}

/// An executed block.
#[derive(Debug, Clone)]
pub struct Executed<M> {
    /// The block.
    pub block: Block,
    /// The results of its ops, in their order.
    pub results: Vec<OpResult>,
    /// The state after it.
    pub next: Applied<M>,
}

impl<M: StateMachine> Applied<M> {
    /// The state at height 0. `founders`: the members of height 1, and of all heights for which the machine names no others.
    pub fn genesis(cluster: ClusterId, founders: LogMembers, machine: M) -> Self {
        let (before, tree, recent) = (LogTree::new(), LogTree::new(), RecentOps::default());
        Self { cluster, founders, header: None, block: BlockDigest::GENESIS, before, tree, recent, machine }
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// The height of the last block; 0 before the first.
    pub fn height(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.height)
    }

    /// The digest of the last block.
    pub fn block(&self) -> BlockDigest {
        self.block
    }

    /// The header of the last block; `None` at height 0.
    pub fn header(&self) -> Option<&BlockHeader> {
        self.header.as_ref()
    }

    /// The time of the last block, seconds since 1970; 0 before the first.
    pub fn time(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.time)
    }

    /// The tree over all blocks, this height's included.
    pub fn tree(&self) -> &LogTree {
        &self.tree
    }

    /// The tree over the blocks before the last one.
    pub fn tree_before(&self) -> &LogTree {
        &self.before
    }

    /// The members of height 1.
    pub fn founders(&self) -> &LogMembers {
        &self.founders
    }

    /// What a quorum signs about this height; `None` at height 0.
    pub fn head(&self) -> Option<LogHead> {
        LogHead::new(self.header.as_ref()?, &self.before)
    }

    /// The state machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The members of the next height: the machine's, or the founders.
    pub fn members(&self) -> LogMembers {
        self.machine.members().unwrap_or_else(|| self.founders.clone())
    }

    /// The member that proposes first at the next height, by its index among [`members`](Self::members).
    pub fn first_proposer(&self) -> usize {
        let author = self.header.as_ref().map(|header| &header.author);
        self.members().first_proposer(self.height() + 1, author)
    }

    /// Whether the next block may contain this op, if its time is `time`. The signature is not checked.
    ///
    /// # Errors
    /// [`OpError`].
    pub fn check_op(&self, op: &Op, id: OpId, submitter: &NodeKey, time: u64) -> Result<(), OpError> {
        self.check_op_among(&self.members(), op, id, submitter, time)
    }

    fn check_op_among(
        &self,
        members: &LogMembers,
        op: &Op,
        id: OpId,
        submitter: &NodeKey,
        time: u64,
    ) -> Result<(), OpError> {
        let (submitter, expires_at) = (*submitter, op.expires_at());
        if !members.contains(&submitter) {
            return Err(OpError::Stranger { submitter });
        }
        if expires_at < time {
            return Err(OpError::Expired { time, expires_at });
        }
        let latest = time.saturating_add(OP_LIFETIME);
        if expires_at > latest {
            return Err(OpError::ExpiresTooLate { latest, expires_at });
        }
        if !self.machine.knows(op.kind()) {
            return Err(OpError::UnknownKind { kind: op.kind() });
        }
        if self.recent.contains(expires_at, id) && !bugs::has(Bug::LogAppliedTwice) {
            return Err(OpError::AppliedBefore { op: id });
        }
        let limit = live_ops_quota(members.count());
        if self.recent.is_full_for(&submitter, limit, time) {
            return Err(OpError::SubmitterQuota { submitter, limit });
        }
        if self.recent.is_full(LIVE_OPS, time) {
            return Err(OpError::TotalQuota);
        }
        Ok(())
    }

    /// The next block by this author, from the ops that may be in it, in their order. Ops that break a rule are passed over; the first one
    /// that does not fit ends the block. The block's time is `unix_seconds`, or the last block's if that is later. `None` if it would have
    /// no op.
    ///
    /// # Errors
    /// [`BlockError::MachineSize`], if the state machine does not bound itself.
    pub fn build<'a>(
        &self,
        ops: impl IntoIterator<Item = &'a VerifiedOp>,
        author: NodeKey,
        unix_seconds: u64,
    ) -> Result<Option<Executed<M>>, BlockError> {
        let time = unix_seconds.max(self.time());
        let members = self.members();
        let mut execution = Execution::new(self, time);
        let (mut included, mut size) = (Vec::new(), 0);
        for op in ops {
            let signed = op.signed();
            if execution.state.check_op_among(&members, &signed.op, op.id(), &signed.submitter, time).is_err() {
                continue;
            }
            size += signed.encoded_size();
            if included.len() == MAX_BLOCK_OPS as usize || size > Block::MAX_OPS_SIZE {
                break;
            }
            execution.apply(signed, op.id());
            included.push(signed.clone());
        }
        let Some(results_root) = execution.results_root() else { return Ok(None) };
        let header = BlockHeader {
            cluster: self.cluster,
            epoch: members.epoch(),
            height: execution.block.height,
            parent: self.block,
            author,
            time,
            log_root: self.tree.root(),
            // Cannot saturate: at most `MAX_BLOCK_OPS` were included.
            count: included.len().try_into().unwrap_or(u32::MAX),
            ops: OpsDigest::of(&included),
            results: results_root,
            state: execution.state_digest()?,
        };
        Ok(Some(execution.end(Block::new(header, included)?)))
    }

    /// Executes a block, and checks everything in it that does not depend on this replica's clock or on who proposes it: see
    /// [`check_new_block`]. `is_verified` says whether exactly this submission was verified before, and so saves its signature's check.
    ///
    /// # Errors
    /// [`BlockError`], for the first rule that the block breaks.
    pub fn validate(
        &self,
        block: &Block,
        mut is_verified: impl FnMut(OpId, &SignedOp) -> bool,
    ) -> Result<Executed<M>, BlockError> {
        let header = block.header();
        let members = self.members();
        self.check_header(header, &members)?;
        let mut execution = Execution::new(self, header.time);
        for (index, signed) in block.ops().iter().enumerate() {
            let id = signed.op.id(&self.cluster);
            let in_block = |error| BlockError::Op { index, error };
            execution
                .state
                .check_op_among(&members, &signed.op, id, &signed.submitter, header.time)
                .map_err(in_block)?;
            if !is_verified(id, signed) {
                signed.verify(&self.cluster).map_err(|error| in_block(error.into()))?;
            }
            execution.apply(signed, id);
        }
        // A decoded block has an op, so there is a root.
        let expected = execution.results_root().unwrap_or(TreeHash([0; 32]));
        if header.results != expected {
            return Err(BlockError::Results { expected, got: header.results });
        }
        let expected = execution.state_digest()?;
        if header.state != expected {
            return Err(BlockError::State { expected, got: header.state });
        }
        Ok(execution.end(block.clone()))
    }

    fn check_header(&self, header: &BlockHeader, members: &LogMembers) -> Result<(), BlockError> {
        if header.cluster != self.cluster {
            return Err(BlockError::Cluster { expected: self.cluster, got: header.cluster });
        }
        if header.height != self.height() + 1 {
            return Err(BlockError::Height { expected: self.height() + 1, got: header.height });
        }
        if header.parent != self.block && !bugs::has(Bug::LogParentUnchecked) {
            return Err(BlockError::Parent { expected: self.block, got: header.parent });
        }
        if header.epoch != members.epoch() {
            return Err(BlockError::Epoch { expected: members.epoch(), got: header.epoch });
        }
        if !members.contains(&header.author) {
            return Err(BlockError::Author { got: header.author });
        }
        if header.time < self.time() {
            return Err(BlockError::Time { earliest: self.time(), got: header.time });
        }
        let expected = self.tree.root();
        if header.log_root != expected {
            return Err(BlockError::LogRoot { expected, got: header.log_root });
        }
        Ok(())
    }

    /// Makes the block of this header the last one. `before` is the tree without it.
    fn set_last(&mut self, header: BlockHeader) {
        self.block = header.digest();
        self.tree = self.before.clone();
        self.tree.append(&self.block);
        self.header = Some(header);
    }
}

/// Checks of a new block that depend on this replica's clock and on the proposer. They are made only before a member votes for a block
/// that nobody has voted for in an earlier round. If they were made for one that others are locked on, a member with another clock could
/// keep it from ever being decided.
///
/// # Errors
/// [`BlockError::Proposer`] or [`BlockError::Clock`].
pub fn check_new_block(header: &BlockHeader, proposer: &NodeKey, unix_seconds: u64) -> Result<(), BlockError> {
    if header.author != *proposer {
        return Err(BlockError::Proposer { expected: *proposer, got: header.author });
    }
    if header.time.abs_diff(unix_seconds) > BLOCK_TIME_TOLERANCE {
        return Err(BlockError::Clock { now: unix_seconds, got: header.time });
    }
    Ok(())
}

/// A block that is being executed.
struct Execution<M> {
    block: BlockContext,
    state: Applied<M>,
    results: Vec<OpResult>,
}

impl<M: StateMachine> Execution<M> {
    fn new(last: &Applied<M>, time: u64) -> Self {
        let mut state = last.clone();
        state.recent.forget_expired(time);
        let block = BlockContext { height: last.height() + 1, time, log_root: last.tree.root() };
        Self { block, state, results: Vec::new() }
    }

    fn apply(&mut self, signed: &SignedOp, id: OpId) {
        self.state.recent.insert(signed.op.expires_at(), id, signed.submitter);
        let effect = self.state.machine.apply(&self.block, &signed.op);
        self.results.push(OpResult { op: id, submitter: signed.submitter, effect });
    }

    fn results_root(&self) -> Option<TreeHash> {
        result_tree(&self.results).map(|tree| tree.root())
    }

    fn state_digest(&self) -> Result<StateDigest, BlockError> {
        let machine = self.state.machine.snapshot();
        if machine.len() > MAX_MACHINE_SNAPSHOT {
            return Err(BlockError::MachineSize { got: machine.len() });
        }
        Ok(StateDigest::of(&snapshot::encode_state(&self.state.recent, &machine)))
    }

    fn end(mut self, block: Block) -> Executed<M> {
        self.state.before = self.state.tree.clone();
        self.state.set_last(block.header().clone());
        Executed { block, results: self.results, next: self.state }
    }
}
