//! A machine whose state depends on every op and its order, and that decides who the members are.

use vouch_core::codec::Reader;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::log::{Effect, Op};

use crate::log::members::LogMembers;
use crate::log::state_machine::{RestoreError, StateMachine};

/// Any body.
pub(super) const TEXT: u16 = 0;
/// The next members: their epoch (u64), then their node keys. Ignored unless the epoch is the next one.
pub(super) const MEMBERS: u16 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Machine {
    hash: [u8; 32],
    members: Option<LogMembers>,
}

impl StateMachine for Machine {
    fn knows(&self, kind: u16) -> bool {
        kind <= MEMBERS
    }

    fn apply(&mut self, height: u64, op: &Op) -> Effect {
        self.hash = Digest::of(&[&self.hash[..], &height.to_le_bytes(), &op.encode()].concat()).0;
        if op.kind() == MEMBERS && op.body().len() >= 8 {
            let (epoch, keys) = op.body().split_at(8);
            let epoch = u64::from_le_bytes(epoch.try_into().unwrap());
            let before = self.members.as_ref().map_or(0, LogMembers::epoch);
            if epoch == before + 1 {
                let keys = keys.chunks_exact(32).map(|key| NodeKey(key.try_into().unwrap()));
                self.members = LogMembers::new(epoch, keys).or(self.members.take());
            }
        }
        Effect::new(self.hash[..8].to_vec()).unwrap()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = self.hash.to_vec();
        if let Some(members) = &self.members {
            out.extend_from_slice(&members.epoch().to_le_bytes());
            members.keys().iter().for_each(|key| out.extend_from_slice(&key.0));
        }
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut reader = Reader::new(bytes);
        let hash = reader.array("hash")?;
        let rest = reader.rest();
        if rest.is_empty() {
            return Ok(Self { hash, members: None });
        }
        let mut reader = Reader::new(rest);
        let epoch = reader.u64("epoch")?;
        let keys = reader.rest().chunks_exact(32).map(|key| NodeKey(key.try_into().unwrap()));
        Ok(Self { hash, members: LogMembers::new(epoch, keys) })
    }

    fn members(&self) -> Option<LogMembers> {
        self.members.clone()
    }
}
