//! A damaged index or certificate archive is moved aside, logged, and rebuilt from the other nodes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use support::blobs::{content, until_signed_by};
use support::processes::{Node, Processes, run};
use support::until;
use vouch_core::digest::Digest;

/// Overwrites bytes in the middle of a file, or truncates it to its first half.
fn damage(path: &Path, is_cut: bool) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    match is_cut {
        true => bytes.truncate(half),
        false => bytes[..4096].fill(0xA5),
    }
    fs::write(path, bytes).unwrap();
}

fn is_moved_aside(folder: &Path, name: &str) -> bool {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).any(|entry| entry.to_str().unwrap().starts_with(name))
}

/// Number of blobs that `vouch du` reports; `None` while the replica starts.
async fn blobs_of(folder: &Path) -> Option<u64> {
    let status = run(folder, &["du", "--json", "--data", folder.to_str().unwrap()]).await;
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
    json["blobs"].as_u64()
}

/// Waits until a replica holds `blobs` blobs.
async fn until_it_holds(replica: &Node, blobs: u64) {
    for _ in 0..1200 {
        if blobs_of(replica.folder()).await == Some(blobs) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{}", replica.log());
}

fn file_of(replica: &Node, bytes: &[u8]) -> PathBuf {
    let hex = Digest::of(bytes).to_hex();
    replica.folder().join("blobs").join(&hex[..2]).join(hex)
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_with_a_damaged_index_recovers_its_blobs() {
    for is_cut in [false, true] {
        let mut cluster = Processes::start(4).await;
        for (seed, length) in [(1, 100), (2, 200_000)] {
            cluster.put(&content(seed, length)).await.unwrap();
        }
        cluster.replicas[1].kill();
        let folder = cluster.replicas[1].folder().to_owned();
        damage(&folder.join("index.redb"), is_cut);
        cluster.replicas[1].start();
        let log = || cluster.replicas[1].log();
        until("the damage is logged", || log().contains("index.redb is damaged (")).await;
        assert!(log().contains("this replica holds nothing until it has found its blobs on its disk"), "{}", log());
        assert!(!log().contains("panicked"), "{}", log());
        assert!(is_moved_aside(&folder, "index.redb.damaged-"));
        until_it_holds(&cluster.replicas[1], 2).await;
    }
}

/// Correct files on disk are adopted; wrong ones are fetched.
#[tokio::test(flavor = "multi_thread")]
async fn correct_files_of_a_lost_index_are_adopted() {
    let mut cluster = Processes::start(4).await;
    let (right, wrong, small) = (content(1, 700_000), content(2, 300_000), content(3, 100));
    let mut identity = None;
    for bytes in [&right, &wrong, &small] {
        let certified = until_signed_by(4, async || cluster.put(bytes).await.unwrap()).await;
        identity = Some(certified.committee().cluster());
    }
    cluster.replicas[1].kill();
    let replica = &cluster.replicas[1];
    let inode = |bytes: &[u8]| fs::metadata(file_of(replica, bytes)).unwrap().ino();
    let before = [inode(&right), inode(&wrong)];
    let mut flipped = wrong.clone();
    flipped[150_000] ^= 1;
    fs::write(file_of(replica, &wrong), flipped).unwrap();
    // a blob without any certificate
    let stray = content(4, 400_000);
    fs::write(file_of(replica, &stray), &stray).unwrap();
    fs::remove_file(replica.folder().join("index.redb")).unwrap();
    cluster.replicas[1].start();
    let log = || cluster.replicas[1].log();
    until("the found blob is logged", || log().contains("found 1 blob on the disk that were missing in the index"))
        .await;
    until_it_holds(&cluster.replicas[1], 3).await;
    let replica = &cluster.replicas[1];
    let inode = |bytes: &[u8]| fs::metadata(file_of(replica, bytes)).unwrap().ino();
    assert_eq!(inode(&right), before[0], "the file was adopted");
    assert_ne!(inode(&wrong), before[1], "it was fetched");
    // it serves and signs for all three certified blobs, but not for the stray one, whose expiry is unknown
    for number in [0, 2, 3] {
        cluster.replicas[number].kill();
        cluster.until_left(number).await;
    }
    for bytes in [&right, &wrong, &small] {
        assert!(cluster.get(identity.unwrap(), Digest::of(bytes)).await.unwrap().bytes == *bytes);
    }
    assert!(cluster.get(identity.unwrap(), Digest::of(&stray)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_a_damaged_certificate_archive_recovers() {
    let mut cluster = Processes::start(4).await;
    let bytes = content(1, 100);
    let identity = cluster.put(&bytes).await.unwrap().committee().cluster();
    cluster.server.kill();
    damage(&cluster.server.folder().join("certificates.redb"), true);
    cluster.restart_server().await;
    until("the damage is logged", || cluster.server.log().contains("certificates.redb is damaged (")).await;
    assert!(is_moved_aside(cluster.server.folder(), "certificates.redb.damaged-"));
    cluster.until_connected().await;
    let certified = cluster.put(&bytes).await.unwrap();
    assert_eq!(certified.committee().cluster(), identity);
    assert!(cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap().bytes == bytes);
}
