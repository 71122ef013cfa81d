//! Runs the built program to its end.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::Value;

/// The repository's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

thread_local! {
    /// Warn once per test, as every test has its own thread.
    static WAS_TOLD: Cell<bool> = const { Cell::new(false) };
}

/// The program built beside this test.
pub fn path() -> PathBuf {
    let path = support::processes::program();
    let built = fs::metadata(&path).unwrap().modified().unwrap();
    let is_old = newest(&root().join("node/src")).max(newest(&root().join("shared/src"))) > built;
    if is_old && !WAS_TOLD.replace(true) {
        // cargo shows this only when a test fails, which is when it matters
        eprintln!("{} is older than its sources; run `cargo build -p vouch`", path.display());
    }
    path
}

fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let times = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A command of the program in a folder that is also its home: it reads and writes no file of the user.
pub fn command(folder: &Path) -> Command {
    path();
    let mut command = support::processes::command(folder);
    command.env("COLUMNS", "100").stdin(Stdio::null());
    command
}

/// Output and exit code of a run.
#[derive(Debug)]
pub struct Run {
    #[expect(dead_code, reason = "shown by failed expectations")]
    command_line: String,
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    /// Its standard output.
    ///
    /// # Panics
    /// When it failed.
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.text()
    }

    /// Its standard error.
    ///
    /// # Panics
    /// When it ended with another exit code.
    pub fn fails_with(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        &self.stderr
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Its standard output as one JSON object on one line.
    pub fn json(&self) -> Value {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "{self:#?}");
        let json: Value = serde_json::from_str(text).unwrap();
        assert!(json.is_object(), "{self:#?}");
        json
    }

    /// The rest of the standard output line that begins with this word.
    pub fn row(&self, name: &str) -> String {
        let after = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(|rest| rest.trim().to_owned());
        self.text().lines().find_map(after).unwrap_or_else(|| panic!("no row {name}: {self:#?}"))
    }
}

/// Runs a command.
pub fn run(command: &mut Command, input: &[u8]) -> Run {
    let command_line = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || match stdin.write_all(input) {
            // the program may end without reading all input
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        });
        child.wait_with_output().unwrap()
    });
    let stderr = String::from_utf8(output.stderr).unwrap();
    Run { command_line, code: output.status.code(), stdout: output.stdout, stderr }
}

/// Runs the program in a folder with empty standard input.
pub fn vouch<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Run {
    vouch_with_input(folder, args, b"")
}

/// Runs the program in a folder.
pub fn vouch_with_input<S: AsRef<OsStr>>(folder: &Path, args: &[S], input: &[u8]) -> Run {
    run(command(folder).args(args), input)
}

/// Bytes of every value, so that they are not valid UTF-8.
pub fn binary(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"binary").finalize_xof().fill(&mut bytes);
    bytes
}
