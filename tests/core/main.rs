//! Tests of the core.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod building_blocks;
mod example;
mod founding;
mod golden;
mod links;
mod messages;
mod properties;
mod sessions;
mod slices;
mod strategies;
mod tampering;
mod trees;
mod vectors;
mod world;
