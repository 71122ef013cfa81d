//! The one door to what a program cannot decide by itself: clock, randomness, sockets, files, threads.
//!
//! Everything else in this crate reaches them through here, so that a whole cluster can be run in one thread under a seed by
//! putting other functions behind these names.

#![allow(clippy::disallowed_methods, reason = "this is the one place for them")]

pub mod background;
pub mod clock;
pub mod disk;
pub mod entropy;
pub mod files;
pub mod net;
pub mod objects;
pub mod resources;
pub mod signals;
pub mod source;
pub mod tasks;
