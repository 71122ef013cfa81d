//! What servers and replicas decide.
//!
//! Everything here is a value. An event and the present time go in, and what to do comes out; the crate `vouch` performs it. There
//! is no socket, file, clock, thread, task or randomness in it, and its dependencies have none either, so that a test or a
//! simulation can drive every decision under a seed. `now` is the time since an arbitrary start, on a clock that never goes back.

pub mod backoff;
pub mod budgets;
#[cfg(test)]
mod fixture;
pub mod replica;
pub mod server;
