#![doc = include_str!("../PROTOCOL.md")]

pub mod bls;
pub mod bugs;
pub mod bundle;
pub mod certificate;
pub mod chain;
pub mod clocks;
pub mod codec;
pub mod committee;
pub mod comparison;
pub mod digest;
#[cfg(feature = "nodes")]
pub mod founding;
pub mod limits;
pub mod link;
pub mod log;
pub mod merkle;
pub mod message;
#[cfg(feature = "nodes")]
pub mod perfect_link;
pub mod placement;
pub mod quorum;
pub mod receipt;
pub mod report;
pub mod session;
#[cfg(feature = "nodes")]
pub mod signed_time;
pub mod slice;
pub mod statement;
pub mod tally;
pub mod tree;
pub mod trust;
pub mod verify;

pub use codec::DecodeError;
pub use limits::{Limits, MAX_SAFE_INTEGER};
