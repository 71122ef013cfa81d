//! Budgets that bound what unauthenticated peers can hold. The rules are in [`vouch_node_core::budgets`]; a [`Pool`] is a [`FairShare`]
//! from which tasks take permits, and for which they wait.
//!
//! [`FairShare`]: vouch_node_core::budgets::FairShare

mod pool;

pub use pool::{Full, Party, Permit, Pool, Rules};
