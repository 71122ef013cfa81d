//! An interrupted put resumes at the offset the replicas hold, whichever process was interrupted.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::blobs::{content, judge};
use support::fake_replica::{FakeReplica, Identity};
use support::in_process::InProcess;
use support::processes::{Node, Processes, async_command, run};
use support::proxy::Proxy;
use support::raw_link::RawLink;
use support::until;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::{Code, MAX_CHUNK, Message, Stream};
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::verify::Verdict;
use vouch_fixture::next_random;

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 64 * MIB;
/// Rate at which a client sends, in bytes per second. About 64 KiB are counted before they arrive.
const RATE: u64 = 24 * MIB;
/// Overhead beyond a put's bytes: hellos, the committee, proofs, pongs.
const OVERHEAD: u64 = 64 << 10;

/// Slightly longer than the 5 s after which a silent put gives way to another put of the same blob.
const SILENCE: Duration = Duration::from_millis(5500);

/// A cluster of child processes behind a proxy, and a file.
struct PutWorld {
    cluster: Processes,
    proxy: Proxy,
    identity: ClusterId,
    bytes: Vec<u8>,
    random: u64,
}

impl PutWorld {
    async fn start(seed: u64) -> Self {
        println!("seed {seed}");
        let cluster = Processes::start(4).await;
        let identity = cluster.put(b"first").await.unwrap().committee().cluster();
        let proxy = Proxy::start(cluster.address()).await;
        proxy.set_rate(RATE);
        Self { cluster, proxy, identity, bytes: content(seed, usize::try_from(LENGTH).unwrap()), random: seed }
    }

    /// Switches to another file.
    fn next(&mut self) {
        self.bytes = content(next_random(&mut self.random), self.bytes.len());
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Writes the file into a new folder that serves as a home without state.
    fn elsewhere(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), &self.bytes).unwrap();
        folder
    }

    fn command(&self, folder: &Path, more: &[&str]) -> Command {
        let mut command = async_command(folder);
        let identity = self.identity.to_string();
        command.args(["put", "file", "--json", "--cluster", &identity, "--server", self.proxy.address()]);
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a put, and waits until part of it is sent.
    async fn begin(&mut self, folder: &Path) -> Child {
        let before = self.proxy.sent();
        let child = self.command(folder, &[]).spawn().unwrap();
        let some = 8 * MIB + next_random(&mut self.random) % (40 * MIB);
        println!("cut after {some} bytes");
        self.proxy.until_sent(before + some).await;
        child
    }

    /// Starts a put and kills its client midway.
    async fn killed(&mut self) {
        let folder = self.elsewhere();
        let mut child = self.begin(folder.path()).await;
        child.kill().await.unwrap();
        // the server holds that put until it notices the disconnect
        self.proxy.until_idle().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// Completes a put; returns its JSON and the bytes sent.
    async fn put(&self, more: &[&str]) -> (Value, u64) {
        let folder = self.elsewhere();
        let before = self.proxy.sent();
        let output = self.command(folder.path(), more).output().await.unwrap();
        let json = self.certified(&output, &folder.path().join("file.vouch"));
        (json, self.proxy.sent() - before)
    }

    /// Asserts that the certificate is valid for the file; returns the JSON.
    fn certified(&self, output: &Output, bundle: &Path) -> Value {
        assert!(output.status.success(), "{output:?}");
        let verdict = judge(&std::fs::read(bundle).unwrap(), self.identity, &self.bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        println!("resumed from {}, attempts {}", json["resumed_from"], json["attempts"]);
        json
    }

    /// Asserts that `vouch get` returns the file.
    async fn assert_held(&self) {
        let folder = tempfile::tempdir().unwrap();
        let (digest, identity) = (self.digest().to_string(), self.identity.to_string());
        let server = self.cluster.address();
        let got = run(folder.path(), &["get", &digest, "--cluster", &identity, "--server", server, "-o", "copy"]).await;
        assert!(got.status.success(), "{got:?}");
        assert!(std::fs::read(folder.path().join("copy")).unwrap() == self.bytes, "other bytes");
    }

    /// Asserts that a put disturbed midway completes by itself; returns its JSON.
    async fn put_disturbed(&mut self, disturb: impl AsyncFnOnce(&mut Self)) -> Value {
        let folder = self.elsewhere();
        let child = self.begin(folder.path()).await;
        disturb(self).await;
        let bundle: PathBuf = folder.path().join("file.vouch");
        let json = self.certified(&child.wait_with_output().await.unwrap(), &bundle);
        self.assert_held().await;
        json
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(next_random(&mut self.random) % 500)).await;
    }

    async fn restart_server(&mut self) {
        self.cluster.server.kill();
        self.pause().await;
        self.cluster.restart_server().await;
    }

    async fn restart_a_replica(&mut self) {
        let number = usize::try_from(next_random(&mut self.random) % 4).unwrap();
        self.cluster.replicas[number].kill();
        self.pause().await;
        self.cluster.replicas[number].start();
    }

    async fn restart_replicas(&mut self) {
        self.cluster.replicas.iter_mut().for_each(Node::kill);
        self.pause().await;
        self.cluster.replicas.iter_mut().for_each(Node::start);
    }

    async fn cut(&mut self) {
        self.proxy.set_up(false);
        self.pause().await;
        self.proxy.set_up(true);
    }

    fn offer(&self) -> Message {
        let receipt = Receipt { salt: [7; 16], digest: self.digest(), length: LENGTH, expires_at: NEVER };
        Message::Put { stream: STREAM, offer: Some(receipt), renew: false, authorisation: None }
    }
}

const STREAM: Stream = Stream(1);

#[tokio::test(flavor = "multi_thread")]
async fn killed_put_resumes_from_another_folder() {
    let mut world = PutWorld::start(20_261_122).await;
    world.killed().await;
    let (json, sent) = world.put(&[]).await;
    let from = json["resumed_from"].as_u64().unwrap();
    assert!(from > 0 && json["attempts"] == 1 && json["reused"] == false, "{json}");
    assert!(sent < LENGTH - from + 2 * OVERHEAD, "{sent} bytes were sent, from {from} on");
    world.assert_held().await;
}

/// Asserts that a disturbed command completes and sends hardly any byte twice.
async fn assert_resumes(seed: u64, disturb: impl AsyncFnOnce(&mut PutWorld)) {
    let mut world = PutWorld::start(seed).await;
    let before = world.proxy.sent();
    let json = world.put_disturbed(disturb).await;
    assert!(json["attempts"].as_u64().unwrap() > 1, "{json}");
    assert!(json["resumed_from"].as_u64().unwrap() > 0, "{json}");
    // a few bytes are lost in flight
    assert!(world.proxy.sent() - before < LENGTH + 8 * MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn put_resumes_after_a_server_kill() {
    assert_resumes(20_261_123, PutWorld::restart_server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_continues_after_a_replica_kill() {
    let mut world = PutWorld::start(20_261_124).await;
    let json = world.put_disturbed(PutWorld::restart_a_replica).await;
    assert_eq!((&json["attempts"], &json["resumed_from"]), (&1.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn put_resumes_after_all_replicas_were_killed() {
    let mut world = PutWorld::start(20_261_125).await;
    let json = world.put_disturbed(PutWorld::restart_replicas).await;
    assert!(json["attempts"].as_u64().unwrap() > 1, "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_resumes_after_a_network_outage() {
    assert_resumes(20_261_126, PutWorld::cut).await;
}

/// A client that knows the digest cannot harm another's put: by wrong bytes, by cancelling, or by doing nothing.
#[tokio::test(flavor = "multi_thread")]
async fn other_clients_cannot_poison_a_partial_upload() {
    let mut world = PutWorld::start(20_261_127).await;
    world.killed().await;
    let begin = async || {
        let mut link = RawLink::client(world.cluster.address()).await;
        link.send(&world.offer()).await;
        loop {
            match link.receive().await.unwrap() {
                Message::Ready { offset, .. } => return (link, offset),
                Message::Failed(failed) => panic!("{failed}"),
                _ => {}
            }
        }
    };
    let (mut liar, from) = begin().await;
    assert!(from > 0, "something was left");
    let bytes = vec![7; MAX_CHUNK].into();
    liar.send(&Message::Chunk { stream: STREAM, offset: from, parents: Vec::new(), bytes }).await;
    assert_eq!(liar.failed().await.code, Code::DigestDiffers);
    drop(liar);
    let (mut fickle, offset) = begin().await;
    assert_eq!(offset, from);
    fickle.send(&Message::Cancel { stream: STREAM, keep: false }).await;
    assert_eq!(fickle.failed().await.code, Code::Cancelled);
    let (silent, offset) = begin().await;
    assert_eq!(offset, from);
    // after that the silent put gives way to another
    tokio::time::sleep(SILENCE).await;

    let (json, _) = world.put(&[]).await;
    assert_eq!(json["resumed_from"], from);
    world.assert_held().await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_blob_is_certified_again_without_sending_bytes() {
    let world = PutWorld::start(20_261_128).await;
    world.proxy.set_rate(0);
    let (first, sent) = world.put(&["--expires", "30d"]).await;
    assert!(first["resumed_from"] == 0 && sent > LENGTH, "{first}");
    for (more, expires_at) in [(&["--expires", "30d", "--renew"][..], None), (&[][..], Some(NEVER))] {
        let (json, sent) = world.put(more).await;
        assert!(json["resumed_from"] == LENGTH && json["reused"] == false, "{more:?}: {json}");
        assert!(sent < OVERHEAD, "{more:?}: {sent} bytes were sent");
        assert!(json["issued_at"].as_u64() >= first["issued_at"].as_u64(), "{json}");
        assert!(expires_at.is_none() || json["expires_at"] != first["expires_at"], "{json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_several_files_resumes_on_a_new_link() {
    let mut world = PutWorld::start(20_261_129).await;
    let folder = world.elsewhere();
    let mut files = Vec::new();
    for number in 0..24_u64 {
        let name = format!("small-{number}");
        std::fs::write(folder.path().join(&name), content(number, 1000 + usize::try_from(number).unwrap() * 20_000))
            .unwrap();
        files.push(name);
    }
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let child = world.command(folder.path(), &names).spawn().unwrap();
    world.proxy.until_sent(20 * MIB).await;
    world.cut().await;
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<Value> =
        std::str::from_utf8(&output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 25);
    let large = lines.iter().find(|line| line["file"] == "file").unwrap();
    assert!(large["attempts"] == 2 && large["resumed_from"].as_u64().unwrap() > 0, "{large}");
    for name in names.into_iter().chain(["file"]) {
        let bytes = std::fs::read(folder.path().join(name)).unwrap();
        let bundle = std::fs::read(folder.path().join(format!("{name}.vouch"))).unwrap();
        assert!(matches!(judge(&bundle, world.identity, &bytes), Verdict::Valid(_)), "{name}");
    }
}

/// When a client disconnects, replicas keep its partial upload.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_keep_the_partial_upload_of_a_lost_client() {
    let cluster = InProcess::start(0).await;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let _replica = FakeReplica::join(cluster.address(), Identity::new(1, "one"), move |_, message, answers| {
        let _ = told.send(message.clone());
        answers
    })
    .await;
    until("it joins", || !cluster.connected().is_empty()).await;
    cluster.put(b"first").await.unwrap();
    let mut link = RawLink::client(cluster.address()).await;
    let receipt = Receipt { salt: [7; 16], digest: Digest([9; 32]), length: LENGTH, expires_at: NEVER };
    link.send(&Message::Put { stream: STREAM, offer: Some(receipt), renew: false, authorisation: None }).await;
    while !matches!(link.receive().await.unwrap(), Message::Ready { offset: 0, .. }) {}
    drop(link);
    let keeps = async {
        loop {
            if let Message::Cancel { keep, .. } = heard.recv().await.unwrap() {
                return keep;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(25), keeps).await.expect("at once"));
}

#[tokio::test(flavor = "multi_thread")]
async fn put_survives_four_random_disturbances() {
    rounds(4, 20_261_130).await;
}

/// `make soak`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes"]
async fn put_survives_sixty_random_disturbances() {
    rounds(60, u64::from(std::process::id())).await;
}

/// Applies random disturbances at random moments, one after the other.
async fn rounds(rounds: u64, seed: u64) {
    let mut world = PutWorld::start(seed).await;
    for round in 0..rounds {
        world.next();
        let kind = next_random(&mut world.random) % 5;
        println!("round {round}, kind {kind}");
        world.cluster.until_connected().await;
        match kind {
            0 => {
                world.killed().await;
                let (json, _) = world.put(&[]).await;
                assert!(json["resumed_from"].as_u64().unwrap() > 0, "{json}");
                world.assert_held().await;
            }
            1 => drop(world.put_disturbed(PutWorld::restart_server).await),
            2 => drop(world.put_disturbed(PutWorld::restart_a_replica).await),
            3 => drop(world.put_disturbed(PutWorld::restart_replicas).await),
            _ => drop(world.put_disturbed(PutWorld::cut).await),
        }
    }
}
