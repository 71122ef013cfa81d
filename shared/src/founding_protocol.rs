//! How a cluster is founded: which foundings a replica accepts and refuses, and what a server proposes and relays.
//!
//! A replica accepts at most one founding at a time, durably, and leaves it only when another member has refused it. So
//! two foundings that share a member never both get all acceptances. If foundings overlap, a replica that accepted one signs a
//! refusal of every founding with a greater digest, and the least digest wins. The specification's section *Founding* has the
//! rules; [`ReplicaFounding`] and [`ServerFounding`] apply them, without IO.

mod replica;
mod server;
#[cfg(test)]
mod tests;

pub use replica::{FoundingActions, ReplicaFounding, ReplicaFoundingEvent};
pub use server::{Candidate, OutgoingMessages, Progress, ServerFounding, ServerFoundingEvent};
