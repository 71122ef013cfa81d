//! An interrupted get resumes at its offset. It leaves only the partial download that the next get continues.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use support::blobs::content;
use support::processes::{Processes, async_command};
use support::proxy::Proxy;
use support::until;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use vouch_core::digest::{ClusterId, Digest};

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 32 * MIB;
/// Rate at which a client receives, in bytes per second: slow enough to interrupt it midway.
const RATE: u64 = 16 * MIB;
/// Overhead beyond a file's bytes: hellos, the committee, proofs, the last group, and bytes in flight when a link was cut.
const OVERHEAD: u64 = 3 * MIB;

/// A cluster of processes behind a proxy, with a file on it.
struct GetWorld {
    cluster: Processes,
    proxy: Proxy,
    identity: ClusterId,
    bytes: Vec<u8>,
    folder: TempDir,
}

impl GetWorld {
    async fn start() -> Self {
        let cluster = Processes::start(4).await;
        let bytes = content(20_261_201, usize::try_from(LENGTH).unwrap());
        let identity = cluster.put(&bytes).await.unwrap().committee().cluster();
        let proxy = Proxy::start(cluster.address()).await;
        proxy.set_receive_rate(RATE);
        Self { cluster, proxy, identity, bytes, folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, output: &str) -> Command {
        let mut command = async_command(self.folder.path());
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
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a get, and waits until `some` bytes of it arrived.
    async fn start_get(&self, output: &str, some: u64) -> Child {
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

/// However a get ends, it leaves only a partial download, and no byte of that is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn killed_get_resumes_at_its_offset() {
    let world = GetWorld::start().await;
    let before = world.proxy.received();
    let mut held = 0;
    for signal in ["INT", "TERM", "KILL"] {
        world.proxy.set_receive_limit(world.proxy.received() + 6 * MIB);
        let mut child = world.start_get("copy", 6 * MIB).await;
        let id = child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().await.unwrap().success());
        assert!(!child.wait().await.unwrap().success());
        assert_eq!(world.names(), ["copy.part"], "{signal}");
        let part = std::fs::read(world.path("copy.part")).unwrap();
        assert!(part.len() as u64 > held + MIB && world.bytes.starts_with(&part), "{signal}: {} bytes", part.len());
        held = part.len() as u64;
    }
    world.proxy.set_receive_limit(u64::MAX);
    let last = world.proxy.received();
    let output = world.command("copy").output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    world.assert_whole(&world.path("copy"));
    assert_eq!(world.names(), ["copy"]);
    let from = json(&output.stdout)["resumed_from"].as_u64().unwrap();
    assert!(from < held && from + (16 << 10) >= held, "from {from}, {held} were there");
    assert!(world.proxy.received() - last < LENGTH - from + OVERHEAD, "bytes were received again");
    // each of the four interruptions may lose the bytes in flight
    assert!(world.proxy.received() - before < LENGTH + 4 * OVERHEAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_redials_a_lost_link() {
    let mut world = GetWorld::start().await;
    for output in ["copy", "-"] {
        let before = world.proxy.received();
        // standard output is a pipe: it must be read, or the download stalls
        let done = tokio::spawn(world.command(output).spawn().unwrap().wait_with_output());
        world.proxy.until_received(before + 4 * MIB).await;
        world.proxy.set_up(false);
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.proxy.set_up(true);
        world.proxy.until_received(before + 12 * MIB).await;
        // a restarted server has no replicas at first
        world.cluster.restart_server().await;
        let done = done.await.unwrap().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report = if output == "-" { json(&done.stderr) } else { json(&done.stdout) };
        assert!(report["attempts"].as_u64().unwrap() >= 3 && report["resumed_from"] == 0, "{report}");
        match output {
            "-" => assert!(done.stdout == world.bytes, "other bytes"),
            file => world.assert_whole(&world.path(file)),
        }
        assert!(world.proxy.received() - before < LENGTH + 3 * OVERHEAD, "bytes were received again");
    }
    assert_eq!(world.names(), ["copy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_link_without_retry_ends_the_get_and_reports_the_partial_download() {
    let world = GetWorld::start().await;
    let before = world.proxy.received();
    let child = world.command("copy").args(["--retry", "0"]).spawn().unwrap();
    world.proxy.until_received(before + 6 * MIB).await;
    world.proxy.set_up(false);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = json(&output.stdout)["error"].as_str().unwrap().to_owned();
    assert!(error.ends_with(" are in copy.part; run the same command again to resume."), "{error}");
    assert_eq!(world.names(), ["copy.part"]);
    world.proxy.set_up(true);
    until("the proxy is up", || std::net::TcpStream::connect(world.proxy.address()).is_ok()).await;
    let output = world.command("copy").output().await.unwrap();
    assert!(output.status.success() && json(&output.stdout)["resumed_from"].as_u64().unwrap() > MIB, "{output:?}");
    world.assert_whole(&world.path("copy"));
}

/// First and last byte of a range; both lie within a group.
const FIRST: u64 = 3 * MIB + 77;
const LAST: u64 = 27 * MIB + 5;

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

impl GetWorld {
    fn ranged(&self, range: &str) -> Command {
        let mut command = self.command("part");
        command.args(["--range", range]);
        command
    }

    /// Kills a get of a range midway; returns the bytes of its partial download.
    async fn killed_in_range(&self, range: &str) -> Vec<u8> {
        let before = self.proxy.received();
        let mut child = self.ranged(range).spawn().unwrap();
        self.proxy.until_received(before + 8 * MIB).await;
        child.kill().await.unwrap();
        assert_eq!(self.names(), ["part.part"]);
        std::fs::read(self.path("part.part")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_range_get_resumes_at_its_offset() {
    let world = GetWorld::start().await;
    let expected = &world.bytes[place(FIRST)..=place(LAST)];
    for (range, count) in [(format!("{FIRST}-{LAST}"), expected.len()), ("-20000000".into(), 20_000_000)] {
        let expected = match range.strip_prefix('-') {
            Some(_) => &world.bytes[world.bytes.len() - count..],
            None => expected,
        };
        let left = world.killed_in_range(&range).await;
        assert!(left.len() as u64 > MIB && expected.starts_with(&left), "{range}: {} bytes", left.len());
        let before = world.proxy.received();
        let output = world.ranged(&range).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(std::fs::read(world.path("part")).unwrap() == expected, "{range}: other bytes");
        assert_eq!(world.names(), ["part"]);
        let report = json(&output.stdout);
        let from = report["resumed_from"].as_u64().unwrap();
        assert!(from <= left.len() as u64 && from + (16 << 10) >= left.len() as u64, "{range}: {report}");
        assert_eq!(report["length"], count, "{report}");
        assert_eq!(
            report["range"]["last"].as_u64().unwrap() + 1 - report["range"]["first"].as_u64().unwrap(),
            count as u64
        );
        assert!(world.proxy.received() - before < count as u64 - from + OVERHEAD, "{range}: bytes were received again");
        std::fs::remove_file(world.path("part")).unwrap();
    }
}

/// Whatever a partial download holds, the output has only the wanted bytes.
#[tokio::test(flavor = "multi_thread")]
async fn partial_download_of_another_range_is_not_continued() {
    let world = GetWorld::start().await;
    let expected = &world.bytes[place(FIRST)..=place(LAST)];
    let left = world.killed_in_range(&format!("{FIRST}-{LAST}")).await;
    world.proxy.set_receive_rate(0);
    // a range that begins elsewhere
    let output = world.ranged(&format!("{}-{LAST}", FIRST + 1)).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = json(&output.stdout)["error"].as_str().unwrap().to_owned();
    assert!(error.contains("part.part exists and holds something else"), "{error}");
    assert!(std::fs::read(world.path("part.part")).unwrap() == left, "it is untouched");
    // a range with another end has the same bytes so far
    let short = FIRST + left.len() as u64 / 2;
    let output = world.ranged(&format!("{FIRST}-{short}")).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read(world.path("part")).unwrap() == expected[..=left.len() / 2]);
    assert!(json(&output.stdout)["resumed_from"].as_u64().unwrap() > 0);
    std::fs::remove_file(world.path("part")).unwrap();
    // the beginning is correct and a later byte is not: nothing of it is used
    let mut damaged = left.clone();
    damaged[left.len() / 2] ^= 1;
    std::fs::write(world.path("part.part"), &damaged).unwrap();
    let output = world.ranged(&format!("{FIRST}-{LAST}")).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read(world.path("part")).unwrap() == expected);
    assert_eq!(json(&output.stdout)["resumed_from"], 0);
}
