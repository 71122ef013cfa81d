//! What the tests share: clusters, in this process or of child processes, and ends of links that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation ends the test")]

pub mod blobs;
pub mod fake_replica;
pub mod fake_server;
pub mod http;
pub mod in_process;
pub mod processes;
pub mod proxy;
pub mod raw_link;
pub mod s3;

use std::time::{Duration, Instant};

/// Asks again and again until `is_so`.
///
/// # Panics
/// When it is not so within a minute.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Duration::from_secs(60);
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience, "not within {} s: {what}", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    vouch::host::clock::unix_seconds()
}
