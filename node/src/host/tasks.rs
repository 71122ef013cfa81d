//! Tasks, blocking work and timers.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
pub use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Interval;
pub use tokio::time::MissedTickBehavior;
use tokio::time::error::Elapsed;

use super::Host;
use super::blocking::BlockingWork;

/// Runs all of a node's work in one thread, so that a simulation is repeatable.
pub trait OneThread: Debug + Send + Sync {
    /// A task was started. A simulated crash of the node aborts it.
    fn started(&self, task: AbortHandle);
    /// The simulated duration of the next blocking work.
    fn work_duration(&self) -> Duration;
}

impl Host {
    /// Spawns a task.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(future);
        if let Some(thread) = &self.0.one_thread {
            thread.started(task.abort_handle());
        }
        task
    }

    /// Runs blocking work (disk, hashing, pairings) on a thread for it.
    pub fn spawn_blocking<F, T>(&self, work: F) -> BlockingWork<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        BlockingWork(match &self.0.one_thread {
            None => tokio::task::spawn_blocking(work),
            Some(thread) => {
                let takes = thread.work_duration();
                self.spawn(async move {
                    tokio::time::sleep(takes).await;
                    work()
                })
            }
        })
    }

    /// Starts a named thread that takes the waiting jobs of a queue, at most `limit` at a time, until the queue is closed.
    ///
    /// # Errors
    /// The operating system cannot start a thread.
    pub fn spawn_worker<J: Send + 'static>(
        &self,
        name: &str,
        queue: mpsc::Receiver<J>,
        limit: usize,
        work: impl FnMut(Vec<J>) + Send + 'static,
    ) -> io::Result<Worker> {
        match &self.0.one_thread {
            None => Ok(Worker::Thread(
                std::thread::Builder::new().name(name.into()).spawn(thread_loop(queue, limit, work))?,
            )),
            Some(_) => Ok(Worker::Task(self.spawn(task_loop(self.clone(), queue, limit, work)))),
        }
    }

    /// Waits for a duration.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits for a future, at most this long.
    ///
    /// # Errors
    /// The timeout passed first. The future is dropped.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(duration, future).await
    }

    /// Ticks at once, then after each period.
    pub fn interval(&self, period: Duration) -> Interval {
        tokio::time::interval(period)
    }
}

/// A worker that takes jobs until its queue is closed.
#[derive(Debug)]
pub enum Worker {
    /// On a thread.
    Thread(std::thread::JoinHandle<()>),
    /// In a task.
    Task(JoinHandle<()>),
}

impl Worker {
    /// Whether the worker has ended.
    pub fn is_finished(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Task(task) => task.is_finished(),
        }
    }

    /// Waits until a worker's thread has done all jobs. Close its queue first. Does not wait for a task.
    pub fn join(self) {
        match self {
            // A job may own the last handle to the worker; do not join its own thread.
            Self::Thread(thread) if thread.thread().id() == std::thread::current().id() => {}
            // If a job panicked, its caller got no answer and knows.
            Self::Thread(thread) => drop(thread.join()),
            Self::Task(_) => {}
        }
    }
}

fn thread_loop<J>(mut queue: mpsc::Receiver<J>, limit: usize, mut work: impl FnMut(Vec<J>)) -> impl FnOnce() {
    move || {
        loop {
            let mut jobs = Vec::new();
            match queue.blocking_recv_many(&mut jobs, limit) {
                0 => return,
                _ => work(jobs),
            }
        }
    }
}

async fn task_loop<J>(host: Host, mut queue: mpsc::Receiver<J>, limit: usize, mut work: impl FnMut(Vec<J>)) {
    loop {
        let mut jobs = Vec::new();
        match queue.recv_many(&mut jobs, limit).await {
            0 => return,
            _ => {
                let takes = host.0.one_thread.as_ref().map_or(Duration::ZERO, |thread| thread.work_duration());
                tokio::time::sleep(takes).await;
                work(jobs);
            }
        }
    }
}

/// Starts a named thread.
///
/// # Errors
/// The operating system cannot start a thread.
pub(super) fn spawn_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}
