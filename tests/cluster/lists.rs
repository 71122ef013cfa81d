//! Certificate lists: members keep certificates as well as the server, and all nodes learn from each other.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::blobs::{content, judge};
use support::fake_replica::{FakeReplica, Honest, Identity};
use support::http::{self, get};
use support::in_process::InProcess;
use support::processes::{Node, Processes, is_connected, run};
use support::until;
use vouch::client::{self, Put};
use vouch::host::Host;
use vouch::host::source::Source;
use vouch::replica::control::{self, Reply, Request};
use vouch::replica::status::Status;
use vouch_core::certificate::Certificate;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::{ListPage, ListPosition, Message};
use vouch_core::receipt::NEVER;
use vouch_core::session::Certified;
use vouch_core::verify::Verdict;

/// Bytes and their certificate.
struct CertifiedBytes {
    bytes: Vec<u8>,
    certified: Certified,
}

impl CertifiedBytes {
    fn digest(&self) -> Digest {
        self.certified.certificate.claim.receipt.digest
    }
}

/// Puts small and large blobs.
async fn put_all(address: &str, seeds: std::ops::Range<u64>) -> Vec<CertifiedBytes> {
    let mut all = Vec::new();
    for seed in seeds {
        let bytes = content(seed, if seed % 4 == 0 { 200_000 } else { 1000 });
        let certified = support::blobs::put_bytes(address, None, &bytes).await.unwrap();
        all.push(CertifiedBytes { bytes, certified });
    }
    all
}

async fn assert_has_certificates(address: &str, trusted: ClusterId, stored: &[CertifiedBytes]) {
    for one in stored {
        let answer = get(address, &format!("/v1/certificates/{}", one.digest())).await;
        assert_eq!(answer.status, 200, "{}", answer.problem());
        assert!(matches!(judge(&answer.body, trusted, &one.bytes), Verdict::Valid(_)));
    }
}

/// Puts the bytes again; `true` if the earlier certificate is returned.
async fn is_reused(cluster: &Path, address: &str, stored: &CertifiedBytes) -> bool {
    let path = cluster.join("again");
    fs::write(&path, &stored.bytes).unwrap();
    let put = Put {
        servers: address.into(),
        trusted: None.into(),
        source: Source::File(path),
        expires_at: NEVER,
        renew: false,
        token: None,
        retry: Duration::ZERO,
    };
    let again = client::put(&Host::system(), put, drop).await.unwrap();
    again.reused && again.certificate == stored.certified.certificate
}

async fn status(cluster: &Processes, replica: &Node) -> Value {
    let folder = replica.folder().display().to_string();
    let output = run(cluster.root(), &["status", "--data", &folder, "--json"]).await;
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Waits until a replica holds `blobs` blobs and reports that it lacks none; asserts that it never reports so too early.
async fn until_complete(cluster: &Processes, number: usize, blobs: u64) {
    for _ in 0..1200 {
        let status = status(cluster, &cluster.replicas[number]).await;
        let (held, lacking) = (&status["usage"]["blobs"], &status["repair"]["lacking"]);
        if let (Some(held), Some(lacking)) = (held.as_u64(), lacking.as_u64()) {
            // two requests: a blob stored in between is counted twice
            assert!(held + lacking >= blobs, "{status}");
            if held == blobs && lacking == 0 {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", status(cluster, &cluster.replicas[number]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_lost_its_disk_recovers_every_certificate() {
    let mut cluster = Processes::start(4).await;
    let stored = put_all(cluster.address(), 0..24).await;
    let trusted = stored[0].certified.committee().cluster();
    cluster.server.kill();
    fs::remove_dir_all(cluster.server.folder()).unwrap();
    cluster.restart_server().await;
    cluster.until_connected().await;
    assert_has_certificates(cluster.address(), trusted, &stored[..3]).await;
    for one in &stored[3..] {
        assert!(is_reused(cluster.root(), cluster.address(), one).await);
    }
    // it learns the certificates in the background too, and then needs no replica
    cluster.server.kill();
    fs::remove_dir_all(cluster.server.folder()).unwrap();
    cluster.restart_server().await;
    until("the server learns of them", || cluster.server.log().contains("learned ")).await;
    cluster.until_connected().await;
    until("all four lists are read", || cluster.server.log().contains("learned 24 certificates from ")).await;
    for number in 0..4 {
        cluster.replicas[number].kill();
        cluster.until_left(number).await;
    }
    assert_has_certificates(cluster.address(), trusted, &stored).await;
    let unknown = get(cluster.address(), &format!("/v1/certificates/{}", Digest::of(b"never put"))).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn second_server_learns_the_certificates_of_the_first() {
    let mut cluster = Processes::start(0).await;
    let (second, address) = cluster.another_server("second").await;
    for number in 0..4 {
        cluster.add_replica_with(number, &[&address]);
    }
    cluster.until_connected().await;
    let stored = put_all(cluster.address(), 0..6).await;
    let trusted = stored[0].certified.committee().cluster();
    until("all replicas join the second", || {
        (0..4).all(|number| is_connected(&second, cluster.replicas[number].name()))
    })
    .await;
    assert_has_certificates(&address, trusted, &stored[..3]).await;
    for one in &stored[3..] {
        // the second server may believe that its list is complete: retry until it is
        let mut reused = false;
        for _ in 0..600 {
            reused = get(&address, &format!("/v1/certificates/{}", one.digest())).await.status == 200;
            if reused {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(reused && is_reused(cluster.root(), &address, one).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_with_only_its_keys_left_fetches_everything() {
    let mut cluster = Processes::start(4).await;
    let stored = put_all(cluster.address(), 0..25).await;
    let trusted = stored[0].certified.committee().cluster();
    // the server has lost its certificates too
    cluster.replicas[0].kill();
    cluster.server.kill();
    fs::remove_dir_all(cluster.server.folder()).unwrap();
    let folder = cluster.replicas[0].folder().to_owned();
    fs::remove_dir_all(folder.join("blobs")).unwrap();
    fs::remove_file(folder.join("index.redb")).unwrap();
    cluster.restart_server().await;
    cluster.replicas[0].start();
    until_complete(&cluster, 0, 25).await;
    for number in 1..4 {
        cluster.replicas[number].kill();
        cluster.until_left(number).await;
    }
    for one in &stored {
        assert!(cluster.get(trusted, one.digest()).await.unwrap().bytes == one.bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_that_was_down_never_reports_complete_too_early() {
    let mut cluster = Processes::start(4).await;
    let mut stored = put_all(cluster.address(), 0..2).await;
    cluster.replicas[3].kill();
    cluster.until_left(3).await;
    stored.extend(put_all(cluster.address(), 2..6).await);
    cluster.server.kill();
    fs::remove_dir_all(cluster.server.folder()).unwrap();
    cluster.replicas[3].start();
    // without a server the replica cannot know that it is complete
    let mut alone = Value::Null;
    while alone["usage"].is_null() {
        alone = status(&cluster, &cluster.replicas[3]).await;
    }
    assert!(alone["repair"]["lacking"].is_null() && alone["repair"]["lacking_bytes"].is_null(), "{alone}");
    let text = run(cluster.root(), &["status", "--data", &cluster.replicas[3].folder().display().to_string()]).await;
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("  repair    lacking blobs not known yet: "), "{text}");
    cluster.restart_server().await;
    until_complete(&cluster, 3, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_through_another_server_triggers_repair_at_once() {
    let mut cluster = Processes::start(0).await;
    let (second, address) = cluster.another_server("second").await;
    for number in 0..3 {
        cluster.add_replica_with(number, &[&address]);
    }
    cluster.add_replica_with(3, &[]);
    cluster.until_connected().await;
    until("three replicas join the second", || {
        (0..3).all(|number| is_connected(&second, cluster.replicas[number].name()))
    })
    .await;
    let first = put_all(cluster.address(), 0..1).await;
    until_complete(&cluster, 3, 1).await;
    until("the second serves the cluster", || {
        second.log().contains(&first[0].certified.committee().cluster().to_string())
    })
    .await;
    // the next periodic list exchange is minutes away
    let bytes = content(7, 1000);
    assert_eq!(http::put(&address, &bytes).await.status, 201);
    let mut held = 0;
    for _ in 0..1200 {
        held = status(&cluster, &cluster.replicas[3]).await["usage"]["blobs"].as_u64().unwrap_or_default();
        if held == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(held, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_member_reports_what_it_lacks() {
    let mut cluster = Processes::start(3).await;
    cluster.add_replica_with(3, &["--quota", "1MiB"]);
    cluster.until_connected().await;
    put_all(cluster.address(), 0..1).await;
    until_complete(&cluster, 3, 1).await;
    cluster.put(&content(8, 2 << 20)).await.unwrap();
    for _ in 0..1200 {
        let status = status(&cluster, &cluster.replicas[3]).await;
        if status["repair"]["lacking"] == 1 {
            assert_eq!(status["repair"]["lacking_bytes"], 2 << 20, "{status}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{}", status(&cluster, &cluster.replicas[3]).await);
}

/// Answers every list request with wrong certificates, without end.
fn lists_garbage(pattern: Certificate) -> impl FnMut(&Honest, &Message, Vec<Message>) -> Vec<Message> + Send + 'static {
    move |_, message, answers| match message {
        Message::List { stream, from, .. } => {
            let certificates = (0..100_u64).map(|number| {
                let mut wrong = pattern.clone();
                wrong.claim.receipt.digest = Digest::of(&(from.after * 100 + number).to_le_bytes());
                wrong
            });
            let end = ListPosition { list: 7, after: from.after + 1 };
            let page = ListPage { end, more: true, certificates: certificates.collect() };
            vec![Message::Listed { stream: *stream, page }]
        }
        Message::FindCertificate { stream, digest } => {
            let mut wrong = pattern.clone();
            wrong.claim.receipt.digest = *digest;
            vec![Message::FoundCertificate { stream: *stream, certificate: Some(Box::new(wrong)) }]
        }
        _ => answers,
    }
}

async fn status_in_process(cluster: &InProcess, number: usize) -> Status {
    match control::ask(&Host::system(), &cluster.folder(number), Request::Status, drop).await {
        Ok(Reply::Status(status)) => *status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn member_that_lists_garbage_does_not_block_the_others() {
    let mut cluster = InProcess::start(3).await;
    let honest = |_: &Honest, _: &Message, answers| answers;
    let liar = FakeReplica::join(cluster.address(), Identity::first("liar"), honest).await;
    until("the liar joins", || cluster.connected().contains(&"liar".to_owned())).await;
    let stored = put_all(cluster.address(), 0..5).await;
    let trusted = stored[0].certified.committee().cluster();
    drop(liar);
    let pattern = stored[0].certified.certificate.clone();
    cluster.stop_replica(2).await;
    cluster.stop_server().await;
    fs::remove_dir_all(cluster.root().join("server")).unwrap();
    fs::remove_dir_all(cluster.folder(2).join("blobs")).unwrap();
    fs::remove_file(cluster.folder(2).join("index.redb")).unwrap();
    cluster.start_server().await;
    let _liar = FakeReplica::join(cluster.address(), Identity::first("liar"), lists_garbage(pattern)).await;
    cluster.start_replica(2).await;
    let mut held = 0;
    for _ in 0..1200 {
        let status = status_in_process(&cluster, 2).await;
        held = status.usage.map_or(0, |usage| usage.blobs);
        if held == 5 && status.repair.lacking == Some(0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(held, 5);
    assert_has_certificates(cluster.address(), trusted, &stored).await;
    let wrong = Digest::of(&100_u64.to_le_bytes());
    assert_eq!(get(cluster.address(), &format!("/v1/certificates/{wrong}")).await.status, 404);
}

/// A forged certificate that arrives first does not end the wait for the others.
#[tokio::test(flavor = "multi_thread")]
async fn forged_certificate_does_not_hide_a_later_valid_one() {
    let mut cluster = InProcess::start(0).await;
    let shows = |certificate: Certificate| {
        move |_: &Honest, message: &Message, answers| match message {
            Message::FindCertificate { stream, .. } => {
                let certificate = Some(Box::new(certificate.clone()));
                vec![Message::FoundCertificate { stream: *stream, certificate }]
            }
            _ => answers,
        }
    };
    let identity = |number: u32| Identity::new(number, &format!("member-{number}"));
    let mut fakes = Vec::new();
    for number in 0..4 {
        fakes.push(FakeReplica::join(cluster.address(), identity(number), |_, _, answers| answers).await);
    }
    until("all four join", || cluster.connected().len() == 4).await;
    let bytes = content(9, 1000);
    let certified = cluster.put(&bytes).await.unwrap();
    fakes.clear();
    cluster.stop_server().await;
    fs::remove_file(cluster.root().join("server").join("certificates.redb")).unwrap();
    cluster.start_server().await;
    // claims to be newer than the valid one
    let mut forged = certified.certificate.clone();
    forged.claim.issued_at += 1;
    for number in 0..3 {
        fakes.push(FakeReplica::join(cluster.address(), identity(number), shows(forged.clone())).await);
    }
    let (late, honest) = (Duration::from_secs(1), shows(certified.certificate.clone()));
    fakes.push(FakeReplica::join_late(cluster.address(), identity(3), late, honest).await);
    until("all four join again", || cluster.connected().len() == 4).await;
    let trusted = certified.committee().cluster();
    assert_has_certificates(cluster.address(), trusted, &[CertifiedBytes { bytes, certified }]).await;
}
