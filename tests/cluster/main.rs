//! Whole clusters: the guarantees of put and get, under every fault that the protocol claims to survive.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod attacks;
mod bad_clients;
mod changing_files;
mod chunk_proofs;
mod clocks;
mod committees;
mod damaged_index;
mod failure_reasons;
mod fairness;
mod first_edition;
mod founding;
mod full_disk;
mod get_resume;
mod http;
mod http_blobs;
mod http_faults;
mod http_origins;
mod http_ranges;
mod http_state;
mod kills;
mod lists;
mod lost_replicas;
mod lying_replicas;
mod lying_servers;
mod many_puts;
mod memory;
mod object_store;
mod objects;
mod operators;
mod put_get;
mod repair;
mod restarts;
mod resume;
mod reuse;
mod votes;
