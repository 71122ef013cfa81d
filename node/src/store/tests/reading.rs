//! Bytes leave the store only verified: damage is reported, never served.

use vouch_core::tree::{GROUP, verify};

use super::*;

#[tokio::test]
async fn every_slice_comes_with_its_proof() {
    let (_disk, store) = open();
    for length in [0, 1, GROUP, GROUP + 1, 4 * GROUP, 4 * GROUP + 1, 70_000, 20 * GROUP, 1_000_000] {
        let bytes = content(length as u64, length);
        let digest = put(&store, &bytes).await;
        for first in 0..length.div_ceil(GROUP).max(1) {
            for groups in [1, 2, 3, 7, 16] {
                let (start, end) = (first * GROUP, ((first + groups) * GROUP).min(length));
                let slice = store.read(&digest, start as u64, u32::try_from(end - start).unwrap()).unwrap();
                assert_eq!(slice.bytes, bytes[start..end], "{length} {start} {end}");
                verify(&digest, length as u64, start as u64, &slice.bytes, &slice.proof).unwrap();
            }
        }
        store.scrub_one(&digest).unwrap();
    }
}

#[tokio::test]
async fn ranges_must_be_whole_groups_inside_the_blob() {
    let (_disk, store) = open();
    for bytes in [content(1, 40_000), large(2)] {
        let (digest, end) = (put(&store, &bytes).await, bytes.len() as u64);
        let whole = u32::try_from(end).unwrap();
        for (offset, wanted) in [(0, whole + 1), (16384, whole), (end, 1), (u64::MAX, 1), (end + 1, 0)] {
            let error = store.read(&digest, offset, wanted).unwrap_err();
            assert!(
                matches!(error, StoreError::BeyondTheEnd { length, offset: o, wanted: w, .. } if (length, o, w) == (end, offset, wanted)),
                "{error}"
            );
            assert_eq!(error.code(), Code::Malformed);
        }
        for (offset, wanted) in [(1, 16384), (0, 16385), (16384, 1), (0, 0), (end, 0)] {
            let error = store.read(&digest, offset, wanted).unwrap_err();
            assert!(
                matches!(error, StoreError::Misaligned { offset: o, wanted: w, .. } if (o, w) == (offset, wanted)),
                "{error}"
            );
            assert_eq!(error.code(), Code::Malformed);
        }
    }
}

#[tokio::test]
async fn damage_is_located_and_never_served() {
    let (disk, store) = open();
    let bytes = content(1, 30 * GROUP + 5);
    let digest = put(&store, &bytes).await;
    let path = files(&store).path_of(&digest);
    let whole = u32::try_from(bytes.len()).unwrap();
    for at in [0, 1, GROUP - 1, GROUP, 17 * GROUP + 300, bytes.len() - 1] {
        let mut rotten = bytes.clone();
        rotten[at] ^= 0x10;
        disk.overwrite(&path, &rotten);
        let group = (at / GROUP * GROUP) as u64;
        for error in [store.read(&digest, 0, whole).unwrap_err(), store.scrub_one(&digest).unwrap_err()] {
            assert!(
                matches!(error, StoreError::Damaged { digest: d, offset } if (d, offset) == (digest, group)),
                "{at}: {error}"
            );
            assert_eq!(error.code(), Code::Storage);
        }
        // right groups are still served
        let other = if group == 0 { 16 * GROUP as u64 } else { 0 };
        let slice = store.read(&digest, other, 16384).unwrap();
        verify(&digest, bytes.len() as u64, other, &slice.bytes, &slice.proof).unwrap();
    }
}

#[tokio::test]
async fn every_parent_of_the_outboard_is_verified() {
    let (disk, store) = open();
    let bytes = content(1, 9 * GROUP + 5);
    let digest = put(&store, &bytes).await;
    let path = files(&store).outboard_of(&digest);
    let outboard = disk.bytes(&path);
    assert_eq!(outboard.len(), 9 * 64);
    for at in (0..outboard.len()).step_by(31) {
        let mut rotten = outboard.clone();
        rotten[at] ^= 1;
        disk.overwrite(&path, &rotten);
        let error = store.scrub_one(&digest).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{at}: {error}");
        let served = (0..10u64).filter_map(|group| {
            let size = if group == 9 { 5 } else { 16384 };
            store.read(&digest, group * 16384, size).ok().map(|slice| (group, slice))
        });
        let served: Vec<_> = served.collect();
        assert!(served.len() < 10, "{at}");
        for (group, slice) in served {
            verify(&digest, bytes.len() as u64, group * 16384, &slice.bytes, &slice.proof).unwrap();
        }
    }
}

#[tokio::test]
async fn short_or_missing_files_are_damage() {
    let (disk, store) = open();
    let bytes = content(1, 30 * GROUP);
    let digest = put(&store, &bytes).await;
    let (data, outboard) = (files(&store).path_of(&digest), files(&store).outboard_of(&digest));
    let is_damaged = |what: &str| {
        for error in [store.read(&digest, 20 * 16384, 16384).unwrap_err(), store.scrub_one(&digest).unwrap_err()] {
            assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error}");
        }
    };
    disk.overwrite(&data, &bytes[..GROUP]);
    is_damaged("cut short");
    disk.overwrite(&data, &bytes);
    store.scrub_one(&digest).unwrap();
    disk.overwrite(&outboard, &[0; 64]);
    is_damaged("outboard cut short");
    disk.remove(&outboard).unwrap();
    is_damaged("outboard lost");
    disk.remove(&data).unwrap();
    is_damaged("lost");
    let unknown = Digest::of(b"unknown");
    assert!(matches!(store.scrub_one(&unknown), Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_damaged_blob_keeps_its_duty_and_can_be_restored() {
    let (disk, store) = open();
    let bytes = large(1);
    let digest = put_until(&store, &bytes, 500).await;
    let small = put_until(&store, b"small", NEVER).await;
    store.archive([certificate(&bytes, 7)].map(assigned).into()).await.unwrap();
    let lengths = [(digest, bytes.len() as u64, 500), (small, 5, NEVER)];
    for (digest, ..) in lengths {
        store.mark_damaged(&digest).await.unwrap();
        assert_eq!(store.length_of(&digest).unwrap(), None);
        assert!(matches!(store.read(&digest, 0, 5), Err(StoreError::NotFound { .. })));
        // a second call does no harm
        store.mark_damaged(&digest).await.unwrap();
    }
    assert_eq!(store.keep(&[assignment(&bytes, 5), assignment(b"small", 5)]).await.unwrap(), [0, 1]);
    assert_eq!(blob_files(&disk), Vec::<std::path::PathBuf>::new());
    assert_eq!(partials(&disk), 0);
    drop(store);

    let store = open_on(&disk);
    let mut expected = lengths.map(|(digest, length, keep_until)| Damaged { digest, length, keep_until });
    expected.sort_by_key(|blob| blob.digest);
    assert_eq!(store.damaged_from(None, 10).unwrap(), expected);
    assert_eq!(store.damaged_from(Some(expected[0].digest), 10).unwrap(), expected[1..]);
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.bytes, usage.damaged), (0, 0, 2));

    put_until(&store, &bytes, 3).await;
    put_until(&store, b"small", 3).await;
    assert_eq!(store.keep_until(&digest).unwrap(), Some(500), "as promised");
    assert_eq!(store.keep_until(&small).unwrap(), Some(NEVER));
    assert_eq!(store.certificate(&digest).unwrap(), Some(certificate(&bytes, 7)));
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.bytes, usage.damaged), (2, 70_005, 0));
    assert!(store.damaged_from(None, 10).unwrap().is_empty());
    let collected = store.collect(500 + GRACE, GRACE).await.unwrap();
    assert_eq!(collected.blobs, 1, "the duty that came back ends like any other");
}

#[tokio::test]
async fn blobs_are_listed_in_order_and_in_pages() {
    let (_disk, store) = open();
    let mut digests = Vec::new();
    for seed in 0..25 {
        digests.push(put(&store, &content(seed, 10)).await);
    }
    digests.sort();
    let mut paged = Vec::new();
    while let page = store.blobs_from(paged.last().copied(), 10).unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 10 && page.iter().all(|(_, entry)| entry.length == 10 && entry.stored_at > 0));
        paged.extend(page.into_iter().map(|(digest, _)| digest));
    }
    assert_eq!(paged, digests);
}
