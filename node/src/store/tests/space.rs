//! Quota, reserve and full disks.

use super::*;

const MIB: u64 = 1 << 20;

fn open_with(config: &StoreConfig) -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::default();
    let store = Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), config).unwrap();
    (disk, store)
}

/// A assignment for a blob that nobody has, of any length.
fn announced(length: u64) -> Assignment {
    Assignment { length, ..assignment(b"nobody has it", 1) }
}

fn assert_quota(outcome: Result<(), StoreError>, wanted: u64, held: u64) {
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, StoreError::Quota { wanted: w, held: h, quota: 100_000 } if (w, h) == (wanted, held)),
        "{error}"
    );
    assert_eq!(error.code(), Code::NoSpace);
}

#[tokio::test]
async fn stored_and_reserved_bytes_count_against_the_quota() {
    let config = StoreConfig { quota: Some(100_000), ..StoreConfig::default() };
    let (disk, store) = open_with(&config);
    put(&store, &large(1)).await;
    assert_quota(store.begin(Some(&announced(30_001))).map(drop), 30_001, 70_000);
    let coming = store.begin(Some(&announced(20_000))).unwrap();
    assert_quota(store.begin(Some(&announced(10_001))).map(drop), 10_001, 90_000);
    let small = content(2, 10_001);
    assert_quota(store.put_small(&assignment(&small, 1), small.into()).await, 10_001, 90_000);
    // without an offer, the quota is checked while bytes arrive
    let unknown = store.begin(None).unwrap().write(&[0; 10_000]).unwrap();
    assert_quota(unknown.write(&[0]).map(drop), 1, 100_000);
    drop(coming);

    // a stored blob adds nothing, however it is put again
    assert!(store.begin(Some(&assignment(&large(1), 1))).is_ok());
    put(&store, &content(3, 30_000)).await;
    store.put_small(&assignment(&content(3, 30_000), 9), content(3, 30_000).into()).await.unwrap();
    assert_eq!(store.usage().unwrap().bytes, 100_000);
    assert_quota(store.begin(Some(&announced(1))).map(drop), 1, 100_000);
    drop(store);
    let store = Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), &config).unwrap();
    assert_quota(store.begin(Some(&announced(1))).map(drop), 1, 100_000);
    // a removal frees space
    store.collect(1 + GRACE, GRACE).await.unwrap();
    store.begin(Some(&announced(70_000))).unwrap();
}

#[tokio::test]
async fn simultaneous_puts_do_not_exceed_the_quota_together() {
    let (_disk, store) = open_with(&StoreConfig { quota: Some(100_000), ..StoreConfig::default() });
    let mut puts = tokio::task::JoinSet::new();
    for seed in 0..40 {
        let store = store.clone();
        puts.spawn(
            async move { store.put_small(&assignment(&content(seed, 9_000), 1), content(seed, 9_000).into()).await },
        );
    }
    let outcomes = puts.join_all().await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.bytes), (stored, stored * 9_000));
    assert!(stored <= 11 && stored > 0, "{stored}");
    // refused puts have released their reservations, so the whole quota can be used
    for seed in 0..11 - stored {
        let bytes = content(100 + seed, 9_000);
        store.put_small(&assignment(&bytes, 1), bytes.into()).await.unwrap();
    }
}

#[tokio::test]
async fn the_reserve_stays_free() {
    let (disk, store) = open_with(&StoreConfig { reserve: Some(10 * MIB), ..StoreConfig::default() });
    put(&store, &large(1)).await;
    put(&store, b"small").await;
    disk.set_space(12 * MIB, 100 * MIB);
    let no_space = |outcome: Result<(), StoreError>, wanted: u64, free: u64| {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, StoreError::NoSpace { wanted: w, free: f, reserve } if (w, f, reserve) == (wanted, free, 10 * MIB)),
            "{error}"
        );
        assert_eq!(error.code(), Code::NoSpace);
    };
    no_space(store.begin(Some(&announced(2 * MIB + 1))).map(drop), 2 * MIB + 1, 2 * MIB);
    // bytes that another put is about to write are not free
    let coming = store.begin(Some(&announced(MIB))).unwrap();
    no_space(store.begin(Some(&announced(MIB + 1))).map(drop), MIB + 1, MIB);
    let coming = coming.write(&vec![0; 512 << 10]).unwrap();
    disk.set_space(12 * MIB - (512 << 10), 100 * MIB);
    no_space(store.begin(Some(&announced(MIB + 1))).map(drop), MIB + 1, MIB);
    drop(coming);
    disk.set_space(10 * MIB, 100 * MIB);
    no_space(store.put_small(&assignment(b"x", 1), Bytes::from_static(b"x")).await, 1, 0);
    no_space(store.begin(None).unwrap().write(b"x").map(drop), 1, 0);

    // reads, duties and certificates still work
    store.put_small(&assignment(b"small", 77), Bytes::from_static(b"small")).await.unwrap();
    assert_eq!(store.keep_until(&Digest::of(b"small")).unwrap(), Some(77));
    assert_eq!(read_all(&store, &large(1)).unwrap(), large(1));
    assert!(store.keep(&[assignment(&large(1), 77)]).await.unwrap().is_empty());
    store.archive([certificate(&large(1), 1)].map(assigned).into()).await.unwrap();
    assert!(!store.is_broken());
    disk.set_space(11 * MIB, 100 * MIB);
    put(&store, b"there is room again").await;
    assert_eq!(store.usage().unwrap().free, 11 * MIB);
}

#[tokio::test]
async fn the_reserve_of_a_small_disk_is_smaller() {
    for (total, reserve) in [(160 * MIB, 10 * MIB), (1 << 40, 64 * MIB)] {
        let disk = SimulatedDisk::default();
        disk.set_space(reserve + 5, total);
        let store = open_on(&disk);
        store.begin(Some(&announced(5))).unwrap();
        let error = store.begin(Some(&announced(6))).unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { reserve: r, .. } if r == reserve), "{error}");
    }
}

#[tokio::test]
async fn puts_succeed_again_after_the_disk_was_full() {
    let (disk, store) = open();
    put(&store, &large(1)).await;
    disk.writes_fail(28);
    assert_eq!(store.begin(None).unwrap().write(&large(2)).unwrap_err().code(), Code::NoSpace);
    assert_eq!(
        store.put_small(&assignment(b"x", 1), Bytes::from_static(b"x")).await.unwrap_err().code(),
        Code::NoSpace
    );
    assert!(!store.is_broken());
    disk.writes_fail(0);
    put(&store, &large(2)).await;
    assert_eq!(read_all(&store, &large(1)).unwrap(), large(1));
    assert_eq!(partials(&disk), 0);
    assert_eq!(store.usage().unwrap().bytes, 140_000);
}

#[test]
fn the_space_of_a_real_disk_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let space = crate::host::disk::SystemDisk.space(folder.path()).unwrap();
    assert!(space.free > 0 && space.total >= space.free, "{space:?}");
}
