//! A put file can be read back, and its bundle verifies independently.

use std::process::Stdio;

use support::blobs::{content, get_bytes, judge, put_bytes, put_file, verdict, write_content};
use support::in_process::InProcess;
use support::processes::{Processes, async_command};
use tokio::io::AsyncWriteExt;
use vouch_core::digest::Digest;
use vouch_core::session::SessionError;
use vouch_core::verify::{Check, Verdict};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn every_size_is_certified_and_readable() {
    let cluster = InProcess::start(4).await;
    let identity = cluster.put(b"first").await.unwrap().committee().cluster();
    let around = [16 * KIB, 256 * KIB, MIB];
    let sizes = [0, 1].into_iter().chain(around.into_iter().flat_map(|size| [size - 1, size, size + 1]));
    for (seed, size) in (0..).zip(sizes) {
        let bytes = content(seed, size);
        let certified = put_bytes(cluster.address(), Some(identity), &bytes).await.unwrap();
        assert!(matches!(verdict(&certified, identity, &bytes), Verdict::Valid(_)), "{size} bytes");
        let digest = certified.certificate.claim.receipt.digest;
        assert_eq!(digest.to_hex(), blake3::hash(&bytes).to_hex().as_str(), "what b3sum prints");
        assert_eq!(certified.certificate.claim.receipt.length, size as u64);
        let got = get_bytes(cluster.address(), Some(identity), digest).await.unwrap();
        assert!(got.bytes == bytes && got.rejections.is_empty(), "{size} bytes: {:?}", got.rejections);
        assert_eq!(got.cluster, identity);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_of_100_mib_is_certified_and_readable() {
    let cluster = InProcess::start(4).await;
    let path = cluster.root().join("large");
    write_content(&path, 1, 100 * MIB as u64).unwrap();
    let certified = put_file(cluster.address(), None, &path, |_| {}).await.unwrap();
    let (identity, bytes) = (certified.committee().cluster(), std::fs::read(&path).unwrap());
    assert!(matches!(verdict(&certified, identity, &bytes), Verdict::Valid(_)));
    let got = cluster.get(identity, certified.certificate.claim.receipt.digest).await.unwrap();
    assert!(got.bytes == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundle_is_valid_for_its_file_and_cluster_only() {
    let cluster = InProcess::start(1).await;
    let certified = cluster.put(b"this").await.unwrap();
    let identity = certified.committee().cluster();
    assert_eq!(verdict(&certified, identity, b"that").check(), Some(Check::Digest));
    let other = InProcess::start(1).await.put(b"this").await.unwrap();
    assert_eq!(verdict(&other, identity, b"this").check(), Some(Check::Identity));
}

#[tokio::test(flavor = "multi_thread")]
async fn same_file_may_be_put_again() {
    let cluster = InProcess::start(2).await;
    let (first, second) = (cluster.put(b"twice").await.unwrap(), cluster.put(b"twice").await.unwrap());
    let identity = first.committee().cluster();
    assert_ne!(first.certificate.claim.receipt.salt, second.certificate.claim.receipt.salt);
    for certified in [first, second] {
        assert!(matches!(verdict(&certified, identity, b"twice"), Verdict::Valid(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_digest_is_not_found() {
    let cluster = InProcess::start(2).await;
    let identity = cluster.put(b"something").await.unwrap().committee().cluster();
    let error = cluster.get(identity, Digest::of(b"nothing")).await.unwrap_err();
    assert!(
        matches!(&error, vouch::client::ClientError::Session(SessionError::NotFound(digest)) if *digest == Digest::of(b"nothing")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_of_unknown_length_is_certified() {
    let cluster = Processes::start(3).await;
    for (seed, size) in (0..).zip([0, 1, 256 * KIB, MIB + 1]) {
        let bytes = content(seed, size);
        let mut command = async_command(cluster.root());
        // a bundle for each size: a bundle of other bytes is not replaced
        let kept = format!("stream-{size}.vouch");
        command.args(["put", "-", "--server", cluster.address(), "--bundle", &kept]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // in two parts with a pause, as through a pipe
        let (one, other) = bytes.split_at(size / 2);
        input.write_all(one).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        input.write_all(other).await.unwrap();
        drop(input);
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{size} bytes: {output:?}");
        let bundle = std::fs::read(cluster.root().join(&kept)).unwrap();
        let shown = vouch_core::report::Inspection::of_bundle(&bundle).unwrap();
        assert!(matches!(judge(&bundle, shown.cluster, &bytes), Verdict::Valid(_)), "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn named_pipe_is_read_once() {
    let cluster = InProcess::start(1).await;
    let path = cluster.root().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let bytes = content(5, 700 * KIB);
    let (writer, whole) = (path.clone(), bytes.clone());
    let writing = std::thread::spawn(move || std::fs::write(writer, whole));
    let certified = put_file(cluster.address(), None, &path, |_| {}).await.unwrap();
    writing.join().unwrap().unwrap();
    assert_eq!(certified.certificate.claim.receipt.digest, Digest::of(&bytes));
}
