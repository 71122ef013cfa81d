use std::{fs, io};

use vouch_core::bls::AggregateSignature;
use vouch_core::certificate::Signers;
use vouch_core::digest::CommitteeDigest;
use vouch_core::receipt::NEVER;

use super::*;
use crate::host::files::Action;

fn receipt(bytes: &[u8], expires_at: u64) -> Receipt {
    Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at }
}

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn finish(store: &Store, bytes: &[u8]) -> Complete {
    let mut incoming = store.begin().unwrap();
    for chunk in bytes.chunks(3) {
        incoming.write(chunk).unwrap();
    }
    incoming.finish(&receipt(bytes, 1)).unwrap()
}

async fn put(store: &Store, bytes: &[u8]) -> Digest {
    store.record(finish(store, bytes)).await.unwrap();
    Digest::of(bytes)
}

fn partials(folder: &tempfile::TempDir) -> usize {
    files::list(&folder.path().join("partial")).unwrap().len()
}

fn certificate(bytes: &[u8], issued_at: u64) -> Certificate {
    Certificate {
        epoch: 0,
        committee: CommitteeDigest([1; 32]),
        issued_at,
        count: 1,
        index: 0,
        receipt: receipt(bytes, NEVER),
        path: Vec::new(),
        signers: Signers::new(4, [0, 1, 2]).unwrap(),
        signature: AggregateSignature([2; 96]),
    }
}

#[tokio::test]
async fn a_blob_is_stored_when_it_is_in_the_index() {
    let (folder, store) = open();
    let digest = Digest::of(b"some bytes");
    let complete = finish(&store, b"some bytes");
    assert_eq!(store.length_of(&digest).unwrap(), None);
    assert!(matches!(store.read(&digest, 0, 1), Err(StoreError::NotFound { digest: got }) if got == digest));
    store.record(complete).await.unwrap();
    drop(store);

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.length_of(&digest).unwrap(), Some(10));
    assert_eq!(store.keep_until(&digest).unwrap(), Some(0));
    assert_eq!(store.read(&digest, 0, 10).unwrap(), b"some bytes"[..]);
    let name = digest.to_hex();
    assert!(folder.path().join("blobs").join(&name[..2]).join(&name).is_file());
}

#[tokio::test]
async fn what_is_not_finished_goes() {
    let (folder, store) = open();
    let mut incoming = store.begin().unwrap();
    incoming.write(b"abc").unwrap();
    assert_eq!((incoming.length(), partials(&folder)), (3, 1));
    drop(incoming);
    assert_eq!(partials(&folder), 0);
    drop(store);
    fs::write(folder.path().join("partial/left"), b"by a crash").unwrap();
    Store::open(folder.path()).unwrap();
    assert_eq!(partials(&folder), 0);
}

#[tokio::test]
async fn bytes_that_differ_from_the_receipt_are_refused() {
    let (folder, store) = open();
    let take = |bytes: &[u8], receipt: &Receipt| {
        let mut incoming = store.begin().unwrap();
        incoming.write(bytes).unwrap();
        incoming.finish(receipt).unwrap_err()
    };
    let asked = receipt(b"asked", 1);
    let error = take(b"asked and more", &asked);
    assert!(matches!(error, StoreError::LengthDiffers { expected: 5, got: 14 }), "{error}");
    assert_eq!(error.code(), Code::LengthDiffers);
    let error = take(b"other", &asked);
    assert!(
        matches!(error, StoreError::DigestDiffers { expected, got } if expected == asked.digest && got == Digest::of(b"other"))
    );
    assert_eq!(error.code(), Code::DigestDiffers);
    for digest in [asked.digest, Digest::of(b"other")] {
        assert!(!store.inner.path_of(&digest).exists());
    }
    assert_eq!(partials(&folder), 0);
}

#[tokio::test]
async fn a_blob_may_come_again() {
    let (folder, store) = open();
    let digest = put(&store, b"twice").await;
    assert_eq!(store.keep(&[receipt(b"twice", 50)]).await.unwrap(), [0u16; 0]);
    // a file that decayed is made good by bytes that were just compared
    fs::write(store.inner.path_of(&digest), b"twist").unwrap();
    put(&store, b"twice").await;
    assert_eq!(store.read(&digest, 0, 5).unwrap(), b"twice"[..]);
    assert_eq!(store.keep_until(&digest).unwrap(), Some(50), "the promise stays");
    assert_eq!(partials(&folder), 0);
}

#[tokio::test]
async fn a_put_that_overlaps_a_promise_leaves_it_alone() {
    let (_folder, store) = open();
    let (one, two) = (finish(&store, b"blob"), finish(&store, b"blob"));
    // all wait while the index is busy, so that none of them finds the blob there
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = store.inner.index.commit(move |_| Ok(released.recv().is_err()));
    let receipts = [receipt(b"blob", 60)];
    let (busy, one, kept, two, ()) = tokio::join!(biased; busy, store.record(one), store.keep(&receipts), store.record(two), async { drop(release) });
    assert!(busy.unwrap() && one.is_ok() && two.is_ok());
    assert_eq!(kept.unwrap(), [0u16; 0]);
    assert_eq!(store.keep_until(&Digest::of(b"blob")).unwrap(), Some(60));
}

#[tokio::test]
async fn puts_of_one_blob_at_once_do_not_disturb_each_other() {
    let (_folder, store) = open();
    let complete: Vec<Complete> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| finish(&store, b"the same"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut recording = tokio::task::JoinSet::new();
    for complete in complete {
        let store = store.clone();
        recording.spawn(async move { store.record(complete).await });
    }
    assert!(recording.join_all().await.iter().all(Result::is_ok));
    assert_eq!(store.read(&Digest::of(b"the same"), 4, 4).unwrap(), b"same"[..]);
}

#[tokio::test]
async fn ranges_are_inside_the_blob() {
    let (_folder, store) = open();
    let digest = put(&store, b"0123456789").await;
    assert_eq!(store.read(&digest, 9, 1).unwrap(), b"9"[..]);
    for (offset, wanted) in [(0, 11), (9, 2), (10, 1), (11, 0), (u64::MAX, 1)] {
        let error = store.read(&digest, offset, wanted).unwrap_err();
        assert!(
            matches!(error, StoreError::BeyondTheEnd { length: 10, offset: o, wanted: w, .. } if (o, w) == (offset, wanted))
        );
        assert_eq!(error.code(), Code::Malformed);
    }
    let empty = put(&store, b"").await;
    assert_eq!(store.length_of(&empty).unwrap(), Some(0));
    assert_eq!(store.read(&empty, 0, 0).unwrap(), b""[..]);
}

#[tokio::test]
async fn a_file_cut_short_is_a_storage_fault() {
    let (_folder, store) = open();
    let digest = put(&store, b"0123456789").await;
    fs::write(store.inner.path_of(&digest), b"0123").unwrap();
    assert_eq!(store.read(&digest, 0, 10).unwrap_err().code(), Code::Storage);
    fs::remove_file(store.inner.path_of(&digest)).unwrap();
    assert_eq!(store.read(&digest, 0, 10).unwrap_err().code(), Code::Storage, "it said that it is stored");
}

#[tokio::test]
async fn a_duty_is_taken_on_for_all_of_a_batch_or_for_none() {
    let (folder, store) = open();
    let (one, two) = (put(&store, b"one").await, put(&store, b"two").await);
    let mut longer = receipt(b"two", 90);
    longer.length = 4;
    let batch = [receipt(b"one", 90), longer, receipt(b"absent", 90), receipt(b"two", 90)];
    assert_eq!(store.keep(&batch).await.unwrap(), [1, 2]);
    assert_eq!((store.keep_until(&one).unwrap(), store.keep_until(&two).unwrap()), (Some(0), Some(0)));

    let before = store.inner.index.commits();
    assert_eq!(store.keep(&[receipt(b"one", 90), receipt(b"two", NEVER)]).await.unwrap(), [0u16; 0]);
    assert_eq!(store.inner.index.commits(), before + 1);
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!((store.keep_until(&one).unwrap(), store.keep_until(&two).unwrap()), (Some(90), Some(NEVER)));
}

#[tokio::test]
async fn a_duty_is_never_shortened() {
    let (_folder, store) = open();
    let digest = put(&store, b"blob").await;
    for (asked, kept) in [(70, 70), (60, 70), (80, 80), (NEVER, NEVER), (90, NEVER)] {
        assert_eq!(store.keep(&[receipt(b"blob", asked)]).await.unwrap(), [0u16; 0]);
        assert_eq!(store.keep_until(&digest).unwrap(), Some(kept));
    }
    let digest = put(&store, b"in one batch").await;
    assert_eq!(store.keep(&[receipt(b"in one batch", 9), receipt(b"in one batch", 7)]).await.unwrap(), [0u16; 0]);
    assert_eq!(store.keep_until(&digest).unwrap(), Some(9));
}

#[tokio::test]
async fn the_newest_certificate_is_kept() {
    let (folder, store) = open();
    let digest = Digest::of(b"blob");
    assert_eq!(store.certificate(&digest).unwrap(), None);
    let (old, new) = (certificate(b"blob", 100), certificate(b"blob", 101));
    let mut rival = new.clone();
    rival.signature = AggregateSignature([3; 96]);
    for (archived, kept) in [(&old, &old), (&new, &new), (&old, &new), (&rival, &new)] {
        store.archive(archived).await.unwrap();
        assert_eq!(store.certificate(&digest).unwrap().as_ref(), Some(kept));
    }
    drop(store);
    assert_eq!(Store::open(folder.path()).unwrap().certificate(&digest).unwrap(), Some(new));
}

#[tokio::test]
async fn a_certificate_that_decayed_is_named() {
    let (_folder, store) = open();
    let digest = Digest::of(b"blob");
    let garble = store.inner.index.commit(move |transaction| {
        transaction.open_table(CERTIFICATES)?.insert(digest.0, (1, b"garbage".as_slice()))?;
        Ok(())
    });
    garble.await.unwrap();
    let error = store.certificate(&digest).unwrap_err();
    assert!(matches!(error, StoreError::Certificate { digest: got, .. } if got == digest));
    assert_eq!(error.code(), Code::Storage);
}

#[tokio::test]
async fn a_failed_sync_is_the_end_of_promises() {
    let (_folder, store) = open();
    let digest = put(&store, b"before").await;
    let (incoming, complete) = (store.begin().unwrap(), finish(&store, b"meanwhile"));
    let fault = |action, kind: io::ErrorKind| store.inner.failed(FileError::new(Path::new("f"), action, kind.into()));

    assert_eq!(fault(Action::Sync, io::ErrorKind::StorageFull).code(), Code::NoSpace);
    assert_eq!(fault(Action::Write, io::ErrorKind::Other).code(), Code::Storage);
    assert!(!store.is_broken());
    assert!(matches!(fault(Action::Sync, io::ErrorKind::Other), StoreError::Broken { .. }));
    assert!(store.is_broken());

    let broken = [
        store.begin().map(drop),
        incoming.finish(&receipt(b"", 1)).map(drop),
        store.record(complete).await,
        store.keep(&[receipt(b"before", 90)]).await.map(drop),
        store.archive(&certificate(b"before", 1)).await,
    ];
    for outcome in broken {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::Broken { cause } if cause.is_failed_sync()), "{error}");
        assert_eq!(error.code(), Code::Storage);
    }
    assert_eq!(store.keep_until(&digest).unwrap(), Some(0));
    assert_eq!(store.read(&digest, 0, 6).unwrap(), b"before"[..], "reading goes on");
}

#[test]
fn a_full_disk_has_its_own_code() {
    let path = PathBuf::from("f");
    let file = FileError::NoSpace { path: path.clone(), action: Action::Write };
    for error in [
        StoreError::File(file.clone()),
        StoreError::Index(DurableError::NoSpace { path: path.clone() }),
        StoreError::Index(DurableError::File(file)),
    ] {
        assert_eq!(error.code(), Code::NoSpace);
    }
    assert_eq!(StoreError::Index(DurableError::Closed { path }).code(), Code::Storage);
}

#[test]
fn a_store_is_opened_once() {
    let (folder, store) = open();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Index(DurableError::InUse { .. })), "{error}");
    drop(store);
    Store::open(folder.path()).unwrap();
}
