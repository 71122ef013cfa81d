//! Budgets against strangers: what somebody unauthenticated may hold, by address and in total.
//!
//! The rule is the same for every resource. While there is room, anybody takes. When there is none, the address that holds most
//! gives way to one that would hold less: its holder that made no progress for longest is cut off. Within one address a holder
//! gives way only when it made no progress for a while. So a flood from one address costs that address and no other.

mod address;
mod limit_report;
mod rate;
mod share;

pub use address::PeerAddress;
pub use limit_report::LimitReport;
pub use rate::{AddressBuckets, TokenBucket};
pub use share::{FairShare, Holder};
