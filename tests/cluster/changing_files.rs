//! A file that changes between hashing and sending is not certified.

use std::path::Path;

use support::blobs::{content, put_file};
use support::in_process::InProcess;
use vouch::client::{ClientError, PutProgress};
use vouch_core::message::Code;
use vouch_core::session::SessionError;

const LENGTH: usize = 700 << 10;

/// Puts a file that `change` modifies right after it was hashed.
async fn put_changing(change: impl Fn(&Path) + Clone + Send + 'static) -> ClientError {
    let cluster = InProcess::start(4).await;
    let path = cluster.root().join("file");
    std::fs::write(&path, content(1, LENGTH)).unwrap();
    let changed = path.clone();
    let result = put_file(cluster.address(), None, &path, move |step| {
        if let PutProgress::Offered(..) = step {
            change(&changed);
        }
    })
    .await;
    // the cluster still works
    cluster.put(b"another").await.unwrap();
    result.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_a_file_that_grows_fails() {
    let error = put_changing(|path| std::fs::write(path, content(1, LENGTH + 1)).unwrap()).await;
    let ClientError::Session(SessionError::SourceChanged { expected, got }) = &error else { panic!("{error}") };
    assert!(*expected == LENGTH as u64 && got > expected, "{error}");
    assert!(error.to_string().ends_with("put it again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_a_file_that_shrinks_fails() {
    for length in [LENGTH - 1, 100, 0] {
        let error = put_changing(move |path| std::fs::write(path, content(1, length)).unwrap()).await;
        let ClientError::Session(SessionError::SourceChanged { expected, got }) = &error else { panic!("{error}") };
        assert!(*expected == LENGTH as u64 && *got == length as u64, "{error}");
        assert!(error.to_string().ends_with("put it again"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_a_rewritten_file_fails() {
    let error = put_changing(|path| std::fs::write(path, content(2, LENGTH)).unwrap()).await;
    let ClientError::Session(SessionError::Refused { failed, .. }) = &error else { panic!("{error}") };
    assert_eq!(failed.code, Code::DigestDiffers, "{error}");
    assert!(error.to_string().ends_with("if the file changed while it was read, put it again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_of_a_deleted_file_fails() {
    let error = put_changing(|path| std::fs::remove_file(path).unwrap()).await;
    assert!(matches!(error, ClientError::Source { .. }), "{error}");
}
