//! Writers to standard output and standard error that never block.
//!
//! A thread writes the lines of a bounded queue. If the queue is full, further lines are dropped and counted: otherwise a pipe
//! that nobody reads would block the whole process at its next line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::tasks;

#[cfg(test)]
mod tests;

/// Capacity of the queue in bytes. The thread may be writing as many again.
const QUEUE: usize = 1 << 20;

/// Writes lines in the background. Clones share one queue.
#[derive(Debug, Clone)]
pub struct BackgroundWriter(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<LineQueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LineQueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread is writing lines that it took from the queue.
    is_writing: bool,
    dropped: u64,
    /// The writing thread. Its own lines, such as the number of dropped ones, are never dropped.
    writer: Option<ThreadId>,
}

impl BackgroundWriter {
    /// Writes to this process's standard output.
    ///
    /// # Errors
    /// The system cannot start a thread or duplicate the descriptor.
    pub fn stdout(resumed: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        Self::start("stdout", File::from(io::stdout().as_fd().try_clone_to_owned()?), resumed)
    }

    /// Writes to this process's standard error.
    ///
    /// # Errors
    /// The system cannot start a thread or duplicate the descriptor.
    pub fn stderr(resumed: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        Self::start("stderr", File::from(io::stderr().as_fd().try_clone_to_owned()?), resumed)
    }

    /// Writes to `output` on a thread with this name. The thread calls `resumed` with the number of dropped lines once
    /// it can write again.
    fn start(
        name: &str,
        output: impl Write + Send + 'static,
        resumed: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let thread = queue.clone();
        // The thread ends with the process: a blocked write cannot be interrupted.
        drop(tasks::spawn_thread(name, move || thread.run(output, &resumed))?);
        Ok(Self(queue))
    }

    /// Queues whole lines, or drops and counts them.
    pub fn write(&self, lines: Vec<u8>) {
        let mut state = self.0.lock();
        let is_own = state.writer == Some(thread::current().id());
        if state.bytes + lines.len() > QUEUE && !is_own {
            state.dropped += 1;
            return;
        }
        state.bytes += lines.len();
        state.lines.push_back(lines);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until everything queued is written, for at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut LineQueueState| !state.lines.is_empty() || state.is_writing;
        drop(self.0.changed.wait_timeout_while(self.0.lock(), timeout, is_busy));
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, LineQueueState> {
        // Recover from poisoning: every change leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: impl Write, resumed: &impl Fn(u64)) {
        self.lock().writer = Some(thread::current().id());
        loop {
            let mut state = self.lock();
            while state.lines.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let mut lines = std::mem::take(&mut state.lines);
            (state.bytes, state.is_writing) = (0, true);
            drop(state);
            let written = output.write_all(&lines.make_contiguous().concat());
            let mut state = self.lock();
            let dropped = match written {
                Ok(()) => std::mem::take(&mut state.dropped),
                // a full disk, or a pipe without a reader
                Err(_) => {
                    state.dropped += lines.len() as u64;
                    0
                }
            };
            drop(state);
            if dropped > 0 {
                resumed(dropped);
            }
            self.lock().is_writing = false;
            self.changed.notify_all();
        }
    }
}

impl Write for &BackgroundWriter {
    /// Queues whole lines: a log formatter writes each event with one call.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        BackgroundWriter::write(self, lines.to_vec());
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
