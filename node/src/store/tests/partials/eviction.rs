//! Partial uploads give way: to the quota, to a full disk, to newer ones, and with time.

use super::*;

/// Sets when a put last left the partial upload: its resolution of a second is too coarse for tests.
fn touch(store: &Store, blob: &Blob, touched: u64) {
    let row = store.inner.index.partial(&blob.digest(), blob.assignment.length).unwrap().unwrap();
    store.inner.index.note_partial(index::PartialRow { touched, ..row }).unwrap();
}

#[tokio::test]
async fn partial_uploads_count_against_the_quota_and_are_evicted() {
    let block = BLOCK as u64;
    let config = StoreConfig { quota: Some(10 * block), ..StoreConfig::default() };
    let disk = SimulatedDisk::default();
    let again = || Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), &config).unwrap();
    let store = again();
    let (old, new) = (Blob::blocks(1, 4), Blob::blocks(2, 4));
    for (blob, touched) in [(&old, 100), (&new, 200)] {
        blob.leave(&store, 3);
        touch(&store, blob, touched);
    }
    drop(store);
    let store = again();
    assert_eq!(kept(&store), (2, 6));
    // a put that cannot fit evicts nothing
    let announced = |length: u64| Assignment { length, ..assignment(b"nobody has it", 1) };
    let refused = store.begin(Some(&announced(11 * block))).map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Quota { held, .. } if held == 6 * block), "{refused}");
    assert_eq!(kept(&store), (2, 6));
    // a put that resumes needs space only for the rest
    let taken = store.receive(Some(&new.assignment), &CancelToken::default()).unwrap();
    assert_eq!(taken.offset(), 3 * block);
    drop(taken);
    drop(store.begin(Some(&announced(4 * block))).unwrap());
    assert_eq!(kept(&store), (2, 6), "there is space");
    touch(&store, &new, 200);
    drop(store);
    let store = again();
    let coming = store.begin(Some(&announced(5 * block))).unwrap();
    assert_eq!((kept(&store), partials(&disk)), ((1, 3), 2));
    assert_eq!(new.offset(&store), 3, "the older one was evicted");
    drop(coming);
    // a small blob evicts one, too
    let all = store.begin(Some(&announced(7 * block))).unwrap();
    store.put_small(&assignment(b"small", 1), Bytes::from_static(b"small")).await.unwrap();
    assert_eq!(kept(&store), (0, 0));
    drop(all);
    assert_eq!(old.offset(&store), 0);
}

#[tokio::test]
async fn a_full_disk_evicts_partial_uploads() {
    let (disk, store) = open();
    let blob = Blob::blocks(1, 4);
    blob.leave(&store, 3);
    disk.set_space(64 << 20, 1 << 40);
    let refused = blob_refused(&store, 4 * BLOCK as u64);
    assert!(matches!(refused, StoreError::NoSpace { .. }), "{refused}");
    assert_eq!(kept(&store), (1, 3), "evicting it would not free enough");
    disk.set_space((64 << 20) + BLOCK as u64, 1 << 40);
    // a removal does not change the simulated disk's free space
    blob_refused(&store, 3 * BLOCK as u64);
    assert_eq!((kept(&store), partials(&disk)), ((0, 0), 0));
}

fn blob_refused(store: &Store, length: u64) -> StoreError {
    store.begin(Some(&Assignment { length, ..assignment(b"nobody has it", 1) })).map(drop).unwrap_err()
}

#[tokio::test]
async fn partial_uploads_that_nobody_resumes_are_removed() {
    let (disk, store) = with(PartialConfig { ttl: 100, ..PartialConfig::default() });
    let (one, two) = (Blob::blocks(1, 2), Blob::blocks(2, 2));
    one.leave(&store, 1);
    two.leave(&store, 1);
    let now = crate::host::Host::system().unix_seconds();
    touch(&store, &one, now - 50);
    touch(&store, &two, now + 50);
    drop(store);
    let store = open_with(&disk, PartialConfig { ttl: 100, ..PartialConfig::default() });
    let in_use = store.receive(Some(&two.assignment), &CancelToken::default()).unwrap();
    for (later, left) in [(49, 1), (50, 0), (1000, 0)] {
        store.collect(now + later, GRACE).await.unwrap();
        assert_eq!(kept(&store).0, left, "{later}");
    }
    drop(in_use);
    assert_eq!(two.offset(&store), 1, "one that is in use stays");
}

#[tokio::test]
async fn the_number_of_partial_uploads_is_bounded() {
    let few = PartialConfig { most: 2, ..PartialConfig::default() };
    let (disk, store) = with(few);
    let blobs: Vec<Blob> = (0..4).map(|seed| Blob::blocks(seed, 2)).collect();
    for blob in &blobs[..2] {
        blob.leave(&store, 1);
    }
    touch(&store, &blobs[1], 5);
    drop(store);
    let store = open_with(&disk, few);
    blobs[2].leave(&store, 1);
    assert_eq!(kept(&store), (2, 2));
    assert_eq!((blobs[0].offset(&store), blobs[1].offset(&store), blobs[2].offset(&store)), (1, 0, 1));
    drop(store);
    let store = open_with(&disk, PartialConfig { most: 1, ..few });
    assert_eq!((kept(&store).0, partials(&disk)), (1, 2));
}
