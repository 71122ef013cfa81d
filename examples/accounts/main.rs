//! The classic example of a replicated state machine: an account with $100, and two clients that at the same time ask to deposit $100 and
//! to charge 10 %. The balance is $190 or $180, depending on the order; the log makes it the same at every replica.
//!
//! Run it with `cargo run -p vouch-node-core --example accounts`.

mod machine;
#[cfg(test)]
mod tests;

use std::error::Error;

use machine::{Accounts, Reply, Request};
use vouch_core::digest::ClusterId;
use vouch_core::link::NodeSecretKey;
use vouch_core::log::SignedOp;
use vouch_node_core::log::applied::Applied;
use vouch_node_core::log::members::LogMembers;
use vouch_node_core::log::verified_op::VerifiedOp;

const ACCOUNT: u32 = 1;
/// In cents.
const HUNDRED_DOLLARS: u64 = 10_000;
/// The blocks' time, seconds since 1970.
const TIME: u64 = 1_790_000_000;

/// Four members and their states.
struct Cluster {
    id: ClusterId,
    keys: Vec<NodeSecretKey>,
    states: Vec<Applied<Accounts>>,
}

impl Cluster {
    fn new() -> Option<Self> {
        let id = ClusterId([1; 32]);
        let keys: Vec<_> = (1..=4).map(|i| NodeSecretKey::from_bytes(&[i; 32])).collect();
        let members = LogMembers::new(0, keys.iter().map(NodeSecretKey::node_key))?;
        let states = vec![Applied::genesis(id, members, Accounts::default()); keys.len()];
        Some(Self { id, keys, states })
    }

    /// A client's request, submitted by one of the members. `number`: different for each request; a program uses random bytes.
    fn submit(&self, request: Request, number: u8, member: usize) -> Result<VerifiedOp, Box<dyn Error>> {
        let op = request.op([number; 16], TIME + 60)?;
        Ok(VerifiedOp::verify(SignedOp::sign(op, &self.id, &self.keys[member]), &self.id)?)
    }

    /// One member proposes a block of these ops, and all execute it. In a cluster, a quorum first agrees that it is the next one.
    fn decide(&mut self, proposer: usize, ops: &[VerifiedOp]) -> Result<Vec<Reply>, Box<dyn Error>> {
        let author = self.keys[proposer].node_key();
        let proposed = self.states[proposer].build(ops, author, TIME)?.ok_or("no op may be in the block")?;
        for state in &mut self.states {
            *state = state.validate(&proposed.block, |_, _| false)?.next;
        }
        Ok(proposed.results.iter().map(|result| Reply::of(&result.effect)).collect::<Result<_, _>>()?)
    }
}

fn dollars(cents: u64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

/// Starts with $100, and lets a member decide the two requests in the order in which it received them.
fn run(proposer: usize, deposit_first: bool) -> Result<(), Box<dyn Error>> {
    let mut cluster = Cluster::new().ok_or("a cluster has members")?;
    let opening = cluster.submit(Request::Deposit { account: ACCOUNT, cents: HUNDRED_DOLLARS }, 0, 0)?;
    cluster.decide(0, &[opening])?;

    let deposit = cluster.submit(Request::Deposit { account: ACCOUNT, cents: HUNDRED_DOLLARS }, 1, 1)?;
    let charge = cluster.submit(Request::Charge { account: ACCOUNT, percent: 10 }, 2, 2)?;
    let (order, ops) = match deposit_first {
        true => ("deposit $100, charge 10 %", [deposit, charge]),
        false => ("charge 10 %, deposit $100", [charge, deposit]),
    };
    cluster.decide(proposer, &ops)?;

    println!("decided: {order}");
    for (i, state) in cluster.states.iter().enumerate() {
        let balance = state.machine().balance(ACCOUNT).ok_or("the account is open")?;
        println!("  replica {}: {} at height {}, block {}", i + 1, dollars(balance), state.height(), state.block());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("An account has $100. Two clients ask at the same time: deposit $100, and charge 10 %.");
    run(1, true)?;
    run(2, false)
}
