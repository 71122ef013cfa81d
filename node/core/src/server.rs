//! The decisions of a server: which members take part in a put, which blobs share a batch, and how long the server waits for slow
//! members.

mod admission;
pub mod batch;
pub mod client_gets;
mod core;
mod ended_waits;
pub mod fanout;
mod grace_period;
pub mod health;
pub mod link_puts;
pub mod put;
mod roster;
mod stream_numbers;

pub use admission::Admission;
pub use core::{Reply, ServerClock, ServerCore, ServerInput, ServerOutput};
pub use grace_period::GracePeriod;
pub use roster::{Membership, Roster};
pub use stream_numbers::StreamNumbers;
