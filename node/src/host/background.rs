//! Lines to standard output and standard error that never wait for whoever reads them.
//!
//! A thread writes what a bounded queue holds. A line that finds the queue full is dropped and counted: otherwise a pipe
//! that nobody reads would stop the whole process at its next line.

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

/// Bytes that wait for the reader; as many again may be in the thread's hands.
const QUEUE: usize = 1 << 20;

/// Writes lines in the background. Clones share one queue.
#[derive(Debug, Clone)]
pub struct BackgroundWriter(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The thread has lines in its hands.
    is_writing: bool,
    dropped: u64,
    /// The thread that writes: what it says itself is never dropped.
    writer: Option<ThreadId>,
}

impl BackgroundWriter {
    /// Writes to this process's standard output.
    ///
    /// # Errors
    /// When the system has no thread or descriptor to give.
    pub fn stdout(resumed: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        Self::start("stdout", File::from(io::stdout().as_fd().try_clone_to_owned()?), resumed)
    }

    /// Writes to this process's standard error.
    ///
    /// # Errors
    /// When the system has no thread or descriptor to give.
    pub fn stderr(resumed: impl Fn(u64) + Send + 'static) -> io::Result<Self> {
        Self::start("stderr", File::from(io::stderr().as_fd().try_clone_to_owned()?), resumed)
    }

    /// Writes to `output` on a thread of this name. `resumed` is called there with the number of lines that were dropped, once
    /// lines are written again.
    fn start(
        name: &str,
        output: impl Write + Send + 'static,
        resumed: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::<Queue>::default();
        let thread = queue.clone();
        // it ends with the process: nobody can tell a write that hangs to stop
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

    /// Waits until everything queued is written, for so long at most.
    pub fn flush(&self, patience: Duration) {
        let is_busy = |state: &mut State| !state.lines.is_empty() || state.is_writing;
        // whoever does not read loses the rest
        drop(self.0.changed.wait_timeout_while(self.0.lock(), patience, is_busy));
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // every change leaves the state whole
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
                // a full disk, or a pipe whose reader is gone
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
    /// Queues whole lines; a formatter writes each event with one call.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        BackgroundWriter::write(self, lines.to_vec());
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
