//! The trace of a run: all its events in order. If two runs of a seed have different hashes, something does not follow from the seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// The trace of one run. Clones share it.
#[derive(Debug, Clone)]
pub struct Trace(Arc<Mutex<TraceState>>);

#[derive(Debug)]
struct TraceState {
    began: Instant,
    hasher: blake3::Hasher,
    /// The lines, if they are to be compared.
    lines: Option<Vec<String>>,
    /// Whether each line is shown at once: a run that never ends shows how far it is.
    is_shown: bool,
}

impl Trace {
    pub fn new(keeps_lines: bool, is_shown: bool) -> Self {
        let (began, lines) = (Instant::now(), keeps_lines.then(Vec::new));
        Self(Arc::new(Mutex::new(TraceState { began, hasher: blake3::Hasher::new(), lines, is_shown })))
    }

    fn state(&self) -> MutexGuard<'_, TraceState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, what: std::fmt::Arguments<'_>) {
        let mut state = self.state();
        let line = format!("{:>9.3} {what}", state.began.elapsed().as_secs_f64());
        let line = without_numbers_of_files(line);
        state.hasher.update(line.as_bytes());
        state.hasher.update(b"\n");
        if state.is_shown {
            println!("{line}");
        }
        if let Some(lines) = &mut state.lines {
            lines.push(line);
        }
    }

    pub fn hash(&self) -> blake3::Hash {
        self.state().hasher.finalize()
    }

    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone().unwrap_or_default()
    }
}

/// Removes the numbers from names of partial uploads: the whole process counts them, so other runs affect them.
fn without_numbers_of_files(line: String) -> String {
    const FOLDER: &str = "/partial/";
    match line.split_once(FOLDER) {
        Some((before, after)) => format!("{before}{FOLDER}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line,
    }
}
