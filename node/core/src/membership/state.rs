//! The members' part of the log's state: what each op about members does.

use std::sync::Arc;

use vouch_core::certificate::Certificate;
use vouch_core::committee::{Committee, CommitteeRecord, Lineage};
use vouch_core::digest::History;
use vouch_core::log::{Effect, Op};
use vouch_core::membership::MembershipOp;
use vouch_core::statement::{Handoff, StatementId};

use super::approvals::Approvals;
use super::running_change::RunningChange;
use super::sealing::Sealing;
use crate::log::effect::{effect_of, refused};
use crate::log::members::LogMembers;
use crate::log::state_machine::BlockContext;

/// A member stops at most this long after the time of the block that says so, in seconds. Otherwise one member could keep an epoch open.
pub const MAX_STOP_AHEAD: u64 = 120;

/// How an epoch after the first began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochStart {
    /// The certificate of the handoff to it.
    pub handoff: Certificate<Handoff>,
    /// The statement that this certifies.
    pub identity: StatementId,
    /// The seal that the committee's history names. `None` in epoch 1.
    pub seal: Option<StatementId>,
}

/// The members, and the change that is under way. Equal states have equal encodings.
#[derive(Debug, Clone)]
pub struct Membership {
    pub(super) committee: Arc<Committee>,
    /// `None` in epoch 0.
    pub(super) start: Option<EpochStart>,
    pub(super) approvals: Approvals,
    pub(super) running: Option<RunningChange>,
    /// Of the epoch before. `None` in epoch 0.
    pub(super) sealing: Option<Sealing>,
}

impl Membership {
    /// The state of a cluster whose committee never changed.
    pub fn founded(genesis: Arc<Committee>) -> Self {
        Self { committee: genesis, start: None, approvals: Approvals::default(), running: None, sealing: None }
    }

    /// The committee of the active epoch.
    pub fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// How the active epoch began; `None` in epoch 0.
    pub fn start(&self) -> Option<&EpochStart> {
        self.start.as_ref()
    }

    /// The proposed changes.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// The change that a quorum approves.
    pub fn running(&self) -> Option<&RunningChange> {
        self.running.as_ref()
    }

    /// The seal of the epoch before; `None` in epoch 0.
    pub fn sealing(&self) -> Option<&Sealing> {
        self.sealing.as_ref()
    }

    /// Whether the epoch before is sealed, so that the committee can be followed by another one.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealing.as_ref().is_none_or(|sealing| sealing.seal.is_some())
    }

    /// The committee that decides the next block: the successor as soon as it is decided.
    pub fn deciding(&self) -> &Arc<Committee> {
        match self.running.as_ref().and_then(RunningChange::decided) {
            Some((next, _)) => &next.committee,
            None => &self.committee,
        }
    }

    /// The members of the log that decide the next block.
    pub fn log_members(&self) -> Option<LogMembers> {
        let record = self.deciding().record();
        LogMembers::new(record.epoch(), record.members().iter().map(|member| member.node_key))
    }

    /// Notes where a block begins. It comes before the first op of each block, and may come before each.
    pub fn begin_block(&mut self, block: &BlockContext) {
        if let Some(running) = &mut self.running {
            running.begin_block(block);
        }
    }

    /// Applies an op about members.
    pub fn apply(&mut self, block: &BlockContext, op: &Op) -> Effect {
        let decoded = MembershipOp::decode(op.kind(), op.body());
        effect_of(decoded.map_err(refused).and_then(|op| self.decide(block, op)))
    }

    fn decide(&mut self, block: &BlockContext, op: MembershipOp) -> Result<String, String> {
        let committee = self.committee.clone();
        let record = committee.record();
        match op {
            MembershipOp::Propose { change, operator } => {
                self.check_undecided()?;
                self.approvals.propose(record, change, operator, block.height)
            }
            MembershipOp::Approve(signed) => {
                self.check_undecided()?;
                let done = self.approvals.approve(record, &signed)?;
                self.choose(record, block);
                Ok(done)
            }
            MembershipOp::Offer(offer) => {
                let done = self.running_change()?.offer(record, &offer)?;
                Ok(self.with_fixed(done, block))
            }
            MembershipOp::Fix { change } => {
                let running = self.running_change()?;
                if running.id != change {
                    return Err(format!("change: expected {}, which is under way, got {change}", running.id));
                }
                self.fix(block)
            }
            MembershipOp::Accept { node_key, signature } => self.running_change()?.accept(&node_key, signature, block),
            MembershipOp::Stop(signed) => {
                let earliest = self.start.as_ref().map_or(0, |start| start.handoff.claim.closing);
                self.running_change()?.stop(record, &signed, earliest, block)
            }
            MembershipOp::SignHandoff { node_key, signature } => {
                let (done, is_complete) = self.running_change()?.sign_handoff(&committee, &node_key, signature)?;
                if is_complete {
                    self.hand_over()?;
                    return Ok(format!("{done}: epoch {} is active", record.epoch() + 1));
                }
                Ok(done)
            }
            MembershipOp::Certified(statements) => self.open_seal()?.add(&statements, block),
            MembershipOp::SealReady(signed) => self.open_seal()?.ready(record, &signed, block),
            MembershipOp::SignSeal { node_key, signature } => {
                let done = self.open_seal()?.sign(&committee, &node_key, signature)?;
                Ok(self.with_fixed(done, block))
            }
        }
    }

    fn running_change(&mut self) -> Result<&mut RunningChange, String> {
        self.running.as_mut().ok_or_else(|| "no change is under way".to_owned())
    }

    fn open_seal(&mut self) -> Result<&mut Sealing, String> {
        self.sealing.as_mut().ok_or_else(|| "no epoch has ended yet".to_owned())
    }

    /// Between the decision on a successor and its first statement, no other change may begin.
    fn check_undecided(&self) -> Result<(), String> {
        match self.running.as_ref().and_then(RunningChange::decided) {
            Some((next, _)) => Err(format!("epoch {} is decided, and not active yet", next.committee.record().epoch())),
            None => Ok(()),
        }
    }

    /// Runs the change that a quorum approves now. Members that approve another one give up the first.
    fn choose(&mut self, committee: &CommitteeRecord, block: &BlockContext) {
        let chosen = self.approvals.chosen(committee);
        if let Some(proposal) = chosen
            && self.running.as_ref().is_none_or(|running| running.id != proposal.change.id())
        {
            self.running = Some(RunningChange::new(proposal.change.clone(), block.time));
        }
    }

    /// What the next committee says of the epochs before it.
    ///
    /// # Errors
    /// The epoch before is not sealed yet.
    fn lineage(&self) -> Result<(Lineage, Option<StatementId>), String> {
        let record = self.committee.record();
        let (history, seal) = match (record.lineage(), &self.start, &self.sealing) {
            (Some(lineage), Some(start), Some(sealing)) => {
                let epoch = sealing.committee.record().epoch();
                let seal = sealing.seal.ok_or_else(|| format!("epoch {epoch} must be sealed first"))?;
                (lineage.history.next(&start.identity, &seal), Some(seal))
            }
            _ => (History::NONE, None),
        };
        let (epoch, cluster, previous) = (record.epoch() + 1, record.cluster(), record.digest());
        Ok((Lineage { epoch, cluster, previous, history }, seal))
    }

    fn fix(&mut self, block: &BlockContext) -> Result<String, String> {
        let (lineage, seal) = self.lineage()?;
        let committee = self.committee.clone();
        self.running_change()?.fix(committee.record(), lineage, seal, block.time)
    }

    /// Fixes the next committee if nothing is missing any more.
    fn with_fixed(&mut self, done: String, block: &BlockContext) -> String {
        match self.fix(block) {
            Ok(fixed) => format!("{done}; {fixed}"),
            Err(_) => done,
        }
    }

    /// The handoff is signed: the next epoch is active.
    fn hand_over(&mut self) -> Result<(), String> {
        let next = self.running.take().and_then(|running| running.next).ok_or("no committee is decided")?;
        let tally = next.decided.and_then(|decided| decided.handoff).ok_or("no handoff is complete")?;
        let claim = *tally.statement().body();
        let handoff = tally.certificates([claim]).map_err(refused)?.into_iter().next().ok_or("no handoff")?;
        let identity = tally.statement().id();
        let before = std::mem::replace(&mut self.committee, next.committee);
        self.start = Some(EpochStart { handoff, identity, seal: next.seal });
        self.approvals = Approvals::default();
        self.sealing = Some(Sealing::new(before, claim.closing));
        Ok(())
    }
}
