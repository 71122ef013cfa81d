//! Signals that would end the program where an error can be handled.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// A write beyond the limit of a file's size (`ulimit -f`) fails with an error, which is treated as a full disk. Without this the
/// system ends the process with SIGXFSZ. Call it on a runtime, before files are written; it lasts until the process ends.
///
/// # Errors
/// When the system installs no handler.
pub fn survive_size_limits() -> io::Result<()> {
    // the handler stays when the receiver is dropped
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
