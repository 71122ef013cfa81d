//! A replica that lacks certified blobs fetches them from the others and counts as a holder again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use support::blobs::{content, signers};
use support::fake_replica::{FakeReplica, Honest, Identity};
use support::http::get;
use support::in_process::InProcess;
use support::processes::{Node, Processes, run};
use support::until;
use vouch_core::bundle::Bundle;
use vouch_core::certificate::Certificate;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Message;
use vouch_core::session::Certified;
use vouch_core::verify::{Subject, Verdict, Verifier, VerifyOptions};

/// Sizes around every limit between the store's ways to keep a blob.
const SIZES: [usize; 8] = [0, 1, 1 << 10, 64 << 10, (64 << 10) + 1, 256 << 10, 300_000, 3 << 20];

/// JSON output of an operator command about a replica; null while the replica starts.
async fn ask(cluster: &Processes, replica: &Node, command: &str) -> Value {
    let folder = replica.folder().display().to_string();
    let output = run(cluster.root(), &[command, "--data", &folder, "--json"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

async fn until_complete(cluster: &Processes, number: usize, blobs: usize) -> Value {
    for _ in 0..600 {
        let status = ask(cluster, &cluster.replicas[number], "status").await;
        let usage = &status["usage"];
        if usage["blobs"] == blobs && usage["damaged"] == 0 && status["repair"]["lacking"] == 0 {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", ask(cluster, &cluster.replicas[number], "status").await);
}

async fn put_all(cluster: &Processes, seed: u64) -> Vec<(Certified, Vec<u8>)> {
    let mut all = Vec::new();
    for (seed, size) in (seed * 1000..).zip(SIZES) {
        let bytes = content(seed, size);
        all.push((cluster.put(&bytes).await.unwrap(), bytes));
    }
    all
}

/// The newest certificate of a blob that the server has, verified.
async fn newest(cluster: &Processes, trusted: ClusterId, digest: Digest) -> Certificate {
    let answer = get(cluster.address(), &format!("/v1/certificates/{digest}")).await;
    let options = VerifyOptions {
        trust: trusted.into(),
        require_sealed: false,
        subject: Some(Subject { digest, length: None }),
        now: support::unix_seconds(),
        waive_expiry: false,
    };
    let Verdict::Valid(_) = Verifier::default().verify(&answer.body, &options) else { panic!("{answer:?}") };
    let bundle = Bundle::parse(&answer.body, &vouch_core::Limits::default()).unwrap();
    Certificate::decode(&bundle.certificate, &vouch_core::Limits::default()).unwrap()
}

fn blob_of(replica: &Node, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    replica.folder().join("blobs").join(&hex[..2]).join(&hex)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_was_down_catches_up_and_counts_as_holder() {
    let mut cluster = Processes::start(4).await;
    let first = cluster.put(b"first").await.unwrap();
    let identity = first.committee().cluster();
    cluster.replicas[3].kill();
    cluster.until_left(3).await;
    let mut certified = put_all(&cluster, 1).await;
    certified.extend(put_all(&cluster, 2).await);
    assert!(certified.iter().all(|(certified, _)| certified.certificate.signers.count() == 3));

    cluster.replicas[3].start();
    // the empty blob was put twice
    let status = until_complete(&cluster, 3, 2 * SIZES.len()).await;
    assert_eq!(status["repair"]["fetched"], 2 * SIZES.len() - 1, "{status}");
    for (certified, _) in &certified {
        let digest = certified.certificate.claim.receipt.digest;
        let mut signers = 0;
        for _ in 0..100 {
            let newest = newest(&cluster, identity, digest).await;
            signers = newest.signers.count();
            if signers == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(signers, 4, "{digest}");
    }
    // bytes that a replica no longer has are served by the others
    cluster.replicas[0].kill();
    cluster.replicas[1].kill();
    cluster.replicas[2].kill();
    for number in 0..3 {
        cluster.until_left(number).await;
    }
    for (certified, bytes) in &certified {
        let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
        assert!(got.bytes == *bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_disk_is_refilled() {
    let mut cluster = Processes::start(4).await;
    let certified = put_all(&cluster, 3).await;
    let identity = certified[0].0.committee().cluster();
    cluster.replicas[0].kill();
    let folder = cluster.replicas[0].folder().to_owned();
    fs::remove_dir_all(folder.join("blobs")).unwrap();
    fs::remove_file(folder.join("index.redb")).unwrap();
    cluster.replicas[0].start();
    until_complete(&cluster, 0, SIZES.len()).await;
    for number in 1..4 {
        cluster.replicas[number].kill();
        cluster.until_left(number).await;
    }
    for (certified, bytes) in &certified {
        let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
        assert!(got.bytes == *bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_blob_is_detected_and_fetched_again() {
    let cluster = Processes::start(4).await;
    let certified = put_all(&cluster, 4).await;
    let identity = certified[0].0.committee().cluster();
    let (large, bytes) = certified.last().unwrap();
    let digest = large.certificate.claim.receipt.digest;
    let replica = &cluster.replicas[0];
    let blob = blob_of(replica, &digest);
    // found by a scrub
    flip(&blob, 2_000_000);
    let folder = replica.folder().display().to_string();
    let scrub = run(cluster.root(), &["scrub", "--data", &folder]).await;
    assert_eq!(scrub.status.code(), Some(1), "{scrub:?}");
    let text = String::from_utf8(scrub.stdout).unwrap();
    assert!(text.contains("; 1 damaged\n"), "{text}");
    let status = until_complete(&cluster, 0, SIZES.len()).await;
    assert_eq!(status["repair"]["fetched"], 1, "{status}");
    assert_eq!(status["scrubbed"]["damaged"], 1, "{status}");
    assert!(fs::read(&blob).unwrap() == *bytes);
    assert!(replica.log().contains(&format!("{digest} is damaged")), "{}", replica.log());
    let again = run(cluster.root(), &["scrub", "--data", &folder]).await;
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    // found by a read, which another replica then answers
    flip(&blob, 100);
    let got = cluster.get(identity, digest).await.unwrap();
    assert!(got.bytes == *bytes);
    flip(&blob_of(&cluster.replicas[1], &digest), 100);
    flip(&blob_of(&cluster.replicas[2], &digest), 100);
    for _ in 0..4 {
        let got = cluster.get(identity, digest).await.unwrap();
        assert!(got.bytes == *bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_commands_work_on_a_stopped_replica() {
    let mut cluster = Processes::start(1).await;
    let certified = put_all(&cluster, 5).await;
    let before = ask(&cluster, &cluster.replicas[0], "du").await;
    cluster.replicas[0].kill();
    let folder = cluster.replicas[0].folder().display().to_string();
    let status = run(cluster.root(), &["status", "--data", &folder]).await;
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(String::from_utf8(status.stdout).unwrap(), "replica-0: not running\n");
    let after = ask(&cluster, &cluster.replicas[0], "du").await;
    assert_eq!((&before["blobs"], &before["bytes"]), (&after["blobs"], &after["bytes"]));
    flip(&blob_of(&cluster.replicas[0], &certified.last().unwrap().0.certificate.claim.receipt.digest), 5);
    let scrub = ask(&cluster, &cluster.replicas[0], "scrub").await;
    assert_eq!((&scrub["blobs"], &scrub["damaged"]), (&SIZES.len().into(), &1.into()));
    // no other replica has it: it stays marked as damaged; the killed process's stale socket does not prevent a start
    cluster.replicas[0].start();
    cluster.until_connected().await;
    let status = ask(&cluster, &cluster.replicas[0], "status").await;
    assert_eq!(status["usage"]["damaged"], 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scrub_checks_blobs_in_a_separate_folder() {
    let mut cluster = Processes::start(0).await;
    let elsewhere = format!("file:{}", cluster.root().join("elsewhere").display());
    cluster.add_replica_with(0, &["--store", &elsewhere]);
    cluster.until_connected().await;
    put_all(&cluster, 6).await;
    cluster.replicas[0].kill();
    let scrub = ask(&cluster, &cluster.replicas[0], "scrub").await;
    assert_eq!((&scrub["blobs"], &scrub["damaged"]), (&SIZES.len().into(), &0.into()), "{scrub}");
}

/// When a member last read its copy of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    None,
    /// It was just stored.
    New,
    /// It has not been read for a day.
    Old,
    /// It was read recently.
    Read,
}

/// The vote deadline is one second; a member that has not read a large blob for a day needs three to read it.
#[tokio::test(flavor = "multi_thread")]
async fn members_read_a_large_blob_before_they_vote_for_it_again() {
    let mut cluster = InProcess::start_with(1, |config| config.deadlines.voting = Duration::from_secs(1)).await;
    let bytes = content(1, 300 << 10);
    let digest = Digest::of(&bytes);
    let mut fakes = Vec::new();
    for number in 1..4 {
        let state = Arc::new(Mutex::new(Held::None));
        let reads = state.clone();
        let delay = move |question: &Message| {
            let needs_bytes = match question {
                Message::Put { offer: Some(offer), .. } => offer.digest == digest,
                Message::Propose { receipts, .. } => receipts.iter().any(|receipt| receipt.digest == digest),
                _ => false,
            };
            let mut state = reads.lock().unwrap();
            if needs_bytes && *state == Held::Old {
                *state = Held::Read;
                return Duration::from_secs(3);
            }
            Duration::ZERO
        };
        let lie = move |_: &Honest, question: &Message, answers: Vec<Message>| {
            let mut state = state.lock().unwrap();
            match (question, *state) {
                (Message::Put { stream, offer: Some(offer), .. }, Held::Old | Held::Read) if offer.digest == digest => {
                    return vec![Message::Ready { stream: *stream, offset: offer.length }];
                }
                (Message::Propose { receipts, .. }, Held::None)
                    if receipts.iter().any(|receipt| receipt.digest == digest) =>
                {
                    *state = Held::New;
                }
                // a day passes after the first certificate
                (Message::Archive { .. }, Held::New) => *state = Held::Old,
                _ => {}
            }
            answers
        };
        let identity = Identity::new(number, &format!("member-{number}"));
        fakes.push(FakeReplica::join_delaying(cluster.address(), identity, delay, lie).await);
    }
    until("all four join", || cluster.connected().len() == 4).await;
    cluster.put(b"founds the committee").await.unwrap();
    cluster.stop_replica(0).await;
    let first = cluster.put(&bytes).await.unwrap();
    assert!(!signers(&first).contains(&"replica-0".to_owned()));
    cluster.start_replica(0).await;
    let is_counted_in = |event: &vouch::server::Event| match event {
        vouch::server::Event::Certified(certificate) => {
            let names = certificate.signers.iter().map(|member| first.committee().record().name(member));
            certificate.claim.receipt.digest == digest && names.into_iter().any(|name| name == "replica-0")
        }
        _ => false,
    };
    until("replica-0 is counted in", || cluster.server_events().iter().any(is_counted_in)).await;
}
