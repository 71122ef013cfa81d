//! Budgets against strangers, held by tasks. The rules are [`vouch_node_core::budgets`]; a [`Pool`] is a [`FairShare`] that tasks
//! take from and wait for.
//!
//! [`FairShare`]: vouch_node_core::budgets::FairShare

mod pool;

pub use pool::{Full, Party, Permit, Pool, Rules};
