//! Budgets against strangers: what somebody unauthenticated may hold, by address and in total.
//!
//! [`FairShare`], [`Bucket`], [`Buckets`] and [`Tally`] are values: time comes as an argument, and nothing in them is a socket. [`Pool`] is a
//! [`FairShare`] that tasks take from and wait for.
//!
//! The rule is the same for every resource. While there is room, anybody takes. When there is none, the address that holds most
//! gives way to one that would hold less: its holder that made no progress for longest is cut off. Within one address a holder
//! gives way only when it made no progress for a while. So a flood from one address costs that address and no other.

mod address;
mod pool;
mod rate;
mod share;
mod tally;

pub use address::PeerAddress;
pub use pool::{Full, Party, Permit, Pool, Rules};
pub use rate::{Bucket, Buckets};
pub use share::{FairShare, Holder};
pub use tally::Tally;
