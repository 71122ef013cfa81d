//! The ordered log: replicas agree on one order of operations although up to f of them lie and the network does what it likes.
//!
//! The log decides and performs nothing. Agreement is the work of a consensus library behind `engine`; all else is here.

pub mod applied;
pub mod members;
pub mod notes;
pub mod op_pool;
pub mod state_machine;
pub mod verified_op;
