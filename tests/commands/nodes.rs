//! Servers and replicas as people start them: from one folder, without flags.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};

use crate::program;

const PATIENCE: Duration = Duration::from_secs(60);

/// One process that goes on until it is killed.
pub struct Node {
    child: Child,
    log: NamedTempFile,
}

impl Node {
    /// The program with these arguments.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = program::command(folder);
        command.args(args);
        Self::run(&mut command)
    }

    pub fn run(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let output = || File::options().append(true).open(log.path()).unwrap();
        let child = command.stdin(Stdio::null()).stdout(output()).stderr(output()).spawn().unwrap();
        Self { child, log }
    }

    /// All that it printed, without times and levels.
    pub fn log(&self) -> String {
        support::unstamped(&self.printed())
    }

    /// All that it printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// The first complete line with this text in it, waited for.
    pub fn line_with(&mut self, text: &str) -> String {
        self.line_where(text, |line| line.contains(text))
    }

    pub fn line_where(&mut self, what: &str, is_meant: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let log = self.log();
            if let Some(line) = log.split_inclusive('\n').find(|line| line.ends_with('\n') && is_meant(line)) {
                return line.trim_end().to_owned();
            }
            assert!(!has_ended && began.elapsed() < PATIENCE, "no line with {what:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        // one that ended before is as good
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server on a free port, and replicas.
pub struct Cluster {
    pub server: Node,
    pub replicas: Vec<Node>,
    /// The server's, host:port.
    pub address: String,
    // everybody was started from it; removed after they ended
    _root: TempDir,
}

impl Cluster {
    /// Started, and all replicas joined.
    pub fn start(replicas: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut server = Node::start(root.path(), &["server", "0"]);
        let line = server.line_with("listening on ");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        let nodes = (0..replicas).map(|_| Node::start(root.path(), &["replica", &address])).collect();
        if replicas > 0 {
            server.line_with(&format!("; {replicas} connected"));
        }
        Self { server, replicas: nodes, address, _root: root }
    }
}
