//! Tests of `vouch-core` through its public interface. No IO, no clock.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod access_vectors;
mod building_blocks;
mod chains;
mod docs;
mod epoch_messages;
mod epochs;
mod example;
mod fork_vectors;
mod founding;
mod golden;
mod links;
mod log_bundle_vectors;
mod log_values;
mod membership;
mod messages;
mod op_vectors;
mod properties;
mod sessions;
mod slices;
mod strategies;
mod tampering;
mod trees;
mod vectors;
