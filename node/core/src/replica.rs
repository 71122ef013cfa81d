//! The decisions of a replica.

pub mod assigned_blob;
pub mod clock_doubt;
pub mod collecting;
pub mod dialling;
pub mod handshake;
pub mod incoming;
pub mod lacking;
pub mod link;
pub mod log_calls;
mod log_event;
pub mod pace;
pub mod proposals;
pub mod repair;
pub mod scrubbing;
pub mod voting;

pub use log_event::Event;
