//! The newest committee that a user has seen is kept in the known-clusters file: who shows an earlier or another one is refused.

use std::fs;
use std::path::{Path, PathBuf};

use support::fake_server::FakeServer;
use support::processes::run;
use support::unix_seconds;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use vouch_core::bundle::{Bundle, HeadBundle};
use vouch_core::chain::Checkpoint;
use vouch_core::digest::Digest;
use vouch_fixture::{TestEpochs, receipt};

/// A user's folder: a file to put, a bundle to upgrade, and what is known of clusters.
struct Home(TempDir);

impl Home {
    fn new(known: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let genesis = TestEpochs::new(4, 0);
        let bundle = Bundle::new(&genesis.certify(0, 1, receipt("old")), &genesis.chain).to_json();
        for (name, text) in [("file", "a file\n"), ("other", "another\n"), ("old.vouch", &bundle), ("known", known)] {
            fs::write(home.path(name), text).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn known(&self) -> String {
        fs::read_to_string(self.path("known")).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs a command with the known-clusters file. Returns its exit code and what it said.
    async fn vouch(&self, arguments: &[&str], server: &FakeServer) -> (Option<i32>, String) {
        self.vouch_at(arguments, &server.address).await
    }

    async fn vouch_at(&self, arguments: &[&str], address: &str) -> (Option<i32>, String) {
        let all = [arguments, &["--server", address, "--known-clusters", "known"]].concat();
        let output = run(self.folder(), &all).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Asserts that every command that connects refuses the server with all of `texts`, and leaves nothing.
    async fn assert_refuses(&self, server: &FakeServer, flags: &[&str], texts: &[&str]) {
        let (names, known) = (self.names(), self.known());
        // At first contact, the server of a get says which cluster it is of, and is compared once the get is done. This one ends none.
        let is_met = known.contains(&server.address) || !flags.is_empty();
        let digest = Digest::of(b"a file\n").to_string();
        for command in [
            &["put", "file", "--retry", "0"][..],
            &["put", "file", "other", "--retry", "0"],
            &["get", &digest, "-o", "copy", "--retry", "0"],
            &["committee", "show"],
            &["committee", "rotate"],
            &["upgrade", "old.vouch"],
        ] {
            if command[0] == "get" && !is_met {
                continue;
            }
            let (code, said) = self.vouch(&[command, flags].concat(), server).await;
            // Nothing is trusted yet that the bundle could be checked against.
            let is_unknown = command[0] == "upgrade" && said.contains("no cluster identity is trusted");
            assert_eq!(code, Some(if is_unknown { 2 } else { 1 }), "{command:?}: {said}");
            for text in texts.iter().filter(|_| !is_unknown) {
                assert!(said.contains(text), "{command:?}: expected {text:?} in {said}");
            }
        }
        let left: Vec<_> = self.names().into_iter().filter(|name| name != "copy.part").collect();
        assert_eq!((left, self.known()), (names, known), "nothing is written");
    }
}

/// Answers requests over HTTP with the head of the cluster's log as it was in an epoch. Returns its address.
async fn log_server(epochs: &TestEpochs, epoch: u64) -> (String, JoinHandle<()>) {
    let head = epochs.certify_head(epoch, 10 * (epoch + 1), unix_seconds());
    let bundle = HeadBundle::new(&head, &epochs.chain).to_json();
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{bundle}", bundle.len());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // the request has no body, and is shorter than this
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, answering)
}

/// A server of the cluster as it was in an epoch.
async fn server(epochs: TestEpochs, epoch: u64) -> FakeServer {
    let chain = epochs.up_to(epoch);
    FakeServer::showing(chain, move |receipt| epochs.certify(epoch, unix_seconds(), receipt)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_committee_is_recorded_and_raised_by_every_command_that_verified_it() {
    let epochs = TestEpochs::new(4, 2);
    let cluster = epochs.chain.cluster();
    let (before, now) = (server(TestEpochs::new(4, 2), 1).await, server(TestEpochs::new(4, 2), 2).await);
    let [first, second] = [1, 2].map(|epoch| Checkpoint::from(&epochs.up_to(epoch)));
    let home = Home::new("");
    let (code, said) = home.vouch(&["put", "file"], &before).await;
    assert!(code == Some(0) && said.contains("first contact with "), "{said}");
    assert_eq!(home.known(), format!("{} {cluster} {first}\n", before.address));

    let old = format!("{} {cluster} {first}\n{} {cluster}\n", before.address, now.address);
    let raised = format!("{} {cluster} {second}\n{} {cluster} {second}\n", before.address, now.address);
    let identity = cluster.to_string();
    for command in [
        &["put", "file"][..],
        &["put", "file", "other"],
        &["put", "file", "--cluster", &identity],
        &["committee", "show"],
        &["upgrade", "old.vouch"],
    ] {
        let home = Home::new(&old);
        let (code, said) = home.vouch(command, &now).await;
        assert_eq!((code, home.known()), (Some(0), raised.clone()), "{command:?}: {said}");
        assert!(!said.contains("first contact"), "{said}");
    }
    let home = Home::new(&old);
    let client = ["client", &now.address, "file", "--known-clusters", "known"];
    assert_eq!(run(home.folder(), &client).await.status.code(), Some(0));
    assert_eq!(home.known(), raised);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shows_only_earlier_committees_is_refused() {
    let epochs = TestEpochs::new(4, 2);
    let (cluster, newest) = (epochs.chain.cluster(), epochs.checkpoint());
    let identity = cluster.to_string();
    let known = format!("elsewhere.example:1 {cluster} {newest}\n");
    for epoch in [0, 1] {
        let behind = server(TestEpochs::new(4, 2), epoch).await;
        let old = format!("the server does not know the newest committee: expected epoch 2, got {epoch}");
        let seen =
            format!("The newest committee of cluster {cluster} that you have seen is {newest}, recorded in known.");
        let texts = [old.as_str(), &seen, "with keys of members that have left", "ask another server of the cluster"];
        let forget = "with: vouch forget elsewhere.example:1 --known-clusters known";
        // At an address without a record, the cluster is known all the same.
        let home = Home::new(&known);
        home.assert_refuses(&behind, &[], &[&texts[..], &[forget]].concat()).await;
        home.assert_refuses(&behind, &["--cluster", &identity], &texts).await;
        // A line of the old form takes part.
        let home = Home::new(&format!("{known}{} {cluster}\n", behind.address));
        let both = format!("{forget} && vouch forget {} --known-clusters known", behind.address);
        home.assert_refuses(&behind, &[], &[&texts[..], &[&both]].concat()).await;
        // Without the record, it is an ordinary server.
        let home = Home::new("");
        assert_eq!(home.vouch(&["put", "file"], &behind).await.0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_successor_of_a_committee_is_refused() {
    let (epochs, forked) = (TestEpochs::new(4, 2), TestEpochs::forked(4));
    let (cluster, newest) = (epochs.chain.cluster(), forked.checkpoint());
    let other = Checkpoint::from(&epochs.up_to(1)).committee;
    let text = format!(
        "the server shows another committee of epoch 1 than this client has verified before: expected {}, got {other}",
        newest.committee
    );
    let texts = [text.as_str(), "A committee never has two successors", "`vouch compare`"];
    for epoch in [1, 2] {
        let server = server(TestEpochs::new(4, 2), epoch).await;
        let home = Home::new(&format!("elsewhere.example:1 {cluster} {newest}\n"));
        home.assert_refuses(&server, &[], &texts).await;
        let home = Home::new(&format!("{} {cluster} {newest}\n", server.address));
        home.assert_refuses(&server, &[], &texts).await;
        home.assert_refuses(&server, &["--cluster", &cluster.to_string()], &texts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_of_the_log_is_of_the_newest_committee_too() {
    let (epochs, forked) = (TestEpochs::new(4, 2), TestEpochs::forked(4));
    let (cluster, first, newest) = (epochs.chain.cluster(), Checkpoint::from(&epochs.up_to(1)), epochs.checkpoint());
    let (before, before_task) = log_server(&epochs, 1).await;
    let (now, now_task) = log_server(&epochs, 2).await;
    let home = Home::new("");
    assert_eq!(home.vouch_at(&["log", "head"], &before).await.0, Some(0));
    assert_eq!(home.known(), format!("{before} {cluster} {first}\n"));
    assert_eq!(home.vouch_at(&["log", "head"], &now).await.0, Some(0));
    let raised = format!("{before} {cluster} {newest}\n{now} {cluster} {newest}\n");
    assert_eq!(home.known(), raised);
    for flags in [&[][..], &["--cluster", &cluster.to_string()]] {
        let (code, said) = home.vouch_at(&[&["log", "head"], flags].concat(), &before).await;
        assert!(code == Some(1) && said.contains("expected epoch 2, got 1"), "{said}");
    }
    assert_eq!(home.known(), raised);
    let home = Home::new(&format!("{before} {cluster} {}\n", forked.checkpoint()));
    let (code, said) = home.vouch_at(&["log", "head"], &before).await;
    assert!(code == Some(1) && said.contains("another committee of epoch 1"), "{said}");
    before_task.abort();
    now_task.abort();
}
