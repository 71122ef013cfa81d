//! An index or an archive whose bytes are wrong: put aside with a word, and had again from the others.

use std::fs;
use std::path::Path;

use support::blobs::content;
use support::processes::{Processes, run};
use support::until;

/// Wrong bytes in the middle of a file, or only its first half.
fn damage(path: &Path, is_cut: bool) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    match is_cut {
        true => bytes.truncate(half),
        false => bytes[..4096].fill(0xA5),
    }
    fs::write(path, bytes).unwrap();
}

fn is_aside(folder: &Path, name: &str) -> bool {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).any(|entry| entry.to_str().unwrap().starts_with(name))
}

async fn blobs_of(folder: &Path) -> u64 {
    let status = run(folder, &["du", "--json", "--data", folder.to_str().unwrap()]).await;
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    json["blobs"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_index_is_damaged_fetches_its_blobs_again() {
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
        until("it says so", || log().contains("index.redb is damaged (")).await;
        assert!(log().contains("this replica holds nothing until it has fetched its blobs"), "{}", log());
        assert!(!log().contains("panicked"), "{}", log());
        assert!(is_aside(&folder, "index.redb.damaged-"));
        for _ in 0..600 {
            if blobs_of(&folder).await == 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(blobs_of(&folder).await, 2, "{}", log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificates_are_damaged_goes_on() {
    let mut cluster = Processes::start(4).await;
    let bytes = content(1, 100);
    let identity = cluster.put(&bytes).await.unwrap().committee.cluster();
    cluster.server.kill();
    damage(&cluster.server.folder().join("certificates.redb"), true);
    cluster.restart_server().await;
    until("it says so", || cluster.server.log().contains("certificates.redb is damaged (")).await;
    assert!(is_aside(cluster.server.folder(), "certificates.redb.damaged-"));
    cluster.until_connected().await;
    let certified = cluster.put(&bytes).await.unwrap();
    assert_eq!(certified.committee.cluster(), identity);
    assert!(cluster.get(identity, certified.certificate.receipt.digest).await.unwrap().bytes == bytes);
}
