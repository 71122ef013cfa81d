//! Whole clusters: what a put and a get promise, under every fault that the protocol claims to survive.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod attacks;
mod bad_clients;
mod changing_files;
mod clocks;
mod committees;
mod damaged_index;
mod elsewhere;
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
mod objects;
mod operators;
mod proved;
mod put_get;
mod reasons;
mod repair;
mod restarts;
mod resume;
mod reuse;
mod votes;
