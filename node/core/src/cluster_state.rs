//! The state machine of live clusters: notes, the members, and who may put and read.

use std::sync::Arc;

use vouch_core::access::AccessOp;
use vouch_core::codec::Reader;
use vouch_core::committee::Committee;
use vouch_core::log::{Effect, Op};
use vouch_core::membership::MembershipOp;

use crate::access::Access;
use crate::log::members::LogMembers;
use crate::log::notes::Notes;
use crate::log::state_machine::{BlockContext, RestoreError, StateMachine};
use crate::membership::Membership;

/// What the log of a live cluster decides.
#[derive(Debug, Clone)]
pub struct ClusterState {
    notes: Notes,
    membership: Membership,
    access: Access,
}

impl ClusterState {
    /// The state before the first block.
    pub fn founded(genesis: Arc<Committee>) -> Self {
        Self { notes: Notes::default(), membership: Membership::founded(genesis), access: Access::default() }
    }

    /// The members' part.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Who may put and read.
    pub fn access(&self) -> &Access {
        &self.access
    }
}

impl StateMachine for ClusterState {
    fn knows(&self, kind: u16) -> bool {
        self.notes.knows(kind) || MembershipOp::has_kind(kind) || AccessOp::has_kind(kind)
    }

    fn apply(&mut self, block: &BlockContext, op: &Op) -> Effect {
        self.membership.begin_block(block);
        match op.kind() {
            kind if self.notes.knows(kind) => self.notes.apply(block, op),
            kind if AccessOp::has_kind(kind) => self.access.apply(self.membership.committee().record(), op),
            _ => self.membership.apply(block, op),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = self.notes.snapshot();
        self.membership.write(&mut out);
        self.access.write(&mut out);
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut reader = Reader::new(bytes);
        let notes = Notes::restore(reader.take("notes", Notes::SIZE)?)?;
        let membership = Membership::read(&mut reader)?;
        let access = Access::read(&mut reader)?;
        reader.finish()?;
        Ok(Self { notes, membership, access })
    }

    fn members(&self) -> Option<LogMembers> {
        self.membership.log_members()
    }
}
