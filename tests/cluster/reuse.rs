//! Putting an already certified file returns its certificate; nothing is sent or stored again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::blobs::{content, judge, verdict};
use support::http;
use support::in_process::InProcess;
use tokio::task::JoinSet;
use vouch::client::{self, ClientError, PutProgress};
use vouch::host::Host;
use vouch::host::source::Source;
use vouch_core::message::Code;
use vouch_core::receipt::NEVER;
use vouch_core::session::{Certified, SessionError};
use vouch_core::verify::Verdict;

struct Request<'a> {
    server: &'a str,
    path: &'a Path,
    expires_at: u64,
    renew: bool,
    retry: Duration,
}

/// Puts a file; returns the certificate and the number of bytes sent.
async fn put(request: Request<'_>) -> Result<(Certified, u64), ClientError> {
    let Request { server, path, expires_at, renew, retry } = request;
    let (sent, source) = (Arc::new(Mutex::new(0)), Source::File(path.into()));
    let counted = sent.clone();
    let put =
        client::Put { servers: server.into(), trusted: None.into(), source, expires_at, renew, token: None, retry };
    let certified = client::put(&Host::system(), put, move |progress| {
        if let PutProgress::Sent(bytes) = progress {
            *counted.lock().unwrap() = bytes;
        }
    })
    .await?;
    let sent = *sent.lock().unwrap();
    Ok((certified, sent))
}

fn write(cluster: &InProcess, name: &str, bytes: &[u8]) -> PathBuf {
    let path = cluster.root().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_certificate_is_reused_without_sending_bytes() {
    const MONTH: u64 = 30 * 86_400;
    let mut cluster = InProcess::start(4).await;
    let server = cluster.address().to_owned();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for (seed, size) in [(1, 1000), (2, 700_000)] {
        let bytes = content(seed, size);
        let path = write(&cluster, "file", &bytes);
        let once =
            |expires_at, renew| put(Request { server: &server, path: &path, expires_at, renew, retry: Duration::ZERO });
        let (first, _) = once(now + MONTH, false).await.unwrap();
        assert!(!first.reused);
        let identity = first.committee().cluster();
        // the same expiry, and an earlier one
        for expires_at in [now + MONTH, now + MONTH - 1] {
            let (again, sent) = once(expires_at, false).await.unwrap();
            assert_eq!((again.reused, sent), (true, 0), "{size}");
            assert_eq!(again.certificate, first.certificate);
            assert!(matches!(verdict(&again, identity, &bytes), Verdict::Valid(_)));
        }
        // a later expiry, and `renew`
        let (longer, _) = once(NEVER, false).await.unwrap();
        assert!(!longer.reused && longer.certificate.claim.receipt.expires_at == NEVER);
        let (anew, _) = once(NEVER, true).await.unwrap();
        assert!(!anew.reused && anew.certificate != longer.certificate);
    }
    // a newer certificate with an earlier expiry does not hide the longer promise
    let path = write(&cluster, "file", &content(2, 700_000));
    let once =
        |server, expires_at, renew| put(Request { server, path: &path, expires_at, renew, retry: Duration::ZERO });
    assert!(!once(&server, now + 100, true).await.unwrap().0.reused);
    let (new, sent) = once(&server, NEVER, false).await.unwrap();
    assert!(new.reused && new.certificate.claim.receipt.expires_at == NEVER && sent == 0);
    // it is reused only while a quorum confirms that it holds the blob
    cluster.stop_replica(0).await;
    let (again, sent) = once(&server, NEVER, false).await.unwrap();
    assert_eq!((again.reused, &again.certificate, sent), (true, &new.certificate, 0));
    let small = write(&cluster, "small", &content(1, 1000));
    let again = put(Request { server: &server, path: &small, expires_at: NEVER, renew: false, retry: Duration::ZERO })
        .await
        .unwrap();
    assert!(again.0.reused);
    for number in 1..4 {
        cluster.stop_replica(number).await;
        for (path, renew) in [(&path, false), (&path, true), (&small, false)] {
            let error = put(Request { server: &server, path, expires_at: NEVER, renew, retry: Duration::ZERO })
                .await
                .unwrap_err();
            let ClientError::Session(SessionError::Refused { failed, .. }) = &error else { panic!("{error}") };
            assert_eq!(failed.code, Code::NotEnoughReplicas, "{number}: {error}");
        }
        let response = http::put(&server, &content(2, 700_000)).await;
        assert_eq!(response.status, 503, "{}", response.text());
        assert!(response.text().contains("not-enough-replicas"), "{}", response.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_reuses_a_certificate_at_its_end() {
    let cluster = InProcess::start(4).await;
    let bytes = content(3, 700_000);
    let path = write(&cluster, "file", &bytes);
    let request =
        Request { server: cluster.address(), path: &path, expires_at: NEVER, renew: false, retry: Duration::ZERO };
    let (first, _) = put(request).await.unwrap();
    let response = http::put(cluster.address(), &bytes).await;
    assert_eq!(response.status, 201);
    assert_eq!(response.text(), first.bundle.to_json());
    let response = http::put(cluster.address(), &content(4, 1000)).await;
    assert_eq!(response.status, 201);
    let identity = first.committee().cluster();
    assert!(matches!(judge(response.text().as_bytes(), identity, &content(4, 1000)), Verdict::Valid(_)));
}

/// Files above 100 kB and their sizes. Every copy of the put file, also a partial one, is that large.
fn large_files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, about) = (entry.path(), entry.metadata().unwrap());
        if about.is_dir() {
            files.extend(large_files(&path));
        } else if about.len() > 100_000 {
            files.push((path, about.len()));
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_concurrent_puts_of_one_file_store_it_once() {
    const SIZE: u64 = 3 << 20;
    let cluster = InProcess::start(4).await;
    let bytes = content(5, 3 << 20);
    let path = write(&cluster, "file", &bytes);
    let (server, mut puts) = (cluster.address().to_owned(), JoinSet::new());
    for _ in 0..100 {
        let (server, path) = (server.clone(), path.clone());
        // on a busy machine a member may be too slow for some puts, which are then retried, as the command does
        let retry = Duration::from_secs(60);
        puts.spawn(async move {
            put(Request { server: &server, path: &path, expires_at: NEVER, renew: false, retry }).await
        });
    }
    for result in puts.join_all().await {
        let (certified, _) = result.unwrap();
        let verdict = verdict(&certified, certified.committee().cluster(), &bytes);
        assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
    }
    for number in 0..4 {
        // a member skipped in some puts may still be deleting their partial uploads
        support::until("one copy is left", || {
            let files = ["blobs", "partial"].map(|name| large_files(&cluster.folder(number).join(name))).concat();
            matches!(&files[..], [(_, SIZE)])
        })
        .await;
    }
}
