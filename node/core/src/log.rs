//! The ordered log: replicas agree on one order of operations although up to f of them lie and the network does what it likes.
//!
//! The log decides and performs nothing. Agreement is the work of a consensus library behind `engine`; all else is here.

pub mod applied;
mod catch_up;
pub(crate) mod effect;
mod encoding;
mod engine;
pub mod interface;
mod log_core;
pub mod members;
pub mod messages;
pub mod notes;
pub mod op_pool;
mod outbox;
pub mod recovery;
pub mod state_machine;
pub mod state_transfer;
pub mod verified_op;
pub mod wal_record;
pub mod wire;

#[cfg(test)]
mod tests;

pub use engine::{CertificateError, EngineError, EngineInput, EngineTimeout, JudgedBlock, TimeoutStep};
pub use log_core::{LogConfig, LogCore};
