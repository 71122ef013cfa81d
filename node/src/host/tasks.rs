//! Tasks, blocking work and waiting.

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

/// Has all of a node's work done in one thread, so that a run repeats.
pub trait OneThread: Debug + Send + Sync {
    /// A task was started. A crash of the node aborts it.
    fn started(&self, task: AbortHandle);
    /// How long the next blocking work takes.
    fn work_takes(&self) -> Duration;
}

impl Host {
    /// Runs a future beside the others.
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

    /// Runs blocking work (disks, hashing, pairings) on a thread of its own.
    pub fn spawn_blocking<F, T>(&self, work: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match &self.0.one_thread {
            None => tokio::task::spawn_blocking(work),
            Some(thread) => {
                let takes = thread.work_takes();
                self.spawn(async move {
                    tokio::time::sleep(takes).await;
                    work()
                })
            }
        }
    }

    /// Does jobs that wait in a queue, as many at once as there are, at most so many, on a named thread, until the queue is closed.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn spawn_worker<J: Send + 'static>(
        &self,
        name: &str,
        queue: mpsc::Receiver<J>,
        most: usize,
        work: impl FnMut(Vec<J>) + Send + 'static,
    ) -> io::Result<Worker> {
        match &self.0.one_thread {
            None => {
                Ok(Worker::Thread(std::thread::Builder::new().name(name.into()).spawn(threaded(queue, most, work))?))
            }
            Some(_) => Ok(Worker::Task(self.spawn(in_task(self.clone(), queue, most, work)))),
        }
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits for a future, but no longer than this.
    ///
    /// # Errors
    /// When the time is up first; the future is dropped.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(duration, future).await
    }

    /// Ticks at once, then every so often.
    pub fn interval(&self, period: Duration) -> Interval {
        tokio::time::interval(period)
    }
}

/// Does jobs until its queue is closed.
#[derive(Debug)]
pub enum Worker {
    /// On a thread.
    Thread(std::thread::JoinHandle<()>),
    /// In a task.
    Task(JoinHandle<()>),
}

impl Worker {
    /// Whether it does nothing more.
    pub fn is_finished(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            Self::Task(task) => task.is_finished(),
        }
    }

    /// Waits until the jobs are done, where they have a thread of their own. Its queue is closed before.
    pub fn join(self) {
        match self {
            // a job may own the last handle; its thread then ends by itself
            Self::Thread(thread) if thread.thread().id() == std::thread::current().id() => {}
            // a panic there was a job's, which has been told by its answer's absence
            Self::Thread(thread) => drop(thread.join()),
            Self::Task(_) => {}
        }
    }
}

fn threaded<J>(mut queue: mpsc::Receiver<J>, most: usize, mut work: impl FnMut(Vec<J>)) -> impl FnOnce() {
    move || {
        loop {
            let mut jobs = Vec::new();
            match queue.blocking_recv_many(&mut jobs, most) {
                0 => return,
                _ => work(jobs),
            }
        }
    }
}

async fn in_task<J>(host: Host, mut queue: mpsc::Receiver<J>, most: usize, mut work: impl FnMut(Vec<J>)) {
    loop {
        let mut jobs = Vec::new();
        match queue.recv_many(&mut jobs, most).await {
            0 => return,
            _ => {
                let takes = host.0.one_thread.as_ref().map_or(Duration::ZERO, |thread| thread.work_takes());
                tokio::time::sleep(takes).await;
                work(jobs);
            }
        }
    }
}

/// Starts a named thread that lives as long as its work.
///
/// # Errors
/// When the operating system has no thread to give.
pub(super) fn spawn_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}
