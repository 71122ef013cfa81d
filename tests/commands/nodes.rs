//! Servers and replicas as users start them: from one folder, without flags.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};

use crate::program;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A long-running process, killed when dropped.
pub struct Node {
    child: Child,
    log: NamedTempFile,
}

impl Node {
    /// Starts the program with these arguments.
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

    /// Its output so far, without times and levels.
    pub fn log(&self) -> String {
        support::unstamped(&self.printed())
    }

    /// Its output so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Waits for the first complete line that contains this text.
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
            assert!(!has_ended && began.elapsed() < TIMEOUT, "no line with {what:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        // it may have ended already
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Waits for its end; returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server on a free port, and its replicas.
pub struct Cluster {
    pub server: Node,
    pub replicas: Vec<Node>,
    /// The server's `host:port`.
    pub address: String,
    /// Working folder of all nodes; dropped after they ended.
    pub root: TempDir,
}

impl Cluster {
    /// Starts a server and replicas, and waits until all joined.
    pub fn start(replicas: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut server = Node::start(root.path(), &["server", "0"]);
        let line = server.line_with("listening on ");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        let nodes = (0..replicas).map(|_| Node::start(root.path(), &["replica", &address])).collect();
        if replicas > 0 {
            server.line_with(&format!("; {replicas} connected"));
        }
        Self { server, replicas: nodes, address, root }
    }
}
