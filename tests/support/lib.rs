//! What the tests share: clusters, in this process or of child processes, and ends of links that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation ends the test")]

pub mod attacks;
pub mod blobs;
pub mod fake_replica;
pub mod fake_server;
pub mod http;
pub mod in_process;
pub mod processes;
pub mod proxy;
pub mod raw_link;
pub mod s3;
pub mod wrong_clock;

use std::time::{Duration, Instant};
use vouch::host::Host;

/// Asks again and again until `is_so`.
///
/// # Panics
/// When it is not so within two minutes.
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

/// What a process printed, without the time and the level that lines of its log begin with.
pub fn unstamped(log: &str) -> String {
    log.split_inclusive('\n').map(|line| message_of(line).unwrap_or(line)).collect()
}

/// The message of a line of a log; `None` for another line.
pub fn message_of(line: &str) -> Option<&str> {
    let (time, rest) = line.split_once(' ')?;
    let is_time = time.starts_with("20") && time.contains('T') && time.ends_with('Z');
    let (level, message) = rest.trim_start().split_once(' ')?;
    (is_time && ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level)).then_some(message)
}
