//! A server's decisions while it founds its committee, besides those of [`ServerFounding`](vouch_core::founding_protocol::ServerFounding): which
//! replicas it admits, how long a put waits, and when the operator is told what is missing.

mod committee_wait;
mod join_policy;
mod waiting_notice;

pub use committee_wait::CommitteeWait;
pub use join_policy::JoinPolicy;
pub use waiting_notice::{FOUNDING_TICK, WaitingNotice};
