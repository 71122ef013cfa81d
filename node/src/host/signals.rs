//! Signals that would end the process although it can handle the error.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error, which is treated as a full disk. Without this, the
/// system ends the process with SIGXFSZ. Call it on a runtime, before files are written. It lasts until the process ends.
///
/// # Errors
/// The system cannot install a handler.
pub fn survive_size_limits() -> io::Result<()> {
    // the handler stays when the receiver is dropped
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}
