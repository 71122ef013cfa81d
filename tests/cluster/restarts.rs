//! Certified blobs survive the restart of every process.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::blobs::{content, get_bytes, put_bytes, put_file, verdict};
use support::in_process::InProcess;
use support::processes::{Processes, is_connected};
use support::until;
use vouch::client::{ClientError, PutProgress};
use vouch_core::message::Code;
use vouch_core::session::{Certified, SessionError};
use vouch_core::verify::Verdict;
use vouch_fixture::next_random;

/// The log line that says which member a replica is.
fn membership(log: &str) -> String {
    log.lines().rev().find(|line| line.starts_with("member ")).unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn assert_served(cluster: &Processes, certified: &Certified, bytes: &[u8]) {
    let identity = certified.committee().cluster();
    let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
    assert!(got.bytes == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn certified_blobs_survive_a_kill_of_all_processes() {
    let mut cluster = Processes::start(4).await;
    let bytes = content(1, 2 << 20);
    let certified = cluster.put(&bytes).await.unwrap();
    let identity = certified.committee().cluster();
    let read_keys = |cluster: &Processes| -> Vec<Vec<u8>> {
        let folders = cluster.replicas.iter().chain([&cluster.server]).map(|node| node.folder().to_owned());
        folders.map(|folder| std::fs::read(folder.join("node.key")).unwrap()).collect()
    };
    let keys = read_keys(&cluster);
    let members: Vec<_> = cluster.replicas.iter().map(|replica| membership(&replica.log())).collect();

    cluster.server.kill();
    cluster.replicas.iter_mut().for_each(support::processes::Node::kill);
    for replica in &mut cluster.replicas {
        replica.start();
    }
    cluster.restart_server().await;
    assert!(cluster.server.log().contains(&format!("cluster {identity}")), "{}", cluster.server.log());
    cluster.until_connected().await;

    assert_eq!(read_keys(&cluster), keys);
    for (replica, before) in cluster.replicas.iter().zip(members) {
        until("each is the member that it was", || membership(&replica.log()) == before).await;
        assert!(["node.key", "vote.key"].iter().all(|key| mode(&replica.folder().join(key)) == 0o600));
    }
    assert_eq!(mode(&cluster.server.folder().join("node.key")), 0o600);
    assert_served(&cluster, &certified, &bytes).await;
    let again = put_bytes(cluster.address(), Some(identity), &bytes).await.unwrap();
    assert!(matches!(verdict(&again, identity, &bytes), Verdict::Valid(_)));
    let other = put_bytes(cluster.address(), Some(identity), b"another").await.unwrap();
    assert!(matches!(verdict(&other, identity, b"another"), Verdict::Valid(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_shuts_down_gracefully() {
    let mut cluster = Processes::start(2).await;
    let certified = cluster.put(b"bytes").await.unwrap();
    assert_eq!(cluster.server.terminate(), Some(0));
    assert!(cluster.replicas.iter_mut().all(|replica| replica.terminate() == Some(0)));
    cluster.restart_server().await;
    cluster.replicas.iter_mut().for_each(support::processes::Node::start);
    cluster.until_connected().await;
    assert_served(&cluster, &certified, b"bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certified_blobs_survive_kills_of_replicas_at_random_moments() {
    let mut cluster = Processes::start(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let mut random = 20_240_229;
    let mut certified = Vec::new();
    for round in 0..5 {
        let address = cluster.address().to_owned();
        let puts = tokio::spawn(async move {
            let mut done = Vec::new();
            for number in 0..6 {
                let bytes = content(round * 100 + number, 600 << 10);
                if let Ok(certified) = put_bytes(&address, Some(identity), &bytes).await {
                    done.push((certified, bytes));
                }
            }
            done
        });
        // two victims of four, one tolerated: puts may fail, certified blobs must survive
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(next_random(&mut random) % 150)).await;
            let victim = usize::try_from(next_random(&mut random) % 4).unwrap();
            cluster.replicas[victim].kill();
            tokio::time::sleep(Duration::from_millis(next_random(&mut random) % 50)).await;
            cluster.replicas[victim].start();
        }
        certified.extend(puts.await.unwrap());
    }
    println!("{} of 30 puts were certified while replicas were killed", certified.len());
    assert!(!certified.is_empty());

    cluster.server.kill();
    cluster.replicas.iter_mut().for_each(support::processes::Node::kill);
    cluster.replicas.iter_mut().for_each(support::processes::Node::start);
    cluster.restart_server().await;
    cluster.until_connected().await;
    for (certified, bytes) in &certified {
        assert_served(&cluster, certified, bytes).await;
    }
    // each signer holds it, byte for byte
    for (certified, bytes) in &certified {
        let record = certified.committee().record();
        let hex = certified.certificate.claim.receipt.digest.to_hex();
        for signer in certified.certificate.signers.iter().map(|member| record.name(member)) {
            let replica = cluster.replicas.iter().find(|replica| replica.name() == signer).unwrap();
            let blob = replica.folder().join("blobs").join(&hex[..2]).join(&hex);
            assert!(std::fs::read(blob).unwrap() == *bytes, "{signer}");
        }
    }
    cluster.put(b"last").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_lost_its_folder_rejoins_the_cluster() {
    let mut cluster = InProcess::start(3).await;
    let certified = cluster.put(b"bytes").await.unwrap();
    let identity = certified.committee().cluster();
    for number in 0..3 {
        cluster.until_replica(number, "is a member", |event| matches!(event, vouch::replica::Event::Member(..))).await;
    }
    cluster.stop_server().await;
    std::fs::remove_dir_all(cluster.root().join("server")).unwrap();
    cluster.start_server().await;
    until("the replicas come back", || cluster.connected().len() == 3).await;
    let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
    assert_eq!(got.bytes, b"bytes");
    let again = put_bytes(cluster.address(), Some(identity), b"more").await.unwrap();
    assert!(matches!(verdict(&again, identity, b"more"), Verdict::Valid(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_returning_member_is_enough_to_learn_the_cluster() {
    let mut cluster = InProcess::start(3).await;
    let identity = cluster.put(b"bytes").await.unwrap().committee().cluster();
    for number in [0, 1, 2] {
        cluster.until_replica(number, "is a member", |event| matches!(event, vouch::replica::Event::Member(..))).await;
    }
    cluster.stop_replica(0).await;
    cluster.stop_replica(1).await;
    cluster.stop_server().await;
    std::fs::remove_dir_all(cluster.root().join("server")).unwrap();
    cluster.start_server().await;
    until("a member comes back", || cluster.connected().len() == 1).await;
    // one member is no quorum, and the server must not found another cluster
    let error = put_bytes(cluster.address(), Some(identity), b"more").await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, names }) = &error else { panic!("{error}") };
    assert_eq!((failed.code, names.len()), (Code::NotEnoughReplicas, 2), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_replicas() {
    let mut cluster = Processes::start(0).await;
    let (second, second_address) = cluster.another_server("server-2").await;
    for number in 0..3 {
        cluster.add_replica_with(number, &[&second_address]);
    }
    cluster.until_connected().await;
    for replica in &cluster.replicas {
        until("the second server sees it", || is_connected(&second, replica.name())).await;
    }
    let certified = cluster.put(b"through the first").await.unwrap();
    let identity = certified.committee().cluster();
    // the second server may receive its first request before the members told it the committee
    let mut got = get_bytes(&second_address, Some(identity), certified.certificate.claim.receipt.digest).await;
    for _ in 0..600 {
        if got.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        got = get_bytes(&second_address, Some(identity), certified.certificate.claim.receipt.digest).await;
    }
    assert_eq!(got.unwrap().bytes, b"through the first");
    let other = put_bytes(&second_address, Some(identity), b"through the second").await.unwrap();
    assert!(matches!(verdict(&other, identity, b"through the second"), Verdict::Valid(_)));
    assert_served(&cluster, &other, b"through the second").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn put_after_a_server_kill_resumes() {
    let mut cluster = Processes::start(3).await;
    cluster.put(b"first").await.unwrap();
    let path = cluster.root().join("large");
    std::fs::write(&path, content(1, 64 << 20)).unwrap();
    let (address, large) = (cluster.address().to_owned(), path.clone());
    let sent = Arc::new(AtomicU64::new(0));
    let told = sent.clone();
    let putting = tokio::spawn(async move {
        put_file(&address, None, &large, move |step| {
            if let PutProgress::Sent(done) = step {
                told.store(done, Ordering::Relaxed);
            }
        })
        .await
    });
    until("bytes flow", || sent.load(Ordering::Relaxed) > 24 << 20).await;
    let began = Instant::now();
    cluster.server.kill();
    let error = putting.await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Link(_)), "{error}");
    // sooner than a missing ping would be noticed
    assert!(began.elapsed() < Duration::from_secs(14), "{:?}", began.elapsed());
    cluster.restart_server().await;
    cluster.until_connected().await;
    // the put resumes and leaves nothing but the blob
    let certified = put_file(cluster.address(), None, &path, |_| {}).await.unwrap();
    assert!(certified.sent_from > 0, "all of it was sent again");
    for replica in &cluster.replicas {
        let partial = replica.folder().join("partial");
        until("nothing is left", || std::fs::read_dir(&partial).unwrap().count() == 0).await;
    }
    assert_served(&cluster, &certified, &content(1, 64 << 20)).await;
}
