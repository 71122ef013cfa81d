//! The decisions of a server: which members take part in a put, which blobs share a batch, how long the server waits for slow members, and
//! what it does for replicas: lists of certificates, endorsements, the members' times.

mod admission;
pub mod batch;
pub mod certificate_search;
pub mod client_gets;
mod core;
mod ended_waits;
pub mod endorsement;
pub mod fanout;
pub mod founding;
mod grace_period;
pub mod health;
pub mod link_puts;
pub mod log_heads;
pub mod log_requests;
pub mod member_lists;
pub mod put;
mod request_limits;
pub mod reuse;
mod roster;
mod stream_numbers;
pub mod succession;
pub mod time_relay;

pub use admission::Admission;
pub use core::{Reply, ServerClock, ServerCore, ServerInput, ServerOutput};
pub use request_limits::RequestLimits;
pub use roster::{Membership, Roster};
pub use stream_numbers::StreamNumbers;
