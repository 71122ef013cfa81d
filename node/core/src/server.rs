//! What a server decides: who takes part in a put, what is certified together, who is waited for.

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
