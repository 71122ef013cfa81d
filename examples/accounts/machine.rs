//! Bank accounts as a replicated state machine.
//!
//! A state machine is a value, what an op does to it, and its encoding. Copy this file to write your own.

use std::collections::BTreeMap;

use vouch_core::codec::{DecodeError, Reader, in_range};
use vouch_core::log::{Effect, Op, OpFormatError};
use vouch_node_core::log::state_machine::{BlockContext, RestoreError, StateMachine};

/// Maximum number of accounts. A state machine bounds itself: its snapshot must stay small.
pub const MAX_ACCOUNTS: usize = 100_000;
/// Maximum balance in cents, 2^53 − 1.
pub const MAX_BALANCE: u64 = (1 << 53) - 1;

/// What a client asks for. Money is whole cents: floating-point numbers may differ between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Adds to an account, and opens it if there is none.
    Deposit {
        /// The account's number.
        account: u32,
        /// The amount.
        cents: u64,
    },
    /// Takes a part of the balance. A fraction of a cent stays in the account.
    Charge {
        /// The account's number.
        account: u32,
        /// The part, 1 to 100.
        percent: u8,
    },
}

impl Request {
    const DEPOSIT: u16 = 1;
    const CHARGE: u16 = 2;

    /// The op that asks for this. `nonce`: random bytes, so that two equal requests are two ops.
    ///
    /// # Errors
    /// [`OpFormatError`], if the time of expiry is no valid time.
    pub fn op(self, nonce: [u8; 16], expires_at: u64) -> Result<Op, OpFormatError> {
        let (kind, body) = match self {
            Self::Deposit { account, cents } => {
                (Self::DEPOSIT, [&account.to_le_bytes()[..], &cents.to_le_bytes()].concat())
            }
            Self::Charge { account, percent } => (Self::CHARGE, [&account.to_le_bytes()[..], &[percent]].concat()),
        };
        Op::new(kind, nonce, expires_at, body)
    }

    fn of(op: &Op) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(op.body());
        let account = reader.u32("account")?;
        let request = match op.kind() {
            Self::DEPOSIT => Self::Deposit { account, cents: reader.safe_u64("cents")? },
            _ => {
                let percent = reader.u8("percent")?;
                in_range("percent", percent.into(), 1, 100)?;
                Self::Charge { account, percent }
            }
        };
        reader.finish()?;
        Ok(request)
    }
}

/// What the machine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Done: the balance in cents.
    Balance(u64),
    /// Not done: the op's body is no request.
    Malformed,
    /// Not done: there is no such account.
    NoAccount,
    /// Not done: there are too many accounts, or the balance would be too large.
    Full,
}

impl Reply {
    fn effect(self) -> Effect {
        let bytes = match self {
            Self::Balance(cents) => [&[0][..], &cents.to_le_bytes()].concat(),
            Self::Malformed => vec![1],
            Self::NoAccount => vec![2],
            Self::Full => vec![3],
        };
        // At most 9 bytes, so it is an effect.
        Effect::new(bytes).unwrap_or_default()
    }

    /// The reply that an effect contains, for the client.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn of(effect: &Effect) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(effect.bytes());
        let reply = match reader.u8("reply")? {
            0 => Self::Balance(reader.safe_u64("balance")?),
            1 => Self::Malformed,
            2 => Self::NoAccount,
            3 => Self::Full,
            got => return Err(DecodeError::OutOfRange { field: "reply", min: 0, max: 3, got: got.into() }),
        };
        reader.finish()?;
        Ok(reply)
    }
}

/// The accounts with their balances in cents. An ordered map, so that all replicas encode it in the same order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    balances: BTreeMap<u32, u64>,
}

impl Accounts {
    /// The balance of an account in cents.
    pub fn balance(&self, account: u32) -> Option<u64> {
        self.balances.get(&account).copied()
    }

    fn execute(&mut self, request: Request) -> Reply {
        match request {
            Request::Deposit { account, cents } => {
                let old = self.balance(account);
                let balance = old.unwrap_or(0).saturating_add(cents);
                if balance > MAX_BALANCE || (old.is_none() && self.balances.len() >= MAX_ACCOUNTS) {
                    return Reply::Full;
                }
                self.balances.insert(account, balance);
                Reply::Balance(balance)
            }
            Request::Charge { account, percent } => {
                let Some(balance) = self.balances.get_mut(&account) else { return Reply::NoAccount };
                *balance -= *balance * u64::from(percent) / 100;
                Reply::Balance(*balance)
            }
        }
    }
}

impl StateMachine for Accounts {
    fn knows(&self, kind: u16) -> bool {
        matches!(kind, Request::DEPOSIT | Request::CHARGE)
    }

    fn apply(&mut self, _block: &BlockContext, op: &Op) -> Effect {
        Request::of(op).map_or(Reply::Malformed, |request| self.execute(request)).effect()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 * self.balances.len());
        for (account, balance) in &self.balances {
            out.extend_from_slice(&account.to_le_bytes());
            out.extend_from_slice(&balance.to_le_bytes());
        }
        out
    }

    fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut reader = Reader::new(bytes);
        let count = bytes.len().div_ceil(12);
        in_range("number of accounts", count as u64, 0, MAX_ACCOUNTS as u64)?;
        let mut balances = BTreeMap::new();
        for _ in 0..count {
            let account = reader.u32("account")?;
            let balance = reader.safe_u64("balance")?;
            // Otherwise one state would have several encodings.
            if let Some((last, _)) = balances.last_key_value().filter(|(last, _)| **last >= account) {
                let got = format!("{account} after {last}");
                return Err(RestoreError::Rule { field: "accounts", expected: "ascending numbers", got });
            }
            balances.insert(account, balance);
        }
        Ok(Self { balances })
    }
}
