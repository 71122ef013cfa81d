//! What a server decides: who takes part in a put, what is certified together, who is waited for.

pub mod batch;
mod ended_waits;
mod grace_period;
pub mod health;
pub mod put;
mod roster;

pub use grace_period::GracePeriod;
pub use roster::{Membership, Roster};
