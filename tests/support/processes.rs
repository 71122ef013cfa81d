//! A cluster of child processes, which can be killed, stopped and restarted. Dropping it ends them all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
use vouch::client::ClientError;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::session::Certified;

use crate::blobs::{Got, get_bytes, put_bytes};
use crate::{unstamped, until};

/// The program under test: `vouch` two folders above the test's executable, or `VOUCH_PROGRAM` (to test another build).
///
/// # Panics
/// If it was not built.
pub fn program() -> PathBuf {
    static KEPT: OnceLock<PathBuf> = OnceLock::new();
    match std::env::var_os("VOUCH_PROGRAM") {
        Some(path) => path.into(),
        None => KEPT.get_or_init(|| kept(&built())).clone(),
    }
}

/// A second name of the program, which stays when the first one is replaced: a test runs `cargo build`, whose program has other features.
fn kept(built: &Path) -> PathBuf {
    let folder = built.with_file_name("tested");
    let (path, new) = (folder.join("vouch"), folder.join(format!("new-{}", std::process::id())));
    fs::create_dir_all(&folder).unwrap();
    fs::hard_link(built, &new).unwrap();
    // another process of tests may be about to run the old one
    fs::rename(&new, &path).unwrap();
    // a rename does nothing if both are names of one file
    let _ = fs::remove_file(&new);
    path
}

fn built() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("vouch");
    let folder = path.parent().unwrap().display();
    assert!(
        path.is_file(),
        "{folder} has no program `vouch`; run `cargo build -p vouch` (with --release for a release build)"
    );
    path
}

/// Keeps a command from the files of whoever runs the tests: this folder becomes its home, and neither a variable nor a file configures
/// it.
pub fn isolate(command: &mut Command, home: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VOUCH_") {
            command.env_remove(name);
        }
    }
    // a file of the machine counts, too
    command.env("HOME", home).env("VOUCH_CONFIG", "/dev/null");
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "STATE_DIRECTORY", "RUST_LOG"] {
        command.env_remove(name);
    }
}

/// A command of the program in a folder that is also its home; see [`isolate`].
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    isolate(command.current_dir(folder), folder);
    command
}

/// The same, which can be waited for.
pub fn async_command(folder: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(command(folder));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command of the program to its end.
pub async fn run(folder: &Path, arguments: &[&str]) -> Output {
    run_program(&program(), folder, arguments).await
}

/// Runs a command of this program to its end.
pub async fn run_program(program: &Path, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    isolate(command.current_dir(folder), folder);
    let mut command = tokio::process::Command::from(command);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

/// One process with its arguments, folder and log.
#[derive(Debug)]
pub struct Node {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    /// Limit of open files, if any (`ulimit -n`).
    open_files: Option<u32>,
    child: Option<Child>,
}

impl Node {
    fn new(root: &Path, name: &str, arguments: &[&str]) -> Self {
        let folder = root.join(name);
        let mut all: Vec<OsString> = arguments.iter().map(Into::into).collect();
        all.extend(["--data".into(), folder.clone().into()]);
        let log = root.join(format!("{name}.log"));
        let (name, program, environment) = (name.into(), program(), Vec::new());
        Self { name, program, arguments: all, log, folder, environment, open_files: None, child: None }
    }

    /// Its name, also the name of its folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an argument, effective from the next start.
    pub fn add_argument(&mut self, argument: &str) {
        self.arguments.push(argument.into());
    }

    /// Runs another program, from the next start.
    pub fn use_program(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// Sets an environment variable, effective from the next start.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Its output over all restarts, without times and levels.
    pub fn log(&self) -> String {
        unstamped(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Starts it; it must not be running.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let root = self.log.parent().unwrap();
        let mut command = match self.open_files {
            Some(files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {files} && exec \"$@\""), "sh"]).arg(&self.program);
                shell
            }
            None => Command::new(&self.program),
        };
        isolate(&mut command, root);
        command.args(&self.arguments).current_dir(root).stdin(Stdio::null());
        command.envs(self.environment.iter().cloned());
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Terminates it as a supervisor does (SIGTERM); returns its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// Asks it to stop (SIGTERM), and does not wait.
    pub fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Waits until it exits by itself; returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// Suspends it (SIGSTOP); its connections stay open.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// Resumes it (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Asks it to read its files again (SIGHUP).
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// Its process id; it must be running.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Its peak resident memory, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Its resident memory now, in bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, key: &str) -> u64 {
        let id = self.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One server and its replicas.
#[derive(Debug)]
pub struct Processes {
    /// The server.
    pub server: Node,
    /// The replicas, `replica-0` first.
    pub replicas: Vec<Node>,
    address: String,
    // removed after the processes ended
    root: TempDir,
}

impl Processes {
    /// Starts a server and `n` replicas, and waits until all joined.
    pub async fn start(n: usize) -> Self {
        Self::start_in(&std::env::temp_dir(), n).await
    }

    /// Starts a server with these arguments, without replicas.
    pub async fn start_server_with(arguments: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (server, address) = start_server(root.path(), "server", arguments).await;
        Self { root, server, replicas: Vec::new(), address }
    }

    /// The same, of this program.
    pub async fn start_server_of(program: &Path, arguments: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut server = Node::new(root.path(), "server", &[&["server", "127.0.0.1:0"], arguments].concat());
        server.use_program(program);
        let (server, address) = listening(server).await;
        Self { root, server, replicas: Vec::new(), address }
    }

    /// Starts one more replica of this program, with additional arguments.
    pub fn add_replica_of(&mut self, program: &Path, number: usize, more: &[&str]) {
        let name = format!("replica-{number}");
        let mut node =
            Node::new(self.root.path(), &name, &[&["replica", &self.address], more, &["--name", &name]].concat());
        node.use_program(program);
        node.start();
        self.replicas.push(node);
    }

    /// Starts a server limited to `files` open files, and `n` replicas that joined.
    pub async fn start_with_open_files(n: usize, files: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (server, address) = start_server_limited(root.path(), "server", &[], Some(files)).await;
        let mut cluster = Self { root, server, replicas: Vec::new(), address };
        for number in 0..n {
            cluster.add_replica(number);
        }
        cluster.until_connected().await;
        cluster
    }

    /// Starts a server and replicas on existing data folders: `server`, and `replica-N` for each number.
    pub async fn reopen(root: TempDir, numbers: std::ops::RangeInclusive<usize>) -> Self {
        let (server, address) = start_server(root.path(), "server", &[]).await;
        let mut cluster = Self { root, server, replicas: Vec::new(), address };
        for number in numbers {
            cluster.add_replica(number);
        }
        cluster.until_connected().await;
        cluster
    }

    /// Like `start`, with everything in a new folder inside `folder`.
    pub async fn start_in(folder: &Path, n: usize) -> Self {
        let root = tempfile::tempdir_in(folder).unwrap();
        let (server, address) = start_server(root.path(), "server", &[]).await;
        let mut cluster = Self { root, server, replicas: Vec::new(), address };
        for number in 0..n {
            cluster.add_replica(number);
        }
        cluster.until_connected().await;
        cluster
    }

    /// Like `start`, with replicas that accept connections of each other.
    pub async fn start_listening(n: usize) -> Self {
        let mut cluster = Self::start_server_with(&[]).await;
        for number in 0..n {
            cluster.add_replica_with(number, &["--listen", "127.0.0.1:0"]);
        }
        cluster.until_connected().await;
        cluster
    }

    /// Starts one more replica.
    pub fn add_replica(&mut self, number: usize) {
        self.add_replica_with(number, &[]);
    }

    /// Starts one more replica with additional arguments, such as further servers.
    pub fn add_replica_with(&mut self, number: usize, more: &[&str]) {
        self.add_replica_in(number, more, &[]);
    }

    /// Starts one more replica with additional arguments and environment variables.
    pub fn add_replica_in(&mut self, number: usize, more: &[&str], environment: &[(&str, &str)]) {
        self.add_replica_through(&self.address.clone(), number, more, environment);
    }

    /// The same, but the replica dials `dialled` instead of the server.
    pub fn add_replica_through(&mut self, dialled: &str, number: usize, more: &[&str], environment: &[(&str, &str)]) {
        let name = format!("replica-{number}");
        let arguments = [&["replica", dialled], more, &["--name", &name]].concat();
        let mut node = Node::new(self.root.path(), &name, &arguments);
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        node.environment = owned.collect();
        node.start();
        self.replicas.push(node);
    }

    /// Process ids of all nodes.
    pub fn ids(&self) -> Vec<u32> {
        [&self.server].into_iter().chain(&self.replicas).map(Node::id).collect()
    }

    /// `host:port` of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The folder that holds all data folders and logs.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Restarts the server on its port.
    pub async fn restart_server(&mut self) {
        self.server.kill();
        self.start_server_again().await;
    }

    /// Starts a server that has ended, on its port.
    pub async fn start_server_again(&mut self) {
        fs::write(&self.server.log, "").unwrap();
        let listen = self.address.clone();
        self.server.arguments[1] = listen.into();
        self.server.start();
        until("the server listens", || self.server.log().contains("listening on ")).await;
    }

    /// Starts a second server with its own folder; returns it with its address.
    pub async fn another_server(&self, name: &str) -> (Node, String) {
        self.another_server_with(name, &[]).await
    }

    /// The same, with these arguments.
    pub async fn another_server_with(&self, name: &str, arguments: &[&str]) -> (Node, String) {
        start_server(self.root.path(), name, arguments).await
    }

    /// What `vouch status` says about a running replica.
    pub async fn status_of(&self, replica: &Node) -> Value {
        let folder = replica.folder().to_str().unwrap();
        let output = run(self.root(), &["status", "--json", "--data", folder]).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Whether a replica is connected to the server.
    pub fn is_connected(&self, name: &str) -> bool {
        is_connected(&self.server, name)
    }

    /// Waits until every running replica has joined.
    pub async fn until_connected(&self) {
        for replica in self.replicas.iter().filter(|replica| replica.child.is_some()) {
            until(&format!("{} joins", replica.name), || self.is_connected(&replica.name)).await;
        }
    }

    /// Waits until the server has noticed that a replica left.
    pub async fn until_left(&self, number: usize) {
        let name = &self.replicas[number].name;
        until(&format!("{name} leaves"), || !self.is_connected(name)).await;
    }

    /// Puts bytes.
    ///
    /// # Errors
    /// The put's error.
    pub async fn put(&self, bytes: &[u8]) -> Result<Certified, ClientError> {
        put_bytes(&self.address, None, bytes).await
    }

    /// Gets a blob.
    ///
    /// # Errors
    /// The get's error.
    pub async fn get(&self, trusted: ClusterId, digest: Digest) -> Result<Got, ClientError> {
        get_bytes(&self.address, Some(trusted), digest).await
    }
}

async fn start_server(root: &Path, name: &str, more: &[&str]) -> (Node, String) {
    start_server_limited(root, name, more, None).await
}

async fn start_server_limited(root: &Path, name: &str, more: &[&str], open_files: Option<u32>) -> (Node, String) {
    let mut server = Node::new(root, name, &[&["server", "127.0.0.1:0"], more].concat());
    server.open_files = open_files;
    listening(server).await
}

/// Starts a server, and waits until it listens.
async fn listening(mut server: Node) -> (Node, String) {
    server.start();
    let mut address = None;
    until("the server listens", || {
        let log = server.log();
        let line = log.lines().find_map(|line| line.strip_prefix("listening on "));
        // the next line shows that the address line is complete
        address = line.filter(|_| log.contains("server identity")).map(str::to_owned);
        address.is_some()
    })
    .await;
    (server, address.unwrap())
}

/// Whether a replica is connected, according to the server's log.
pub fn is_connected(server: &Node, name: &str) -> bool {
    let mut links: BTreeMap<String, i32> = BTreeMap::new();
    for line in server.log().lines() {
        if let Some((name, _)) = line.split_once(" joined (") {
            *links.entry(name.into()).or_default() += 1;
        } else if let Some((name, _)) = line.split_once(" left: ") {
            *links.entry(name.into()).or_default() -= 1;
        }
    }
    links.get(name).is_some_and(|count| *count > 0)
}
