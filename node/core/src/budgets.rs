//! Budgets that bound what unauthenticated peers may hold, by address and in total.
//!
//! The rule is the same for every resource. While there is room, any address may take it. When there is none, the address that holds
//! most gives way to one that would hold less: its holder that has made no progress for the longest time is cut off. Within one address, a
//! holder gives way only after a time without progress. So a flood from one address affects no other.

mod address;
mod limit_report;
mod rate;
mod share;

pub use address::PeerAddress;
pub use limit_report::LimitReport;
pub use rate::{AddressBuckets, TokenBucket};
pub use share::{FairShare, Holder};
