//! Where this process writes: by itself, or, once it logs, through writers in the background, for a pipe that nobody reads would
//! stop a process that writes to it.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use crate::host::background::BackgroundWriter;

/// How long the process waits at its end for the reader of its output.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The writers of a process that logs.
#[derive(Debug)]
pub(super) struct Streams {
    stdout: BackgroundWriter,
    pub(super) stderr: BackgroundWriter,
}

static STREAMS: OnceLock<Streams> = OnceLock::new();

/// From now on this process writes nothing by itself. `dropped` hears how many lines nobody read.
///
/// # Errors
/// The system has no thread to give.
pub(super) fn start(dropped: impl Fn(u64) + Copy + Send + 'static) -> io::Result<&'static Streams> {
    let stderr = BackgroundWriter::stderr(dropped)?;
    // of the few lines there, the log tells what was lost
    let stdout = BackgroundWriter::stdout(dropped)?;
    Ok(STREAMS.get_or_init(|| Streams { stdout, stderr }))
}

/// Queues lines for standard output; `false` when this process does not log, and writes by itself.
pub(super) fn stdout(lines: &[u8]) -> bool {
    STREAMS.get().map(|streams| streams.stdout.write(lines.to_vec())).is_some()
}

/// As [`stdout`], for standard error.
pub(super) fn stderr(lines: &[u8]) -> bool {
    STREAMS.get().map(|streams| streams.stderr.write(lines.to_vec())).is_some()
}

/// Waits until everything is written, if it is read at all.
pub(super) fn flush() {
    if let Some(streams) = STREAMS.get() {
        streams.stdout.flush(LAST_LINES);
        streams.stderr.flush(LAST_LINES);
    }
}
