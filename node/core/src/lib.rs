//! The decisions of servers and replicas, as state machines without IO.
//!
//! A state machine takes an input and the current time, and returns outputs; the crate `vouch` performs them. This crate and its
//! dependencies use no socket, file, clock, thread, task or randomness, so a test or a simulation can drive every decision under a
//! seed. `now` is monotonic: the time since an arbitrary start, on a clock that never goes back.

pub mod access;
pub mod backoff;
pub mod budgets;
pub mod cluster_state;
pub mod log;
pub mod membership;
pub mod page_verifier;
pub mod peers;
pub mod perfect_link;
pub mod replica;
pub mod server;

// The simulation runs the machine of `examples/accounts`, which names this crate from outside.
#[cfg(test)]
extern crate self as vouch_node_core;
#[cfg(test)]
use vouch_fixture as fixture;
