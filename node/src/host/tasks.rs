//! Tasks, blocking work and waiting.

use std::future::Future;
use std::io;
use std::time::Duration;

pub use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Interval;
pub use tokio::time::MissedTickBehavior;
use tokio::time::error::Elapsed;

/// Runs a future beside the others.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Runs blocking work (disks, hashing, pairings) on a thread of its own.
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

/// Starts a named thread that lives as long as its work.
///
/// # Errors
/// When the operating system has no thread to give.
pub fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for a future, but no longer than this.
///
/// # Errors
/// When the time is up first; the future is dropped.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await
}

/// Ticks at once, then every so often.
pub fn interval(period: Duration) -> Interval {
    tokio::time::interval(period)
}
