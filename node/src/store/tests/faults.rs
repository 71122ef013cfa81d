//! Faults of the disk: a failed sync poisons the store, a full disk has its own code.

use std::io;

use super::*;

#[tokio::test]
async fn a_failed_sync_poisons_the_store() {
    let (disk, store) = open();
    let upload = store.begin(None).unwrap().write(&large(1)).unwrap();
    disk.syncs_fail(5);
    let error = upload.finish(&assignment(&large(1), 1)).unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
    disk.syncs_fail(0);
    assert!(store.is_broken() && store.begin(None).is_err());
}

#[tokio::test]
async fn a_failed_sync_ends_all_promises() {
    let (_disk, store) = open();
    let digest = put(&store, b"before").await;
    let (upload, complete) = (store.begin(None).unwrap(), finish(&store, b"meanwhile"));
    let fault =
        |action, kind: io::ErrorKind| store.inner.index.failed(FileError::new(Path::new("f"), action, kind.into()));

    assert_eq!(fault(Action::Sync, io::ErrorKind::StorageFull).code(), Code::NoSpace);
    assert_eq!(fault(Action::Write, io::ErrorKind::Other).code(), Code::Storage);
    assert!(!store.is_broken());
    assert!(matches!(fault(Action::Sync, io::ErrorKind::Other), StoreError::Broken { .. }));
    assert!(store.is_broken());

    let broken = [
        store.begin(None).map(drop),
        upload.finish(&assignment(b"", 1)).map(drop),
        store.enter(complete).await,
        store.keep(&[assignment(b"before", 90)]).await.map(drop),
        store.archive([certificate(b"before", 1)].map(assigned).into()).await,
        store.put_small(&assignment(b"x", 1), Bytes::from_static(b"x")).await,
        store.mark_damaged(&digest).await,
        store.collect(1 << 40, GRACE).await.map(drop),
    ];
    for outcome in broken {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, StoreError::Broken { cause } if cause.is_failed_sync()), "{error}");
        assert_eq!(error.code(), Code::Storage);
    }
    assert_eq!(store.keep_until(&digest).unwrap(), Some(1));
    assert_eq!(read_all(&store, b"before").unwrap(), b"before"[..], "reads still work");
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
