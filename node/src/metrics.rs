//! Metrics for Prometheus: what a server and a replica measure, and the listener that serves it.
//!
//! `docs/METRICS.md` documents every metric; a test compares it with a scrape. Each event is counted at one place. What can be read from
//! the node's state is read when it is scraped, so that there is no second copy of it that could differ.
//!
//! Nothing secret is in a metric, and no digest, address or key. The labels are results, states and members' names, so that a label has no
//! more values than there are [codes](vouch_core::message::Code) or members.

mod families;
mod listener;
mod replica;
mod server;

use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;

pub(crate) use families::Traffic;
pub use listener::serve;
pub(crate) use replica::{ReplicaCounters, ReplicaFigures};
pub(crate) use server::{GetStep, MemberFigures, ServerCounters, ServerFigures};

/// A node whose metrics can be read while it runs.
pub trait MetricsSource: Send + Sync {
    /// Its metrics now.
    fn metrics(&self) -> BoxFuture<'_, Registry>;
}
