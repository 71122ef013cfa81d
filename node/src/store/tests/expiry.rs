//! Expired blobs are removed with everything that belongs to them, and nothing else is.

use super::*;

#[tokio::test]
async fn expired_blobs_are_removed_after_the_grace() {
    let (disk, store) = open();
    let (gone, stays, never) = (large(1), large(2), large(3));
    put_until(&store, &gone, 1000).await;
    put_until(&store, b"gone", 1000).await;
    put_until(&store, &stays, 1001).await;
    put_until(&store, &never, NEVER).await;
    store.archive([certificate(&gone, 1), certificate(&never, 1)].map(assigned).into()).await.unwrap();
    assert_eq!(store.collect(1000 + 199, 200).await.unwrap(), Collected::default());
    assert_eq!(store.usage().unwrap().blobs, 4);
    assert_eq!(store.collect(1000 + 200, 200).await.unwrap(), Collected { blobs: 2, bytes: 70_004, usage: Vec::new() });
    for bytes in [&gone[..], b"gone"] {
        assert!(matches!(read_all(&store, bytes), Err(StoreError::NotFound { .. })));
        assert_eq!(store.certificate(&Digest::of(bytes)).unwrap(), None);
    }
    assert_eq!(read_all(&store, &stays).unwrap(), stays);
    assert_eq!(blob_files(&disk).len(), 4);
    assert_eq!(store.collect(u64::MAX, 200).await.unwrap().blobs, 1);
    assert_eq!(read_all(&store, &never).unwrap(), never, "a blob without an expiry stays");
    assert!(store.certificate(&Digest::of(&never)).unwrap().is_some());
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.bytes), (1, 70_000));
    assert_eq!(blob_files(&disk).len(), 2);
}

#[tokio::test]
async fn the_grace_is_longer_than_clocks_differ() {
    let (_disk, store) = open();
    let error = store.collect(1000, 120).await.unwrap_err();
    assert!(matches!(error, StoreError::ShortGrace { got: 120, least: 120 }), "{error}");
    store.collect(1000, 121).await.unwrap();
}

#[tokio::test]
async fn a_duty_prolonged_before_the_removal_wins() {
    let (_disk, store) = open();
    let bytes = large(1);
    put_until(&store, &bytes, 1000).await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = store.inner.index.0.commit(move |_| Ok(released.recv().is_err()));
    let assignments = [assignment(&bytes, 9000)];
    // both begin while the blob is expired, and commit in this order
    let (busy, kept, collected, ()) = tokio::join!(
        biased;
        busy,
        store.keep(&assignments),
        store.collect(1000 + GRACE, GRACE),
        async { drop(release) }
    );
    assert!(busy.unwrap() && kept.unwrap().is_empty());
    assert_eq!(collected.unwrap(), Collected::default());
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
    assert_eq!(store.keep_until(&Digest::of(&bytes)).unwrap(), Some(9000));
}

#[tokio::test]
async fn a_duty_after_the_removal_is_not_recorded() {
    let (_disk, store) = open();
    let bytes = large(1);
    put_until(&store, &bytes, 1000).await;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = store.inner.index.0.commit(move |_| Ok(released.recv().is_err()));
    let assignments = [assignment(&bytes, 9000)];
    let (busy, collected, kept, ()) = tokio::join!(
        biased;
        busy,
        store.collect(1000 + GRACE, GRACE),
        store.keep(&assignments),
        async { drop(release) }
    );
    assert!(busy.unwrap());
    assert_eq!(collected.unwrap().blobs, 1);
    assert_eq!(kept.unwrap(), [0], "it is lacking, and nobody votes for it");
}

#[tokio::test]
async fn files_that_a_put_is_about_to_enter_are_left_alone() {
    let (disk, store) = open();
    let bytes = large(1);
    put_until(&store, &bytes, 1000).await;
    // a second put has written its files, but not its entry, when the first one expires
    let again = finish_until(&store, &bytes, 9000);
    assert_eq!(store.collect(1000 + GRACE, GRACE).await.unwrap().blobs, 1);
    store.enter(again).await.unwrap();
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
    // after the second put is given up, the files belong to no blob
    drop(finish(&store, &large(2)));
    assert_eq!(blob_files(&disk).len(), 4);
    store.collect(0, GRACE).await.unwrap();
    assert_eq!(blob_files(&disk).len(), 2);
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
}

#[tokio::test]
async fn an_interrupted_removal_is_finished_later() {
    let (disk, store) = open();
    let digest = put_until(&store, &large(1), 1000).await;
    let (data, outboard) = (files(&store).path_of(&digest), files(&store).outboard_of(&digest));
    store.inner.index.change(index::remove_expired(1000, 10)).await.unwrap();
    disk.remove(&data).unwrap();
    assert!(disk.exists(&outboard).unwrap());
    // files of others are not touched
    disk.create(&data.with_file_name("notes"), 0o600).unwrap();
    drop(store);
    open_on(&disk).collect(0, GRACE).await.unwrap();
    assert_eq!(blob_files(&disk), [data.with_file_name("notes")]);
}

#[tokio::test]
async fn an_open_blob_can_be_read_to_its_end_after_its_removal() {
    let (_disk, store) = open();
    let bytes = large(1);
    let digest = put_until(&store, &bytes, 1000).await;
    let opened = store.inner.blobs.open(&digest, 0).unwrap();
    store.collect(1000 + GRACE, GRACE).await.unwrap();
    let mut read = vec![0; bytes.len()];
    opened.read(0, &mut read).unwrap();
    assert_eq!(read, bytes);
}

#[tokio::test]
async fn damaged_blobs_expire_too() {
    let (_disk, store) = open();
    let digest = put_until(&store, &large(1), 1000).await;
    store.archive([certificate(&large(1), 1)].map(assigned).into()).await.unwrap();
    store.mark_damaged(&digest).await.unwrap();
    assert_eq!(
        store.collect(1000 + GRACE, GRACE).await.unwrap(),
        Collected::default(),
        "a damaged blob is not counted"
    );
    assert!(store.damaged_from(None, 10).unwrap().is_empty());
    assert_eq!((store.usage().unwrap().damaged, store.certificate(&digest).unwrap()), (0, None));
}

#[tokio::test]
async fn running_time_is_counted_across_restarts() {
    const WINDOW: Duration = Duration::from_secs(1000);
    let ran = Duration::from_secs(300);
    let (disk, store) = open();
    let bytes = large(1);
    put_until(&store, &bytes, 1000).await;
    store.collect_settled(500, ran, WINDOW, GRACE, true).await.unwrap();
    // ahead by a month for one sample, then off for a month
    store.collect_settled(1 << 22, ran, WINDOW, GRACE, true).await.unwrap();
    for _ in 0..3 {
        store.collect_settled(900, ran, WINDOW, GRACE, true).await.unwrap();
    }
    drop(store);
    let store = open_on(&disk);
    for _ in 0..4 {
        let collected = store.collect_settled(1 << 22, ran, WINDOW, GRACE, true).await.unwrap();
        assert_eq!(collected, Collected::default());
        assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
    }
    assert_eq!(store.collect_settled(1 << 22, ran, WINDOW, GRACE, true).await.unwrap().blobs, 1);
}

#[tokio::test]
async fn a_newer_certificate_that_expires_earlier_does_not_replace_a_longer_promise() {
    let store = open().1;
    let digest = put_until(&store, &large(1), NEVER).await;
    let until = |issued_at, expires_at| {
        let mut certificate = certificate(&large(1), issued_at);
        certificate.claim.receipt.expires_at = expires_at;
        certificate
    };
    for (given, kept) in
        [(until(1, 900), until(1, 900)), (until(2, 500), until(1, 900)), (until(1, NEVER), until(1, NEVER))]
    {
        store.archive([given].map(assigned).into()).await.unwrap();
        assert_eq!(store.certificate(&digest).unwrap(), Some(kept));
    }
}
