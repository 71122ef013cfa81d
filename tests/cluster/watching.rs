//! `vouch status --watch` on a terminal: what it shows fits the window, and nothing is left of what it showed before.

use std::process::Stdio;
use std::time::Duration;

use support::processes::{Processes, program};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};

const TIMEOUT: Duration = Duration::from_secs(60);

/// The characters of a terminal. It understands what `status --watch` writes, and panics at anything else.
struct Screen {
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// Bytes that begin a character or a command.
    pending: Vec<u8>,
    /// Number of frames that were shown completely.
    frames: usize,
    /// Whether the terminal breaks lines.
    wraps: bool,
}

impl Screen {
    fn new(columns: usize, rows: usize) -> Self {
        let cells = vec![vec![' '; columns]; rows];
        Self { cells, row: 0, column: 0, pending: Vec::new(), frames: 0, wraps: true }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        loop {
            let pending = std::mem::take(&mut self.pending);
            let text = match std::str::from_utf8(&pending) {
                Ok(text) => text,
                Err(error) => std::str::from_utf8(&pending[..error.valid_up_to()]).unwrap(),
            };
            let Some(first) = text.chars().next() else { return self.pending = pending };
            let used = match first {
                '\x1b' => match text.find(|c: char| c.is_ascii_alphabetic()) {
                    Some(end) => {
                        self.command(&text[1..=end]);
                        end + 1
                    }
                    None => return self.pending = pending,
                },
                c => {
                    self.print(c);
                    c.len_utf8()
                }
            };
            self.pending = pending[used..].to_vec();
        }
    }

    fn command(&mut self, command: &str) {
        match command {
            "[H" => (self.row, self.column) = (0, 0),
            "[2J" => self.cells.iter_mut().for_each(|row| row.fill(' ')),
            // Behind the last column, the cursor is on it.
            "[K" => {
                let column = self.column.min(self.cells[0].len() - 1);
                self.cells[self.row][column..].fill(' ');
            }
            "[J" => {
                self.cells[self.row][self.column..].fill(' ');
                self.cells[self.row + 1..].iter_mut().for_each(|row| row.fill(' '));
            }
            "[?7l" => self.wraps = false,
            "[?7h" => {
                self.wraps = true;
                self.frames += 1;
            }
            other => panic!("{other:?}"),
        }
    }

    fn print(&mut self, c: char) {
        match c {
            '\r' => self.column = 0,
            '\n' => {
                self.row += 1;
                assert!(self.row < self.cells.len(), "it scrolls:\n{}", self.text());
            }
            c => {
                assert!(!self.wraps, "a frame is not broken by the terminal");
                assert!(self.column < self.cells[0].len(), "too long:\n{}", self.text());
                self.cells[self.row][self.column] = c;
                self.column += 1;
            }
        }
    }

    fn text(&self) -> String {
        let lines = self.cells.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }
}

/// A command on a terminal of its own.
struct OnTerminal {
    /// Ends with this.
    _script: Child,
    output: ChildStdout,
    screen: Screen,
}

impl OnTerminal {
    fn start(cluster: &Processes, columns: usize, rows: usize) -> Self {
        let command = format!(
            "stty cols {columns} rows {rows}; exec '{}' status --server {} --watch",
            program().display(),
            cluster.address()
        );
        // Of util-linux: it runs a command on a pseudo-terminal.
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).env("HOME", cluster.root());
        script.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut script = script.spawn().unwrap();
        let output = script.stdout.take().unwrap();
        Self { _script: script, output, screen: Screen::new(columns, rows) }
    }

    /// Waits until a whole frame fits; returns it.
    async fn frame(&mut self, what: &str, is_meant: impl Fn(&str) -> bool) -> String {
        let shown = async {
            let mut buffer = [0; 4096];
            loop {
                let frames = self.screen.frames;
                let count = self.output.read(&mut buffer).await.unwrap();
                assert!(count > 0, "it ended:\n{}", self.screen.text());
                self.screen.take(&buffer[..count]);
                let text = self.screen.text();
                if self.screen.frames > frames && self.screen.pending.is_empty() && is_meant(&text) {
                    return text;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, shown).await.unwrap_or_else(|_| panic!("not shown: {what}"))
    }
}

/// The lines without the time in the first one, joined again.
fn joined(frame: &str) -> String {
    let (_, rest) = frame.split_once('\n').unwrap();
    rest.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_is_redrawn_in_place() {
    let mut cluster = Processes::start(4).await;
    cluster.put(b"first").await.unwrap();
    let mut narrow = OnTerminal::start(&cluster, 40, 24);
    let mut low = OnTerminal::start(&cluster, 80, 8);
    let well = |text: &str| text.matches(" well").count() == 4;
    let before = narrow.frame("all are well", well).await;
    cluster.replicas[2].kill();
    // The longer text of the missing member takes two lines.
    let missing = narrow.frame("one is missing", |text| text.contains("replica-2 missing")).await;
    assert!(missing.lines().count() > before.lines().count(), "{missing}\n{before}");
    cluster.replicas[2].start();
    let after = narrow.frame("all are well again", well).await;
    let lines = |frame: &str| frame.lines().count();
    assert_eq!(lines(&after), lines(&before), "{after}\n{before}");
    assert!(!after.contains("missing") && !after.contains("not connected"), "{after}");
    let once = support::processes::run(cluster.root(), &["status", "--server", cluster.address()]).await;
    let once = String::from_utf8(once.stdout).unwrap();
    assert_eq!(joined(&after), once.split_whitespace().collect::<String>());
    // What does not fit is counted.
    let low = low.frame("the rest is counted", |text| text.contains(" more lines")).await;
    assert_eq!(low.lines().count(), 7, "{low}");
    assert!(low.starts_with("at ") && low.contains("\ncluster    "), "{low}");
}
