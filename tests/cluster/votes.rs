//! A vote means that the bytes are on disk now, whatever happened to the disk since they were put.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::blobs::{content, signers, until_signed_by, verdict};
use support::http;
use support::processes::{Node, Processes, run};
use support::s3::{KEY, S3Server, SECRET, overwrite};
use support::until;
use vouch::client::{self, ClientError, PutProgress};
use vouch::host::Host;
use vouch::host::source::Source;
use vouch_core::digest::Digest;
use vouch_core::receipt::NEVER;
use vouch_core::session::Certified;
use vouch_core::verify::Verdict;

const SIZE: usize = 700_000;

/// Puts bytes; returns the certificate and the number of bytes sent.
async fn put(cluster: &Processes, bytes: &[u8], expires_at: u64, renew: bool) -> Result<(Certified, u64), ClientError> {
    let path = cluster.root().join("file");
    fs::write(&path, bytes).unwrap();
    let sent = Arc::new(Mutex::new(0));
    let counted = sent.clone();
    let (servers, retry) = (cluster.address().into(), Duration::ZERO);
    let put = client::Put {
        servers,
        trusted: None.into(),
        source: Source::File(path),
        expires_at,
        renew,
        token: None,
        retry,
    };
    let certified = client::put(&Host::system(), put, move |progress| {
        if let PutProgress::Sent(bytes) = progress {
            *counted.lock().unwrap() = bytes;
        }
    })
    .await?;
    let sent = *sent.lock().unwrap();
    Ok((certified, sent))
}

fn blob_of(replica: &Node, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    replica.folder().join("blobs").join(&hex[..2]).join(&hex)
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

async fn assert_there(cluster: &Processes, certified: &Certified, bytes: &[u8]) {
    let identity = certified.committee().cluster();
    assert!(matches!(verdict(certified, identity, bytes), Verdict::Valid(_)));
    assert!(cluster.get(identity, Digest::of(bytes)).await.unwrap().bytes == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_bytes_are_requested_before_a_replica_signs() {
    let cluster = Processes::start(4).await;
    let month = support::unix_seconds() + 30 * 86_400;
    let bytes = content(1, SIZE);
    let digest = Digest::of(&bytes);
    put(&cluster, &bytes, month, false).await.unwrap();
    // all replicas hold the bytes: nothing is sent, whatever is requested
    for (expires_at, renew) in [(month, true), (month + 1, false), (month, false)] {
        let (certified, sent) = put(&cluster, &bytes, expires_at, renew).await.unwrap();
        assert_eq!((sent, certified.reused), (0, expires_at == month && !renew));
    }
    type Damage = fn(&Path);
    let unlink: Damage = |path| fs::remove_file(path).unwrap();
    let no_outboard: Damage = |path| fs::remove_file(path.with_extension("obao")).unwrap();
    let shorten: Damage = |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1000).unwrap();
    let mut until = month + 1;
    for (name, damage) in [("unlinked", unlink), ("flipped", flip), ("outboard", no_outboard), ("shortened", shorten)] {
        // a renewal, a later expiry, and a repeated put
        for kind in ["renewal", "later", "again"] {
            let paths: Vec<PathBuf> = cluster.replicas.iter().map(|replica| blob_of(replica, &digest)).collect();
            paths.iter().for_each(|path| damage(path));
            until += u64::from(kind == "later");
            let (certified, sent) = put(&cluster, &bytes, until, kind == "renewal").await.unwrap();
            assert_eq!((sent, certified.reused), (SIZE as u64, false), "{name}, {kind}");
            assert_there(&cluster, &certified, &bytes).await;
            for path in paths {
                support::until("each has it again", || fs::read(&path).is_ok_and(|found| found == bytes)).await;
            }
        }
    }
    // HTTP behaves the same
    cluster.replicas.iter().for_each(|replica| unlink(&blob_of(replica, &digest)));
    assert_eq!(http::put(cluster.address(), &bytes).await.status, 201);
    let (certified, _) = put(&cluster, &bytes, until, false).await.unwrap();
    assert_there(&cluster, &certified, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_with_a_missing_folder_does_not_sign() {
    let cluster = Processes::start(4).await;
    let (large, small) = (content(1, SIZE), content(2, 1000));
    for bytes in [&large, &small] {
        until_signed_by(4, async || put(&cluster, bytes, NEVER, true).await.unwrap().0).await;
    }
    let folder = cluster.replicas[2].folder().to_owned();
    let elsewhere = cluster.root().join("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    fs::create_dir(&folder).unwrap();
    for (bytes, renew) in [(&large, true), (&small, true), (&content(3, SIZE), false), (&content(4, 1000), false)] {
        let (certified, _) = put(&cluster, bytes, NEVER, renew).await.unwrap();
        let signers = signers(&certified);
        assert!(signers.len() == 3 && !signers.contains(&"replica-2".to_owned()), "{signers:?}");
    }
    until("it says so", || cluster.replicas[2].log().contains("was removed, replaced or unmounted")).await;
    // moved back, nothing is lost
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    let renewed = async || {
        let (certified, sent) = put(&cluster, &large, NEVER, true).await.unwrap();
        assert_eq!(sent, 0);
        certified
    };
    until_signed_by(4, renewed).await;
    // permanently gone
    fs::remove_dir_all(&folder).unwrap();
    let (certified, _) = put(&cluster, &large, NEVER, true).await.unwrap();
    assert!(!signers(&certified).contains(&"replica-2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_refuses_to_start_without_its_blob_disk() {
    let mut cluster = Processes::start(0).await;
    let mount = cluster.root().join("mnt");
    for number in 0..4 {
        let store = format!("file:{}", mount.join(number.to_string()).display());
        let more: &[&str] = if number < 3 { &["--store", &store] } else { &[] };
        cluster.add_replica_with(number, more);
    }
    cluster.until_connected().await;
    let bytes = content(1, SIZE);
    put(&cluster, &bytes, NEVER, false).await.unwrap();
    for (number, place) in [(0, mount.join("0")), (3, cluster.replicas[3].folder().join("blobs"))] {
        cluster.replicas[number].terminate();
        cluster.until_left(number).await;
        let aside = cluster.root().join("aside");
        fs::rename(&place, &aside).unwrap();
        for is_there in [true, false] {
            if is_there {
                fs::create_dir(&place).unwrap();
            }
            cluster.replicas[number].start();
            assert_eq!(cluster.replicas[number].wait(), Some(1));
            let log = cluster.replicas[number].log();
            assert!(
                log.to_lowercase().contains("is its disk mounted?") || log.contains("Is the disk mounted?"),
                "{log}"
            );
            if is_there {
                assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is made in its place");
                fs::remove_dir(&place).unwrap();
            }
        }
        let folder = cluster.replicas[number].folder().display().to_string();
        let du = run(cluster.root(), &["du", "--data", &folder]).await;
        assert_ne!(du.status.code(), Some(0), "{du:?}");
        fs::rename(&aside, &place).unwrap();
        cluster.replicas[number].start();
        cluster.until_connected().await;
    }
    let renewed = async || {
        let (certified, sent) = put(&cluster, &bytes, NEVER, true).await.unwrap();
        assert_eq!(sent, 0);
        certified
    };
    until_signed_by(4, renewed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_checked_before_signing_like_files() {
    let environment = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
    let server = S3Server::start().await;
    let mut cluster = Processes::start(0).await;
    for number in 0..4 {
        cluster.add_replica_in(number, &["--store", &server.store(&number.to_string())], &environment);
    }
    cluster.until_connected().await;
    let bytes = content(1, SIZE);
    let objects = |number: usize| server.file(&format!("{number}/blobs/{}", Digest::of(&bytes).to_hex()));
    put(&cluster, &bytes, NEVER, false).await.unwrap();
    for renew in [true, true, false] {
        assert_eq!(put(&cluster, &bytes, NEVER, renew).await.unwrap().1, 0);
    }
    let unlink: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let other: fn(&Path) = |path| overwrite(path, &content(2, SIZE));
    for (damage, keeps_its_tag) in [(unlink, false), (other, true)] {
        for renew in [true, false] {
            (0..4).for_each(|number| damage(&objects(number)));
            if keeps_its_tag {
                // this S3 server returns the ETag of the original object until it restarts
                for number in 0..4 {
                    cluster.replicas[number].terminate();
                    cluster.until_left(number).await;
                    cluster.replicas[number].start();
                }
                cluster.until_connected().await;
            }
            let (certified, sent) = put(&cluster, &bytes, NEVER, renew).await.unwrap();
            assert_eq!((sent, certified.reused), (SIZE as u64, false));
            assert_there(&cluster, &certified, &bytes).await;
            for number in 0..4 {
                let path = objects(number);
                until("each has it again", || fs::read(&path).is_ok_and(|found| found == bytes)).await;
            }
        }
    }
    // an emptied prefix is no longer the replica's store
    cluster.replicas[1].terminate();
    let prefix = server.file("1");
    fs::rename(&prefix, prefix.with_extension("aside")).unwrap();
    cluster.replicas[1].start();
    assert_eq!(cluster.replicas[1].wait(), Some(1));
    let log = cluster.replicas[1].log();
    assert!(log.contains("is not where this replica keeps its blobs"), "{log}");
    // nor is a prefix with another store's objects under the same owner
    fs::create_dir_all(prefix.join("blobs")).unwrap();
    fs::copy(prefix.with_extension("aside").join("owner"), prefix.join("owner")).unwrap();
    cluster.replicas[1].start();
    assert_eq!(cluster.replicas[1].wait(), Some(1));
    assert!(cluster.replicas[1].log().contains("does not hold the blobs of"));
}
