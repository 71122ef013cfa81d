//! A machine whose state depends on every op and its order, and that decides who the members are. Part of it are the accounts of
//! `examples/accounts`.

use vouch_core::codec::Reader;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::log::{Effect, Op};

use accounts::Accounts;
pub(super) use accounts::Request;

use crate::log::members::LogMembers;
use crate::log::state_machine::{BlockContext, RestoreError, StateMachine};

#[path = "../../../../../examples/accounts/machine.rs"]
#[allow(dead_code, reason = "the simulation reads no replies")]
mod accounts;

/// Any body.
pub(super) const TEXT: u16 = 0;
/// The next members: their epoch (u64), then their node keys. Ignored unless the epoch is the next one.
pub(super) const MEMBERS: u16 = 3;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Machine {
    hash: [u8; 32],
    accounts: Accounts,
    members: Option<LogMembers>,
}

impl Machine {
    /// The balance of an account in cents.
    pub(super) fn balance(&self, account: u32) -> Option<u64> {
        self.accounts.balance(account)
    }
}

impl StateMachine for Machine {
    fn knows(&self, kind: u16) -> bool {
        kind <= MEMBERS
    }

    fn apply(&mut self, block: &BlockContext, op: &Op) -> Effect {
        self.hash = Digest::of(&[&self.hash[..], &block.height.to_le_bytes(), &op.encode()].concat()).0;
        if self.accounts.knows(op.kind()) {
            return self.accounts.apply(block, op);
        }
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
        let accounts = self.accounts.snapshot();
        out.extend_from_slice(&u32::try_from(accounts.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&accounts);
        if let Some(members) = &self.members {
            out.extend_from_slice(&members.epoch().to_le_bytes());
            members.keys().iter().for_each(|key| out.extend_from_slice(&key.0));
        }
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut reader = Reader::new(bytes);
        let hash = reader.array("hash")?;
        let length = reader.u32("length of the accounts")?;
        let accounts = Accounts::restore(reader.take("accounts", length as usize)?)?;
        let rest = reader.rest();
        if rest.is_empty() {
            return Ok(Self { hash, accounts, members: None });
        }
        let mut reader = Reader::new(rest);
        let epoch = reader.u64("epoch")?;
        let keys = reader.rest().chunks_exact(32).map(|key| NodeKey(key.try_into().unwrap()));
        Ok(Self { hash, accounts, members: LogMembers::new(epoch, keys) })
    }

    fn members(&self) -> Option<LogMembers> {
        self.members.clone()
    }
}
