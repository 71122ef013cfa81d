//! Partial uploads whose files or row changed, and writes and syncs that fail.

use super::*;

#[tokio::test]
async fn a_changed_partial_upload_is_discarded() {
    let blob = Blob::blocks(1, 4);
    let spoil: [fn(&SimulatedDisk, &Store, PartialKey); 6] = [
        |disk, _, key| disk.remove(&spool_paths(key)[0]).unwrap(),
        |disk, _, key| disk.remove(&spool_paths(key)[1]).unwrap(),
        |disk, _, key| disk.overwrite(&spool_paths(key)[0], b"short"),
        |disk, _, key| disk.overwrite(&spool_paths(key)[1], b"short"),
        |_, store, key| write_row(store, key, (2 * BLOCK as u64, 0, vec![7; 31])),
        |_, store, key| write_row(store, key, (2 * BLOCK as u64 + 1, 0, vec![7; 32])),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        for restart in [false, true] {
            let (disk, mut store) = open();
            blob.leave(&store, 2);
            spoil(&disk, &store, blob.key());
            if restart {
                drop(store);
                store = open_on(&disk);
                // files that are too short are found when they are opened
                assert_eq!(kept(&store).0, u64::from((2..4).contains(&number)), "{number}");
            }
            let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
            assert_eq!(offered.offset(), 0, "{number}, restart: {restart}");
            blob.send_rest(&store, offered).await.unwrap();
            blob.assert_stored(&disk, &store);
        }
    }
    // wrong chaining values are found at the end, and removed then
    let (disk, store) = open();
    blob.leave(&store, 2);
    write_row(&store, blob.key(), (2 * BLOCK as u64, 0, vec![7; 32]));
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    assert_eq!(offered.offset(), 2 * BLOCK as u64);
    let error = blob.send_rest(&store, offered).await.unwrap_err();
    assert!(matches!(error, StoreError::DigestDiffers { .. }), "{error}");
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    assert_eq!(offered.offset(), 0);
    blob.send_rest(&store, offered).await.unwrap();
    blob.assert_stored(&disk, &store);
}

fn spool_paths(key: PartialKey) -> [PathBuf; 2] {
    let folder = Path::new(FOLDER).join("partial");
    SpoolFolder::files_of(&key.spool_name()).map(|file| folder.join(file))
}

fn write_row(store: &Store, key: PartialKey, (durable, touched, stack): (u64, u64, Vec<u8>)) {
    let table = redb::TableDefinition::<([u8; 32], u64), (u64, u64, &[u8])>::new("partials");
    let write = store.inner.index.0.commit_and_wait(move |transaction| {
        transaction.open_table(table)?.insert((key.digest.0, key.length), (durable, touched, stack.as_slice()))?;
        Ok(())
    });
    write.unwrap();
}

#[tokio::test]
async fn a_failed_write_leaves_the_durable_bytes() {
    let (disk, store) = with(PartialConfig { checkpoint: 2 * BLOCK as u64, ..PartialConfig::default() });
    let blob = Blob::blocks(1, 6);
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let offered = blob.send(offered, 0..3).unwrap();
    disk.writes_fail(28);
    assert_eq!(blob.send(offered, 3..4).unwrap_err().code(), Code::NoSpace);
    // the disk has space again, but the bytes after the failed write are unknown
    disk.writes_fail(0);
    assert_eq!((kept(&store), store.is_broken()), ((1, 2), false));
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    blob.send_rest(&store, offered).await.unwrap();
    blob.assert_stored(&disk, &store);
}

#[tokio::test]
async fn a_failed_sync_of_a_partial_upload_is_final() {
    let (disk, store) = open();
    let blob = Blob::blocks(1, 4);
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let offered = blob.send(offered, 0..2).unwrap();
    disk.syncs_fail(5);
    drop(offered);
    assert!(store.is_broken());
    assert!(matches!(store.receive(Some(&blob.assignment), &CancelToken::default()), Err(StoreError::Broken { .. })));
}
