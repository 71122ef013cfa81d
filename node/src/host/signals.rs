//! Signals that would end the process although it can go on.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error, which is treated as a full disk. Without this, the
/// system ends the process with SIGXFSZ. Call it on a runtime, before files are written. It lasts until the process ends.
///
/// # Errors
/// The system cannot install a handler.
pub fn survive_size_limits() -> io::Result<()> {
    // the handler stays when the receiver is dropped
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

/// The signals that ask the process to stop (SIGTERM of a supervisor, SIGINT of Ctrl-C).
#[derive(Debug)]
pub struct Terminations(Option<(Signals, Signals)>);

impl Terminations {
    /// Takes these signals from now on. They do not end the process any more.
    pub fn listen() -> Self {
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        Self(terminate.ok().zip(interrupt.ok()))
    }

    /// Completes at the next signal.
    pub async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            biased;
            Some(()) = terminate.recv() => {}
            Some(()) = interrupt.recv() => {}
            else => std::future::pending().await,
        }
    }
}

/// The signals that ask the process to read its files again (SIGHUP).
#[derive(Debug)]
pub struct Hangups(Option<Signals>);

impl Hangups {
    /// Takes these signals from now on. They do not end the process any more.
    pub fn listen() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    /// Completes at the next signal.
    pub async fn next(&mut self) {
        let received = match &mut self.0 {
            Some(signals) => signals.recv().await,
            None => None,
        };
        if received.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
