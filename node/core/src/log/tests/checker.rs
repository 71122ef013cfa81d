//! What must hold whatever goes wrong.

use std::collections::{BTreeMap, BTreeSet};

use vouch_core::digest::ClusterId;
use vouch_core::link::NodeKey;
use vouch_core::log::{Block, BlockDigest, OpId};

use crate::log::wire::LogMessage;

/// The block of a vote or proposal, and the valid round of a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SignedFor {
    block: Option<BlockDigest>,
    valid_round: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The block of each height.
    chain: BTreeMap<u64, BlockDigest>,
    /// The heights whose blocks were seen whole.
    bodies: BTreeSet<u64>,
    /// The height of each decided op.
    ops: BTreeMap<OpId, u64>,
    submitted: BTreeSet<OpId>,
    /// What honest members signed: voter, kind, height and round, with what they signed it for.
    signed: BTreeMap<(NodeKey, u8, u64, u32), SignedFor>,
    /// Decided blocks, by node and height.
    seen: BTreeMap<usize, u64>,
}

impl Checker {
    pub(super) fn submitted(&mut self, op: OpId) {
        self.submitted.insert(op);
    }

    pub(super) fn blocks(&self) -> u64 {
        self.chain.len() as u64
    }

    pub(super) fn is_decided(&self, op: &OpId) -> bool {
        self.ops.contains_key(op)
    }

    /// An honest node decided a block.
    pub(super) fn decided(&mut self, cluster: &ClusterId, node: usize, block: &Block) -> Result<(), String> {
        let (height, digest) = (block.header().height, block.digest());
        let expected = self.seen.get(&node).map_or(height, |last| last + 1);
        if height != expected {
            return Err(format!("total order: node {node} decided height {height}, expected {expected}"));
        }
        self.seen.insert(node, height);
        self.agrees(node, height, digest)?;
        let is_known = self.bodies.replace(height).is_some();
        if is_known {
            return Ok(());
        }
        let parent = if height == 1 { Some(&BlockDigest::GENESIS) } else { self.chain.get(&(height - 1)) };
        let got = block.header().parent;
        if let Some(parent) = parent.filter(|parent| **parent != got) {
            return Err(format!("parent: height {height} has {got}, expected {parent}"));
        }
        for op in block.ops() {
            let id = op.op.id(cluster);
            if !self.submitted.contains(&id) {
                return Err(format!("validity: nobody submitted an op of height {height}"));
            }
            if let Some(earlier) = self.ops.insert(id, height) {
                return Err(format!("an op was decided at height {earlier} and again at {height}"));
            }
        }
        Ok(())
    }

    fn agrees(&mut self, node: usize, height: u64, digest: BlockDigest) -> Result<(), String> {
        match *self.chain.entry(height).or_insert(digest) {
            known if known == digest => Ok(()),
            known => Err(format!("agreement: height {height} is {known}, and {digest} at node {node}")),
        }
    }

    /// An honest node has the state after this block in place of blocks.
    pub(super) fn installed(&mut self, node: usize, height: u64, block: BlockDigest) -> Result<(), String> {
        self.agrees(node, height, block)?;
        let seen = self.seen.entry(node).or_insert(height);
        *seen = height.max(*seen);
        Ok(())
    }

    /// A node lost its blocks.
    pub(super) fn lost(&mut self, node: usize) {
        self.seen.remove(&node);
    }

    /// A block that is on the disk of an honest node that restarts. A crash may have come before the node said that it was decided.
    pub(super) fn stored(&mut self, cluster: &ClusterId, node: usize, block: &Block) -> Result<(), String> {
        let is_known = self.seen.get(&node).is_some_and(|last| block.header().height <= *last);
        if is_known { Ok(()) } else { self.decided(cluster, node, block) }
    }

    /// An honest member sends a message.
    pub(super) fn sent(&mut self, from: &NodeKey, message: &LogMessage) -> Result<(), String> {
        let (key, value) = match message {
            LogMessage::Vote { vote, .. } => {
                let of = vote.vote;
                (
                    (vote.voter, of.vote_type as u8, of.height, of.round),
                    SignedFor { block: of.block, valid_round: None },
                )
            }
            LogMessage::Proposal { proposal, .. } => {
                let of = proposal.proposal;
                (
                    (proposal.proposer, 3, of.height, of.round),
                    SignedFor { block: Some(of.block), valid_round: of.valid_round },
                )
            }
            _ => return Ok(()),
        };
        if key.0 != *from {
            return Ok(());
        }
        let before = *self.signed.entry(key).or_insert(value);
        if before != value {
            return Err(format!("double sign: {key:?} for {before:?} and for {value:?}"));
        }
        Ok(())
    }
}
