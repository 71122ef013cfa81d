//! Shared test helpers: clusters of tasks or child processes, and peers that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation ends the test")]

pub mod attacks;
pub mod blobs;
pub mod fake_replica;
pub mod fake_server;
pub mod http;
pub mod in_process;
pub mod metrics;
pub mod ordered_log;
pub mod processes;
pub mod proxy;
pub mod raw_link;
pub mod s3;
pub mod tls_relay;
pub mod wrong_clock;

pub use vouch_fixture as committee;

use std::time::{Duration, Instant};
use vouch::host::Host;

/// Polls `is_so` until it returns true.
///
/// # Panics
/// If that takes more than two minutes.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Duration::from_secs(120);
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < patience, "not within {} s: {what}", patience.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    Host::system().unix_seconds()
}

/// A process's output without the time and level at the start of log lines.
pub fn unstamped(log: &str) -> String {
    log.split_inclusive('\n').map(|line| message_of(line).unwrap_or(line)).collect()
}

/// The message of a log line; `None` for any other line.
pub fn message_of(line: &str) -> Option<&str> {
    let (time, rest) = line.split_once(' ')?;
    let is_time = time.starts_with("20") && time.contains('T') && time.ends_with('Z');
    let (level, message) = rest.trim_start().split_once(' ')?;
    (is_time && ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level)).then_some(message)
}
