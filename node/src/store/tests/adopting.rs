//! Adopting the files of a lost index.

use super::confirming::Damage;
use super::*;
use crate::host::disk::Disk;

const DAY: Duration = Duration::from_secs(86_400);

/// A store whose index was lost, and the blobs that were stored.
async fn without_index(lengths: &[usize]) -> (SimulatedDisk, Store, Vec<Vec<u8>>) {
    let (disk, store) = open();
    let mut all = Vec::new();
    for (seed, length) in (0..).zip(lengths) {
        let bytes = content(seed, *length);
        put_until(&store, &bytes, 500).await;
        all.push(bytes);
    }
    drop(store);
    disk.remove(&Path::new(FOLDER).join(INDEX)).unwrap();
    let store = open_on(&disk);
    (disk, store, all)
}

#[tokio::test]
async fn right_files_are_adopted_with_the_duty_of_the_receipt() {
    let (_disk, store, all) = without_index(&[70_000, 300_000]).await;
    for bytes in &all {
        let wanted = assignment(bytes, 1000);
        assert_eq!(store.length_of(&wanted.digest).unwrap(), None);
        assert!(store.adopt(&wanted).await.unwrap());
        assert_eq!(store.keep_until(&wanted.digest).unwrap(), Some(1000));
        assert_eq!(read_all(&store, bytes).unwrap(), *bytes);
        assert!(store.confirm(&[wanted]).await.unwrap().lacking.is_empty(), "it may be voted for");
    }
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.bytes, store.bytes_confirmed()), (2, 370_000, 0), "each was read once");
}

#[tokio::test]
async fn missing_or_wrong_files_are_not_adopted() {
    let (disk, store, all) = without_index(&[70_000, 80_000, 90_000, 1000]).await;
    Damage::Flipped.happen(&disk, &Digest::of(&all[0]));
    Damage::OutboardFlipped.happen(&disk, &Digest::of(&all[1]));
    for bytes in &all[..2] {
        assert!(!store.adopt(&assignment(bytes, 1000)).await.unwrap());
    }
    let another_length = Assignment { length: 89_999, ..assignment(&all[2], 1000) };
    assert!(!store.adopt(&another_length).await.unwrap());
    assert!(!store.adopt(&assignment(&all[3], 1000)).await.unwrap(), "small ones were in the index");
    assert!(!store.adopt(&assignment(&large(9), 1000)).await.unwrap(), "never stored");
    assert_eq!(store.usage().unwrap().blobs, 0);
    // another put creates its files again
    put_until(&store, &all[0], 1000).await;
    assert_eq!(read_all(&store, &all[0]).unwrap(), all[0]);
}

/// Otherwise the sweep would remove files before the certificates arrive that prove their duties.
#[tokio::test]
async fn no_file_is_swept_before_the_lacking_blobs_are_known() {
    let (disk, store, all) = without_index(&[70_000, 80_000]).await;
    let before = blob_files(&disk);
    store.collect_settled(100, DAY, DAY, GRACE, false).await.unwrap();
    assert_eq!(blob_files(&disk), before);
    assert!(store.adopt(&assignment(&all[0], 1000)).await.unwrap());
    store.collect_settled(100, DAY, DAY, GRACE, true).await.unwrap();
    assert_eq!(blob_files(&disk).len(), 2, "the bytes and the outboard of the one that is kept");
    assert_eq!(read_all(&store, &all[0]).unwrap(), all[0]);
}
