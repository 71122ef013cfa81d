//! The process's output streams. A service writes through background writers, because a write to a pipe that nobody reads would
//! block the process.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use crate::host::background::BackgroundWriter;

/// How long the process waits at its end until its output is read.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// The background writers of a process that logs.
#[derive(Debug)]
pub(super) struct Streams {
    stdout: BackgroundWriter,
    pub(super) stderr: BackgroundWriter,
}

static STREAMS: OnceLock<Streams> = OnceLock::new();

/// Starts the background writers. `dropped` is called with the number of lines that were dropped because nobody read them.
///
/// # Errors
/// The system cannot start a thread.
pub(super) fn start(dropped: impl Fn(u64) + Copy + Send + 'static) -> io::Result<&'static Streams> {
    let stderr = BackgroundWriter::stderr(dropped)?;
    // the log reports lines that standard output lost
    let stdout = BackgroundWriter::stdout(dropped)?;
    Ok(STREAMS.get_or_init(|| Streams { stdout, stderr }))
}

/// Queues lines for standard output. `false` if this process does not log and writes directly.
pub(super) fn stdout(lines: &[u8]) -> bool {
    STREAMS.get().map(|streams| streams.stdout.write(lines.to_vec())).is_some()
}

/// Like [`stdout`], for standard error.
pub(super) fn stderr(lines: &[u8]) -> bool {
    STREAMS.get().map(|streams| streams.stderr.write(lines.to_vec())).is_some()
}

/// Waits until everything queued is written, for at most [`FLUSH_DEADLINE`] per stream.
pub(super) fn flush() {
    if let Some(streams) = STREAMS.get() {
        streams.stdout.flush(FLUSH_DEADLINE);
        streams.stderr.flush(FLUSH_DEADLINE);
    }
}
