//! A client that is given several servers of a cluster goes on at the next one when one fails, stands still, or lies.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::blobs::{content, get_bytes, judge};
use support::fake_server::FakeServer;
use support::processes::{Node, Processes, async_command, run};
use support::proxy::Proxy;
use tempfile::TempDir;
use tokio::net::TcpListener;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::verify::Verdict;
use vouch_fixture::TestEpochs;

const MIB: u64 = 1 << 20;

/// A cluster with two servers, which both know its committee, and a user's folder.
struct World {
    cluster: Processes,
    second: String,
    identity: ClusterId,
    home: TempDir,
    _second: Node,
}

impl World {
    async fn start() -> Self {
        let mut cluster = Processes::start(0).await;
        let (node, second) = cluster.another_server("server-2").await;
        for number in 0..3 {
            cluster.add_replica_with(number, &[&second]);
        }
        cluster.until_connected().await;
        let identity = cluster.put(b"first").await.unwrap().committee().cluster();
        // The members have yet to tell it the committee.
        for _ in 0..600 {
            if get_bytes(&second, Some(identity), Digest::of(b"first")).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { cluster, second, identity, home: tempfile::tempdir().unwrap(), _second: node }
    }

    fn first(&self) -> &str {
        self.cluster.address()
    }

    fn folder(&self) -> &Path {
        self.home.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder().join(name), bytes).unwrap();
    }

    /// Runs a command with these servers, which trusts the identity.
    async fn vouch(&self, arguments: &[&str], servers: &[&str]) -> (Output, String) {
        let identity = self.identity.to_string();
        let flags: Vec<&str> = servers.iter().flat_map(|server| ["--server", server]).collect();
        let output = run(self.folder(), &[arguments, &["--cluster", &identity], &flags].concat()).await;
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        (output, said)
    }

    fn assert_certified(&self, bundle: &str, bytes: &[u8]) {
        let verdict = judge(&fs::read(self.folder().join(bundle)).unwrap(), self.identity, bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
    }
}

/// An address at which nothing listens.
async fn nothing() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_goes_on_at_the_next_server() {
    let world = World::start().await;
    let dead = nothing().await;
    let servers = [dead.as_str(), &world.second];
    for name in ["one", "two", "three"] {
        world.write(name, name.as_bytes());
    }
    let trying = format!("trying {}", world.second);
    let digest = Digest::of(b"one").to_string();
    for (arguments, expected) in [
        (&["put", "one"][..], "certified"),
        (&["put", "two", "three"], "certified"),
        (&["get", &digest, "-o", "copy"], "verified"),
        (&["committee", "show"], "epoch"),
        (&["log", "note", "a note"], "block"),
        (&["log", "head"], "head"),
        (&["upgrade", "one.vouch"], "has all committees"),
    ] {
        let (output, said) = world.vouch(arguments, &servers).await;
        let shown = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success() && shown.contains(expected), "{arguments:?}: {shown}{said}");
        assert!(said.contains(&trying) && said.contains(&dead), "{arguments:?}: {said}");
    }
    world.assert_certified("one.vouch", b"one");
    world.assert_certified("three.vouch", b"three");
    assert_eq!(fs::read(world.folder().join("copy")).unwrap(), b"one");

    // Standard input was not read yet when the first server failed.
    let mut put = async_command(world.folder());
    let both = servers.join(",");
    put.args(["put", "-", "--cluster", &world.identity.to_string(), "--server", &both]);
    put.stdin(Stdio::from(fs::File::open(world.folder().join("two")).unwrap()));
    let put = put.output().await.unwrap();
    assert!(put.status.success(), "{put:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_resumes_at_the_other_server() {
    let world = World::start().await;
    let bytes = content(3, 48 << 20);
    world.write("large", &bytes);
    let proxy = Proxy::start(world.first()).await;
    proxy.set_rate(24 * MIB);
    let servers = [proxy.address(), world.second.as_str()];
    let putting = world.vouch(&["put", "large", "--json"], &servers);
    let cutting = async {
        proxy.until_sent(20 * MIB).await;
        proxy.set_up(false);
    };
    let ((output, said), ()) = tokio::join!(putting, cutting);
    assert!(output.status.success(), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["attempts"], 2, "{json}");
    assert!(json["resumed_from"].as_u64().unwrap() > 0, "all of it was sent again: {json}");
    world.assert_certified("large.vouch", &bytes);

    // A get, too.
    proxy.set_up(true);
    let already = proxy.received();
    proxy.set_receive_rate(24 * MIB);
    let getting = world.vouch(&["get", "large.vouch", "-o", "copy", "--json"], &servers);
    let cutting = async {
        proxy.until_received(already + 20 * MIB).await;
        proxy.set_up(false);
    };
    let ((output, said), ()) = tokio::join!(getting, cutting);
    assert!(output.status.success(), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["attempts"], 2, "{json}");
    assert!(fs::read(world.folder().join("copy")).unwrap() == bytes, "other bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_cluster_is_passed_over_and_named() {
    let world = World::start().await;
    let epochs = TestEpochs::new(4, 1);
    let foreign =
        FakeServer::showing(epochs.chain.clone(), |_| unreachable!("nothing is sent to another cluster")).await;
    world.write("one", b"one");
    world.write("two", b"two");
    let servers = [foreign.address.as_str(), &world.second];
    for files in [&["put", "one"][..], &["put", "one", "two", "--force"]] {
        let (output, said) = world.vouch(files, &servers).await;
        assert!(output.status.success(), "{said}");
        for text in [&epochs.chain.cluster().to_string(), &foreign.address, &format!("trying {}", world.second)] {
            assert!(said.contains(text), "{said}");
        }
    }
    world.assert_certified("one.vouch", b"one");
    world.assert_certified("two.vouch", b"two");

    // Nobody is left: each server's error is told.
    let dead = nothing().await;
    let (output, said) = world.vouch(&["put", "one", "--force"], &[&foreign.address, &dead]).await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    for server in [&foreign.address, &dead] {
        assert!(said.contains(&format!("\n{server}: ")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_recorded_for_different_clusters_are_refused() {
    let world = World::start().await;
    world.write("one", b"one");
    let other = TestEpochs::new(4, 0).chain.cluster();
    let (first, second) = (world.first(), world.second.as_str());
    let put = async |servers: [&str; 2], known: String| {
        world.write("known", known.as_bytes());
        let both = servers.join(",");
        let output = run(world.folder(), &["put", "one", "--known-clusters", "known", "--server", &both]).await;
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (is_ok, said) = put([first, second], format!("{first} {}\n{second} {other}\n", world.identity)).await;
    assert!(!is_ok, "{said}");
    assert!(said.contains("the servers are of different clusters") && said.contains(&other.to_string()), "{said}");

    // One recorded server vouches for the identity of the other, which is recorded once it has shown it.
    let dead = nothing().await;
    let (is_ok, said) = put([&dead, second], format!("{dead} {}\n", world.identity)).await;
    assert!(is_ok && said.contains(&format!("first contact with {second}")), "{said}");
    let known = fs::read_to_string(world.folder().join("known")).unwrap();
    assert!(known.contains(&format!("{second} {}", world.identity)), "{known}");
    let (is_ok, said) = put([&dead, second], format!("{dead} {other}\n")).await;
    assert!(!is_ok && said.contains(&other.to_string()), "{said}");
}
