//! The parts of Vouch that perform IO: sockets, disks, command line. Decisions are made in `vouch-core` and `vouch-node-core`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests prepare and inspect files"))]

mod age;
pub mod budgets;
pub use vouch_core::bugs;
pub mod cli;
pub mod client;
pub mod committee_file;
pub mod data_dir;
pub mod durable;
pub mod epoch_files;
pub mod expires;
pub mod host;
pub mod keys;
pub mod known_clusters;
mod latest;
pub mod link;
pub mod log;
pub mod metrics;
mod notices;
mod operator_key;
pub mod passphrase;
pub mod pulse;
pub mod replica;
pub mod server;
pub mod store;
pub mod tls;
pub mod token_file;
mod xdg;
