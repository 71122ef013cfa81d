//! Replicas that keep their large blobs in an S3 object store, each under its own prefix.

use support::blobs::{content, until_signed_by};
use support::processes::{Node, Processes};
use support::s3::{KEY, S3Server, SECRET, overwrite};
use support::until;
use vouch::client::ClientError;
use vouch_core::digest::{ClusterId, Digest};
use vouch_core::message::Code;
use vouch_core::session::SessionError;

const ENVIRONMENT: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];
const SMALL: usize = 1 << 10;
const MIDDLE: usize = 300 << 10;
const LARGE: usize = 3 << 20;

async fn start(server: &S3Server) -> Processes {
    let mut cluster = Processes::start(0).await;
    for number in 0..4 {
        let store = server.store(&format!("replica-{number}"));
        cluster.add_replica_in(number, &["--store", &store], &ENVIRONMENT);
    }
    cluster.until_connected().await;
    cluster
}

/// Puts content of this seed and length, certified by all four replicas.
async fn put(cluster: &Processes, seed: u64, length: usize) -> (ClusterId, Digest) {
    let certified = until_signed_by(4, async || cluster.put(&content(seed, length)).await.unwrap()).await;
    (certified.committee().cluster(), certified.certificate.claim.receipt.digest)
}

async fn assert_there(cluster: &Processes, (identity, digest): (ClusterId, Digest), seed: u64, length: usize) {
    let got = cluster.get(identity, digest).await.unwrap();
    assert!(got.bytes == content(seed, length), "{length} bytes");
    assert!(got.rejections.is_empty(), "{:?}", got.rejections);
}

fn object(server: &S3Server, number: usize, digest: Digest) -> std::path::PathBuf {
    server.file(&format!("replica-{number}/blobs/{}", digest.to_hex()))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_are_stored_as_objects_and_survive_a_kill() {
    let server = S3Server::start().await;
    let mut cluster = start(&server).await;
    let small = put(&cluster, 1, SMALL).await;
    let middle = put(&cluster, 2, MIDDLE).await;
    let large = put(&cluster, 3, LARGE).await;
    for number in 0..4 {
        assert!(std::fs::read(object(&server, number, large.1)).unwrap() == content(3, LARGE));
        assert!(object(&server, number, middle.1).with_extension("obao").exists());
        assert!(!object(&server, number, small.1).exists());
        let folder = cluster.replicas[number].folder();
        assert!(!folder.join("blobs").exists());
        assert_eq!(std::fs::read_dir(folder.join("partial")).unwrap().count(), 0, "nothing stays on the way");
    }
    cluster.replicas.iter_mut().for_each(Node::kill);
    for number in 0..4 {
        cluster.until_left(number).await;
    }
    // only one replica is left to answer
    cluster.replicas[2].start();
    cluster.until_connected().await;
    for (blob, seed, length) in [(small, 1, SMALL), (middle, 2, MIDDLE), (large, 3, LARGE)] {
        assert_there(&cluster, blob, seed, length).await;
    }
    // foreign bytes in an object's place are detected
    overwrite(&object(&server, 2, middle.1), &content(9, MIDDLE));
    cluster.get(middle.0, middle.1).await.unwrap_err();
    cluster.replicas[0].start();
    cluster.until_connected().await;
    let got = cluster.get(middle.0, middle.1).await.unwrap();
    assert!(got.bytes == content(2, MIDDLE));
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_recovers_from_a_store_outage_without_restart() {
    let mut server = S3Server::start().await;
    let cluster = start(&server).await;
    let small = put(&cluster, 1, SMALL).await;
    let large = put(&cluster, 2, LARGE).await;
    server.stop().await;
    let error = cluster.put(&content(3, MIDDLE)).await.unwrap_err();
    let ClientError::Session(SessionError::Refused { failed, .. }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::Storage, "{error}");
    let said = format!("cannot reach {}", server.endpoint());
    for replica in &cluster.replicas {
        until(&format!("{} says so", replica.name()), || replica.log().contains(&said)).await;
    }
    assert_there(&cluster, small, 1, SMALL).await;
    put(&cluster, 4, SMALL).await;
    cluster.get(large.0, large.1).await.unwrap_err();
    server.resume().await;
    assert_there(&cluster, large, 2, LARGE).await;
    let middle = put(&cluster, 3, MIDDLE).await;
    assert_there(&cluster, middle, 3, MIDDLE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replica_refuses_to_start_on_an_unusable_store() {
    let mut server = S3Server::start().await;
    let mut cluster = Processes::start(0).await;
    cluster.add_replica_in(0, &["--store", &server.store("one")], &ENVIRONMENT);
    cluster.until_connected().await;
    // another replica's prefix; wrong credentials; no credentials
    let wrong = [ENVIRONMENT[0], ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    for (number, environment, prefix, says) in [
        (1, &ENVIRONMENT, "one", "s3://blobs/one belongs to another replica"),
        (2, &wrong, "two", "denied permission to "),
        (3, &none, "two", "no credentials for "),
    ] {
        cluster.add_replica_in(number, &["--store", &server.store(prefix)], environment);
        assert_eq!(cluster.replicas[number].wait(), Some(1));
        let log = cluster.replicas[number].log();
        assert!(log.contains(says) && !log.contains(SECRET), "{log}");
    }
    // an unreachable store is reported at start, not at the first put
    cluster.replicas[0].kill();
    cluster.until_left(0).await;
    server.stop().await;
    cluster.replicas[0].start();
    assert_eq!(cluster.replicas[0].wait(), Some(1));
    assert!(cluster.replicas[0].log().contains(&format!("cannot reach {}", server.endpoint())));
    server.resume().await;
    cluster.replicas[0].start();
    cluster.until_connected().await;
}
