//! Gets that are cut off go on where they stopped, and leave nothing but the part that the next one continues.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::blobs::content;
use support::processes::{Processes, program};
use support::proxy::Proxy;
use support::until;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use vouch_core::digest::{ClusterId, Digest};

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 32 * MIB;
/// Bytes a second that a client may receive: it is always in the middle of it.
const RATE: u64 = 16 * MIB;
/// What comes beside a file's bytes: hellos, the committee, proofs, the blob's end; and what was under way when a link was cut.
const BESIDE: u64 = 3 * MIB;

/// A cluster of processes behind a proxy, with a file on it.
struct World {
    cluster: Processes,
    proxy: Proxy,
    identity: ClusterId,
    bytes: Vec<u8>,
    folder: TempDir,
}

impl World {
    async fn start() -> Self {
        let cluster = Processes::start(4).await;
        let bytes = content(20_261_201, usize::try_from(LENGTH).unwrap());
        let identity = cluster.put(&bytes).await.unwrap().committee.cluster();
        let proxy = Proxy::start(cluster.address()).await;
        proxy.set_receive_rate(RATE);
        Self { cluster, proxy, identity, bytes, folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, output: &str) -> Command {
        let mut command = Command::new(program());
        let (digest, identity) = (Digest::of(&self.bytes).to_string(), self.identity.to_string());
        command.args([
            "get",
            &digest,
            "-o",
            output,
            "--json",
            "--cluster",
            &identity,
            "--server",
            self.proxy.address(),
        ]);
        let folder = self.folder.path();
        command.current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Begins a get, and waits until somewhat of it came.
    async fn begin(&self, output: &str, some: u64) -> Child {
        let before = self.proxy.received();
        let child = self.command(output).spawn().unwrap();
        self.proxy.until_received(before + some).await;
        child
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn assert_whole(&self, path: &Path) {
        assert!(std::fs::read(path).unwrap() == self.bytes, "other bytes");
    }
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

/// Whatever ends it, a part is left and nothing else, and no byte of it comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_was_killed_goes_on_where_it_stopped() {
    let world = World::start().await;
    let before = world.proxy.received();
    let mut held = 0;
    for signal in ["INT", "TERM", "KILL"] {
        let mut child = world.begin("copy", 6 * MIB).await;
        let id = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
        assert!(!child.wait().await.unwrap().success());
        assert_eq!(world.names(), ["copy.part"], "{signal}");
        let part = std::fs::read(world.path("copy.part")).unwrap();
        assert!(part.len() as u64 > held + MIB && world.bytes.starts_with(&part), "{signal}: {} bytes", part.len());
        held = part.len() as u64;
    }
    let last = world.proxy.received();
    let output = world.command("copy").output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    world.assert_whole(&world.path("copy"));
    assert_eq!(world.names(), ["copy"]);
    let from = json(&output.stdout)["resumed_from"].as_u64().unwrap();
    assert!(from < held && from + (16 << 10) >= held, "from {from}, {held} were there");
    assert!(world.proxy.received() - last < LENGTH - from + BESIDE, "got again what was there");
    // each of the four may lose what was under way
    assert!(world.proxy.received() - before < LENGTH + 4 * BESIDE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_lost_is_dialled_again() {
    let mut world = World::start().await;
    for output in ["copy", "-"] {
        let before = world.proxy.received();
        // standard output is a pipe: nothing comes through the proxy when nobody reads it
        let done = tokio::spawn(world.command(output).spawn().unwrap().wait_with_output());
        world.proxy.until_received(before + 4 * MIB).await;
        world.proxy.set_up(false);
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.proxy.set_up(true);
        world.proxy.until_received(before + 12 * MIB).await;
        // a server that comes back has no replicas at first
        world.cluster.restart_server().await;
        let done = done.await.unwrap().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report = if output == "-" { json(&done.stderr) } else { json(&done.stdout) };
        assert!(report["attempts"].as_u64().unwrap() >= 3 && report["resumed_from"] == 0, "{report}");
        match output {
            "-" => assert!(done.stdout == world.bytes, "other bytes"),
            file => world.assert_whole(&world.path(file)),
        }
        assert!(world.proxy.received() - before < LENGTH + 3 * BESIDE, "got twice what came once");
    }
    assert_eq!(world.names(), ["copy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_patience_a_lost_link_ends_the_get_and_says_what_stays() {
    let world = World::start().await;
    let before = world.proxy.received();
    let child = world.command("copy").args(["--retry", "0"]).spawn().unwrap();
    world.proxy.until_received(before + 6 * MIB).await;
    world.proxy.set_up(false);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = json(&output.stdout)["error"].as_str().unwrap().to_owned();
    assert!(error.ends_with(" are in copy.part; the same command goes on there."), "{error}");
    assert_eq!(world.names(), ["copy.part"]);
    world.proxy.set_up(true);
    until("the proxy is up", || std::net::TcpStream::connect(world.proxy.address()).is_ok()).await;
    let output = world.command("copy").output().await.unwrap();
    assert!(output.status.success() && json(&output.stdout)["resumed_from"].as_u64().unwrap() > MIB, "{output:?}");
    world.assert_whole(&world.path("copy"));
}
