//! The replica never votes for bytes that are missing or wrong.

use super::*;
use crate::host::disk::Disk;
use crate::host::disk::simulated::Mishap;

/// Damage that happens without the store's knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    Gone,
    Shortened,
    Flipped,
    OutboardGone,
    OutboardShortened,
    OutboardFlipped,
    FolderRemoved,
    FolderReplaced,
    IndexRemoved,
    AnotherDisk,
}

pub(super) const DAMAGES: [Damage; 10] = [
    Damage::Gone,
    Damage::Shortened,
    Damage::Flipped,
    Damage::OutboardGone,
    Damage::OutboardShortened,
    Damage::OutboardFlipped,
    Damage::FolderRemoved,
    Damage::FolderReplaced,
    Damage::IndexRemoved,
    Damage::AnotherDisk,
];

/// The paths of a large blob's bytes and outboard.
pub(super) fn paths_of(digest: &Digest) -> (PathBuf, PathBuf) {
    let name = digest.to_hex();
    let data = Path::new(FOLDER).join("blobs").join(&name[..2]).join(&name);
    (data.clone(), data.with_extension("obao"))
}

impl Damage {
    /// Damages a large blob.
    pub(super) fn happen(self, disk: &SimulatedDisk, digest: &Digest) {
        let (data, outboard) = paths_of(digest);
        let folder = Path::new(FOLDER).join("blobs");
        let flip = |path: &Path| {
            let mut bytes = disk.bytes(path);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            disk.overwrite(path, &bytes);
        };
        let shorten = |path: &Path| disk.overwrite(path, &disk.bytes(path)[..1]);
        match self {
            Self::Gone => disk.remove(&data).unwrap(),
            Self::Shortened => shorten(&data),
            Self::Flipped => flip(&data),
            Self::OutboardGone => disk.remove(&outboard).unwrap(),
            Self::OutboardShortened => shorten(&outboard),
            Self::OutboardFlipped => flip(&outboard),
            Self::FolderRemoved => disk.remove_folder(&folder),
            Self::FolderReplaced => {
                disk.remove_folder(&folder);
                drop(FileBlobs::create(Arc::new(disk.clone()), folder.clone()).unwrap());
                disk.create(&folder.join(anchor::STORE_ID), 0o600).unwrap().append(&[b'0'; 32]).unwrap();
            }
            Self::IndexRemoved => disk.remove(&Path::new(FOLDER).join(INDEX)).unwrap(),
            Self::AnotherDisk => disk.mount_another(),
        }
    }

    /// Whether it affects the whole store rather than one blob.
    pub(super) fn is_of_the_place(self) -> bool {
        matches!(self, Self::FolderRemoved | Self::FolderReplaced | Self::IndexRemoved | Self::AnotherDisk)
    }
}

/// An answer of a replica that claims it holds a blob: a vote, or the resume offset at the blob's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vote {
    NewPut,
    Renewal,
    LaterExpiry,
    Endorsement,
    /// The replica answers that it holds the blob, so the client gets an earlier certificate.
    EarlierCertificate,
}

pub(super) const VOTES: [Vote; 5] =
    [Vote::NewPut, Vote::Renewal, Vote::LaterExpiry, Vote::Endorsement, Vote::EarlierCertificate];

impl Vote {
    /// When the duty ends.
    pub(super) fn expires_at(self) -> u64 {
        if self == Self::LaterExpiry { 9000 } else { 5000 }
    }
}

/// Whether the replica signs, by the same calls as its link. `Ok(false)`: it lacks the bytes and needs a new put.
pub(super) async fn vote(store: &Store, kind: Vote, bytes: &[u8]) -> Result<bool, StoreError> {
    let wanted = Assignment { salt: [7; 16], ..assignment(bytes, kind.expires_at()) };
    if kind != Vote::Endorsement {
        let mut offered = store.receive(Some(&wanted), &CancelToken::default())?;
        let is_held = offered.offset() == wanted.length;
        if kind == Vote::EarlierCertificate {
            return Ok(is_held);
        }
        if !is_held && kind != Vote::NewPut {
            return Ok(false);
        }
        if !is_held {
            offered = offered.take(0, bytes, &[])?;
        }
        store.enter(offered.finish(&wanted)?).await?;
    }
    let confirmed = store.confirm(&[wanted]).await?;
    if !confirmed.lacking.is_empty() {
        return Ok(false);
    }
    let promise = store.promise(&[wanted], Vec::new(), voted(kind, bytes)).await?;
    Ok(matches!(promise, Promise::Journalled(..)))
}

/// The `issued_at` of the statements of [`vote`].
pub(super) const ISSUED: u64 = 40;

/// The statement that [`vote`] signs.
pub(super) fn voted(kind: Vote, bytes: &[u8]) -> Statement<Stored> {
    statement(ISSUED, &[Assignment { salt: [7; 16], ..assignment(bytes, kind.expires_at()) }])
}

#[tokio::test]
async fn no_vote_is_signed_for_missing_or_wrong_bytes() {
    for damage in DAMAGES {
        for kind in VOTES {
            // a store that has written the bytes itself, one that has read them, and one that has done neither
            for before in ["written", "read", "restarted"] {
                let (disk, mut store) = open();
                let bytes = large(1);
                let digest = put_until(&store, &bytes, 5000).await;
                if before == "restarted" {
                    drop(store);
                    store = open_on(&disk);
                }
                if before == "read" {
                    store.scrub_one(&digest).unwrap();
                }
                damage.happen(&disk, &digest);
                let case = format!("{damage:?}, {kind:?}, {before}");
                match vote(&store, kind, &bytes).await {
                    Ok(signed) => {
                        assert!(!damage.is_of_the_place(), "{case}");
                        assert_eq!(signed, kind == Vote::NewPut, "{case}: only a put that brings the bytes is signed");
                    }
                    Err(error) => {
                        assert!(damage.is_of_the_place(), "{case}: {error}");
                        assert!(matches!(error, StoreError::Displaced { .. }), "{case}: {error}");
                        assert!(store.failure().is_some(), "{case}: the operator is told");
                        continue;
                    }
                }
                if kind != Vote::NewPut {
                    assert_eq!(store.length_of(&digest).unwrap(), None, "{case}: no longer stored");
                    assert_eq!(store.damaged_from(None, 10).unwrap().len(), 1, "{case}: it is to be repaired");
                    // after the bytes arrive again, the replica signs
                    put_until(&store, &bytes, 5000).await;
                    assert!(vote(&store, kind, &bytes).await.unwrap(), "{case}");
                }
                assert_eq!(read_all(&store, &bytes).unwrap(), bytes, "{case}");
            }
        }
    }
}

/// If the identity of a file cannot be read, the file may have changed: it must be read before a vote.
#[tokio::test]
async fn an_unreadable_identity_confirms_nothing() {
    let bytes = large(1);
    let (data, _) = paths_of(&Digest::of(&bytes));
    let of_blob = |path: &Path| path.starts_with(Path::new(FOLDER).join("blobs")) && !path.ends_with(anchor::STORE_ID);
    let of_place = |path: &Path| !path.starts_with(Path::new(FOLDER).join("blobs")) || path.ends_with(anchor::STORE_ID);
    for (place, of) in [(false, of_blob as fn(&Path) -> bool), (true, of_place)] {
        for kind in VOTES {
            let (disk, store) = open();
            let digest = put_until(&store, &bytes, 5000).await;
            store.scrub_one(&digest).unwrap();
            disk.identities_fail(of);
            let outcome = vote(&store, kind, &bytes).await;
            match outcome {
                Ok(signed) => assert!(!signed && !place, "{kind:?}"),
                Err(StoreError::File(FileError::Io { .. })) => {}
                Err(error) => panic!("{kind:?}: {error}"),
            }
            disk.identities_fail(|_| false);
            // after the failure has passed, nothing is lost
            assert_eq!(store.damaged_from(None, 10).unwrap(), [], "{kind:?}");
            assert!(vote(&store, kind, &bytes).await.unwrap(), "{kind:?}");
        }
    }
    // each request for an identity fails in turn
    for damage in DAMAGES {
        for kind in VOTES {
            for number in 0.. {
                let (disk, store) = open();
                let digest = put_until(&store, &bytes, 5000).await;
                store.scrub_one(&digest).unwrap();
                damage.happen(&disk, &digest);
                let asked = disk.identities();
                disk.identity_mishap_at(asked + number);
                let is_signed = matches!(vote(&store, kind, &bytes).await, Ok(true));
                let may_sign = kind == Vote::NewPut && !damage.is_of_the_place();
                assert!(!is_signed || (may_sign && disk.bytes(&data) == bytes), "{damage:?}, {kind:?}, {number}");
                if disk.identities() <= asked + number {
                    break;
                }
            }
        }
    }
}

/// A store that could not read the identity of its open file must not accept another file in its place.
#[tokio::test]
async fn an_index_is_not_used_without_its_identity() {
    let (disk, store) = open();
    put_until(&store, &large(1), 5000).await;
    drop(store);
    for number in 0.. {
        let found = disk.copy();
        found.identity_mishap_at(number);
        let opened = Store::open(&Host::on_disk(Arc::new(found.clone())), Path::new(FOLDER), &StoreConfig::default());
        if found.identities() <= number {
            assert!(number > 0 && opened.is_ok());
            break;
        }
        assert!(opened.is_err(), "{number}");
    }
    // a full disk closes the index, and the next use opens it again
    let store = open_on(&disk);
    disk.writes_fail(28);
    assert!(matches!(
        store.keep(&[assignment(&large(1), 9000)]).await,
        Err(StoreError::Index(DurableError::NoSpace { .. }))
    ));
    disk.writes_fail(0);
    // the store asks once before it uses the index, and once when it opens it
    disk.identity_mishap_at(disk.identities() + 2);
    let outcome = store.keep(&[assignment(&large(1), 9000)]).await;
    assert!(matches!(outcome, Err(StoreError::Index(DurableError::File(_)))), "{outcome:?}");
    disk.remove(&Path::new(FOLDER).join(INDEX)).unwrap();
    assert!(matches!(store.keep(&[assignment(&large(1), 9000)]).await, Err(StoreError::Displaced { .. })));
}

#[tokio::test]
async fn a_held_blob_is_read_once_a_day_for_votes() {
    let (disk, store) = open();
    let bytes = large(1);
    let digest = put_until(&store, &bytes, 5000).await;
    let reads = || disk.operations().iter().filter(|done| done.action == Action::Read && is_data(&done.path)).count();
    fn is_data(path: &Path) -> bool {
        let is_blob = path.extension().is_none() && path.starts_with(Path::new(FOLDER).join("blobs"));
        is_blob && !path.ends_with(anchor::STORE_ID)
    }
    for kind in VOTES {
        assert!(vote(&store, kind, &bytes).await.unwrap());
    }
    assert_eq!(reads(), 0, "bytes that just arrived are not read");
    drop(store);
    let store = open_on(&disk);
    for kind in VOTES {
        assert!(vote(&store, kind, &bytes).await.unwrap());
        assert_eq!(reads(), 1, "once");
    }
    // a copy in its place is another file, although the bytes are the same
    let data = files(&store).path_of(&digest);
    disk.overwrite(&data, &bytes);
    assert!(vote(&store, Vote::Renewal, &bytes).await.unwrap());
    assert_eq!(reads(), 2);
    assert_eq!(store.bytes_confirmed(), 2 * bytes.len() as u64, "scrubbing waits for as many bytes");
}

#[tokio::test]
async fn small_blobs_are_always_read() {
    let (disk, store) = open();
    let small = content(1, 3000);
    let wanted = assignment(&small, 5000);
    store.put_small(&wanted, small.clone().into()).await.unwrap();
    assert!(store.confirm(&[wanted]).await.unwrap().lacking.is_empty());
    assert_eq!(store.bytes_confirmed(), 0, "they just came");
    let another = Assignment { salt: [9; 16], ..wanted };
    for times in 1..=2 {
        assert!(store.confirm(&[another]).await.unwrap().lacking.is_empty());
        assert_eq!(store.bytes_confirmed(), 3000 * times);
    }
    drop(store);
    // one byte in the index
    let path = Path::new(FOLDER).join(INDEX);
    let mut index = disk.bytes(&path);
    let at = index.windows(small.len()).position(|window| window == small).unwrap();
    index[at + 1000] ^= 1;
    disk.overwrite(&path, &index);
    let store = open_on(&disk);
    let confirmed = store.confirm(&[another]).await.unwrap();
    assert_eq!(confirmed.lacking, [0]);
    assert!(matches!(confirmed.damaged[..], [(digest, StoreError::Damaged { .. })] if digest == wanted.digest));
    // another put of the same bytes restores it
    store.put_small(&another, small.clone().into()).await.unwrap();
    assert!(store.confirm(&[another]).await.unwrap().lacking.is_empty());
    assert_eq!(read_all(&store, &small).unwrap(), small);
}

#[tokio::test]
async fn the_lacking_receipts_of_a_batch_are_named() {
    let (disk, store) = open();
    let blobs = [large(1), large(2), content(3, 100), large(4)];
    for bytes in &blobs[..3] {
        put_until(&store, bytes, 5000).await;
    }
    Damage::Flipped.happen(&disk, &Digest::of(&blobs[1]));
    let assignments = blobs.each_ref().map(|bytes| Assignment { salt: [7; 16], ..assignment(bytes, 5000) });
    let confirmed = store.confirm(&assignments).await.unwrap();
    assert_eq!(confirmed.lacking, [1, 3]);
    assert!(matches!(confirmed.damaged[..], [(digest, _)] if digest == assignments[1].digest));
}

/// If the disk fails while the bytes are read, the replica must not sign, whatever it found before.
#[tokio::test]
async fn a_disk_that_fails_meanwhile_confirms_nothing() {
    let bytes = large(1);
    for damage in DAMAGES.into_iter().filter(|damage| !damage.is_of_the_place()) {
        for number in 0.. {
            let (disk, store) = open();
            let digest = put_until(&store, &bytes, 5000).await;
            damage.happen(&disk, &digest);
            let from = disk.operations().len();
            disk.mishap_at(from + number, Mishap::Error);
            let wanted = Assignment { salt: [7; 16], ..assignment(&bytes, 5000) };
            if let Ok(confirmed) = store.confirm(&[wanted]).await {
                assert_eq!(confirmed.lacking, [0], "{damage:?}, {number}");
            }
            if disk.operations().len() <= from + number {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_store_opens_only_with_the_folder_of_its_index() {
    let folder = Path::new(FOLDER);
    let reopen =
        |disk: &SimulatedDisk| Store::open(&Host::on_disk(Arc::new(disk.clone())), folder, &StoreConfig::default());
    let refused = |disk: &SimulatedDisk, what: &str| {
        let files = disk.files_below(Path::new("/"));
        let error = reopen(disk).unwrap_err();
        assert!(matches!(&error, StoreError::AnotherFolder { .. }), "{what}: {error}");
        assert!(error.to_string().contains("is its disk mounted?"), "{error}");
        assert_eq!(disk.files_below(Path::new("/")), files, "{what}: nothing is made in its place");
    };
    let (disk, store) = open();
    put_until(&store, &large(1), 5000).await;
    drop(store);
    reopen(&disk).unwrap();
    // a copy of the disk has another device number, and is the same store
    disk.mount_another();
    reopen(&disk).unwrap();
    let id = folder.join("blobs").join(anchor::STORE_ID);
    let own = disk.bytes(&id);
    disk.overwrite(&id, &[b'0'; 32]);
    refused(&disk, "another store's");
    disk.remove(&id).unwrap();
    refused(&disk, "no id");
    disk.create(&id, 0o600).unwrap().append(&own).unwrap();
    reopen(&disk).unwrap();
    disk.remove_folder(&folder.join("blobs"));
    refused(&disk, "no folder");

    // an index of a release without ids accepts its folder, unless that is empty
    let (disk, store) = open();
    put_until(&store, &large(1), 5000).await;
    store.inner.index.forget_store_id();
    drop(store);
    disk.remove(&id).unwrap();
    let store = reopen(&disk).unwrap();
    assert_eq!(read_all(&store, &large(1)).unwrap(), large(1));
    assert_eq!(store.inner.index.store_id().unwrap().unwrap().as_bytes(), disk.bytes(&id));
    store.inner.index.forget_store_id();
    drop(store);
    disk.remove_folder(&folder.join("blobs"));
    refused(&disk, "an old store's folder that is empty");
}
