//! Two versions of the program in one cluster: members, server and clients are updated one by one while puts go on, and back again.
//!
//! `VOUCH_OLD_PROGRAM` is the older program; `make upgrade-test` builds it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::blobs::content;
use support::processes::{Processes, program, run_program};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How long a change of the committee may take. The seal of the epoch before takes three minutes.
const CHANGE: Duration = Duration::from_secs(900);
/// How long a put is retried, as `vouch put --retry` takes it: longer than anything restarts.
const RETRY: &str = "3m";
/// How long a put and a get are tried. In the moment in which a committee takes over, no member of it is connected yet, and no blob is found; and a server
/// that ends while a client opens its link seems not to be one, so the client does not try again.
const MOMENT: Duration = Duration::from_secs(60);
const MEMBERS: usize = 4;

/// The two programs, the older one first.
#[derive(Clone)]
struct Programs([PathBuf; 2]);

const OLD: usize = 0;
const NEW: usize = 1;

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// What clients do, with either program.
#[derive(Clone)]
struct Clients {
    programs: Programs,
    root: PathBuf,
    server: String,
}

impl Clients {
    /// Runs a command of one of the programs, which must succeed.
    async fn run(&self, version: usize, arguments: &[&str]) -> String {
        let output = run_program(&self.programs.0[version], &self.root, arguments).await;
        assert!(output.status.success(), "version {version}: {arguments:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, of a command that may fail for a moment.
    async fn run_patiently(&self, version: usize, arguments: &[&str]) {
        let end = Instant::now() + MOMENT;
        loop {
            let output = run_program(&self.programs.0[version], &self.root, arguments).await;
            if output.status.success() {
                return;
            }
            assert!(Instant::now() < end, "version {version}: {arguments:?}: {}", text(&output));
            sleep(Duration::from_millis(250)).await;
        }
    }

    fn content(number: usize) -> Vec<u8> {
        // Small ones travel in one message, and larger ones in several.
        let length = if number.is_multiple_of(3) { 700_000 } else { 1000 };
        content(number as u64, length)
    }

    fn file(number: usize) -> String {
        format!("file-{number}")
    }

    /// Puts a file with one version, gets it with both, and verifies it with both.
    async fn put(&self, version: usize, number: usize) {
        let (file, server) = (Self::file(number), self.server.as_str());
        std::fs::write(self.root.join(&file), Self::content(number)).unwrap();
        self.run_patiently(version, &["put", &file, "--server", server, "--retry", RETRY]).await;
        self.check(number).await;
    }

    async fn check(&self, number: usize) {
        let file = Self::file(number);
        let bundle = format!("{file}.vouch");
        let identity = self.identity().await;
        for version in [OLD, NEW] {
            self.run(version, &["verify", &file, &bundle, "--cluster", &identity]).await;
            let got = format!("{file}.got-{version}");
            let _ = std::fs::remove_file(self.root.join(&got));
            let get = ["get", &bundle, "--output", &got, "--server", &self.server, "--retry", RETRY];
            self.run_patiently(version, &get).await;
            assert!(std::fs::read(self.root.join(&got)).unwrap() == Self::content(number), "{got}");
        }
    }

    /// The cluster's identity.
    async fn identity(&self) -> String {
        let shown = self.run(NEW, &["inspect", "first.vouch", "--json"]).await;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["cluster"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
    }
}

/// Puts that go on, with the one version and the other, until they are told to stop.
struct Puts {
    goes_on: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Puts {
    /// `first`: the number of the first file.
    fn start(clients: Clients, first: usize) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let until = goes_on.clone();
        let task = tokio::spawn(async move {
            let mut number = first;
            while until.load(Ordering::Relaxed) {
                clients.put(number % 2, number).await;
                number += 1;
            }
            number
        });
        Self { goes_on, task }
    }

    /// Waits for the last put, and returns the number of the next one.
    async fn stop(self) -> usize {
        self.goes_on.store(false, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// A cluster of both versions.
struct Mixed {
    nodes: Processes,
    clients: Clients,
    /// The folder of the clients and of the operator.
    _desk: TempDir,
}

impl Mixed {
    /// Every program is the older one.
    async fn start(programs: Programs) -> Self {
        let desk = tempfile::tempdir().unwrap();
        let old = programs.0[OLD].clone();
        let mut clients = Clients { programs, root: desk.path().to_owned(), server: String::new() };
        clients.run(OLD, &["operator", "init", "--key", "operator.key"]).await;
        let shown = clients.run(OLD, &["operator", "show", "--key", "operator.key"]).await;
        let key = shown.lines().find_map(|line| line.strip_prefix("public key")).unwrap().trim().to_owned();
        let operated = ["--operator", key.as_str()];
        let members = MEMBERS.to_string();
        let mut nodes = Processes::start_server_of(&old, &[&operated[..], &["--replicas", &members]].concat()).await;
        for number in 0..MEMBERS {
            nodes.add_replica_of(&old, number, &operated);
        }
        nodes.until_connected().await;
        clients.server = nodes.address().to_owned();
        std::fs::write(clients.root.join("first"), "first").unwrap();
        clients.run(OLD, &["put", "first", "--server", &clients.server, "--retry", RETRY]).await;
        Self { nodes, clients, _desk: desk }
    }

    /// Stops a member as a supervisor does, and starts it with another version on its folder.
    async fn change_replica(&mut self, number: usize, version: usize) {
        let replica = &mut self.nodes.replicas[number];
        assert_eq!(replica.terminate(), Some(0), "{}", replica.log());
        self.nodes.until_left(number).await;
        let replica = &mut self.nodes.replicas[number];
        replica.use_program(&self.clients.programs.0[version]);
        replica.start();
        self.until_ready(MEMBERS as u64).await;
    }

    async fn change_server(&mut self, version: usize) {
        assert_eq!(self.nodes.server.terminate(), Some(0), "{}", self.nodes.server.log());
        self.nodes.server.use_program(&self.clients.programs.0[version]);
        self.nodes.start_server_again().await;
        self.until_ready(MEMBERS as u64).await;
    }

    /// Waits until so many members are connected, and well as far as both versions can tell.
    async fn until_ready(&self, members: u64) {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let mut shown = String::new();
            for version in [OLD, NEW] {
                let command = ["status", "--server", &self.clients.server, "--json"];
                let output = run_program(&self.clients.programs.0[version], &self.clients.root, &command).await;
                shown.push_str(&text(&output));
            }
            let all = format!("\"connected\":{members},");
            if shown.matches(&all).count() == 2 && shown.matches("\"ready\":true").count() == 2 {
                return;
            }
            assert!(Instant::now() < end, "not ready: {shown}");
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// Gives every member a new vote key, proposed with this version and signed by the operator.
    async fn rotate(&self, version: usize, epoch: u64) {
        let server = self.clients.server.as_str();
        let end = Instant::now() + CHANGE;
        loop {
            let change = format!("{epoch}.change");
            let _ = std::fs::remove_file(self.clients.root.join(&change));
            self.clients.run(version, &["committee", "rotate", "--out", &change, "--server", server]).await;
            let signed =
                self.clients.run(version, &["operator", "sign", &change, "--key", "operator.key", "--yes"]).await;
            let propose = ["committee", "propose", &change, "--operator-signature", signed.trim(), "--server", server];
            let output = run_program(&self.clients.programs.0[version], &self.clients.root, &propose).await;
            if output.status.success() {
                break;
            }
            // The log starts a moment after the founding.
            assert!(Instant::now() < end, "{}", text(&output));
            sleep(Duration::from_secs(1)).await;
        }
        for version in [OLD, NEW] {
            let shown = self.clients.run(version, &["status", "--server", server]).await;
            assert!(shown.contains(&format!("\nepoch      {epoch}, committee ")), "{shown}");
        }
    }
}

/// The two versions, from the environment. They must be different files.
fn programs() -> Programs {
    let old = std::env::var_os("VOUCH_OLD_PROGRAM").expect("VOUCH_OLD_PROGRAM; run `make upgrade-test`");
    let programs = [old.into(), program()].map(|path: PathBuf| Path::new(&path).canonicalize().unwrap());
    assert!(
        std::fs::read(&programs[OLD]).unwrap() != std::fs::read(&programs[NEW]).unwrap(),
        "one and the same program"
    );
    Programs(programs)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds an older version, and takes minutes: make upgrade-test"]
async fn a_cluster_is_updated_and_put_back_while_puts_go_on() {
    let mut mixed = Mixed::start(programs()).await;
    let puts = Puts::start(mixed.clients.clone(), 0);
    for number in 0..MEMBERS / 2 {
        mixed.change_replica(number, NEW).await;
    }
    mixed.rotate(OLD, 1).await;
    for number in MEMBERS / 2..MEMBERS {
        mixed.change_replica(number, NEW).await;
    }
    mixed.change_server(NEW).await;
    let updated = puts.stop().await;
    assert!(updated > 4, "{updated} puts in all");
    println!("{updated} files put while the cluster was updated");

    // Back again: each older program opens the folder of the newer one.
    let puts = Puts::start(mixed.clients.clone(), updated);
    mixed.change_server(OLD).await;
    for number in 0..MEMBERS / 2 {
        mixed.change_replica(number, OLD).await;
    }
    mixed.rotate(NEW, 2).await;
    for number in MEMBERS / 2..MEMBERS {
        mixed.change_replica(number, OLD).await;
    }
    let all = puts.stop().await;
    assert!(all > updated + 4, "{all} puts in all");
    println!("{} files put while it was put back", all - updated);
    for number in 0..all {
        mixed.clients.check(number).await;
    }
    for version in [OLD, NEW] {
        mixed.clients.run(version, &["log", "note", "afterwards", "--server", &mixed.clients.server]).await;
    }
    for node in mixed.nodes.replicas.iter().chain([&mixed.nodes.server]) {
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}
