use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vouch_core::bls::{AggregateSignature, VoteKey};
use vouch_core::certificate::{Certificate, Signers};
use vouch_core::committee::{CommitteeRecord, Member, MemberName};
use vouch_core::digest::CommitteeDigest;
use vouch_core::link::NodeKey;
use vouch_core::message::Code;
use vouch_core::receipt::{NEVER, Receipt};
use vouch_core::statement::{Batch, Body, Statement, StatementId, Stored, StoredClaim};
use vouch_node_core::replica::assigned_blob::AssignedBlob;

use super::blobs::{BlobStore, FileBlobs};
use super::*;
use crate::durable::DurableError;
use crate::host::disk::simulated::SimulatedDisk;
use crate::host::files::Action;

mod adopting;
mod confirming;
mod crash;
mod duties;
mod entering;
mod expiry;
mod faults;
mod journal;
mod partials;
mod reading;
mod space;
mod tokens;

fn receipt(bytes: &[u8], expires_at: u64) -> Receipt {
    Receipt { salt: [0; 16], digest: Digest::of(bytes), length: bytes.len() as u64, expires_at }
}

fn assignment(bytes: &[u8], expires_at: u64) -> Assignment {
    receipt(bytes, expires_at).assignment(Some(0))
}

/// A blob of which the store is assigned a copy.
fn assigned(certificate: Certificate) -> AssignedBlob {
    AssignedBlob::new(certificate, Some(0))
}

const FOLDER: &str = "/data";

/// A store on a simulated disk.
fn open() -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::default();
    let store = open_on(&disk);
    (disk, store)
}

fn open_on(disk: &SimulatedDisk) -> Store {
    Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), &StoreConfig::default()).unwrap()
}

/// Bytes of which no two groups are alike.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A blob that is too large for the index: five groups, the last one not full.
fn large(seed: u64) -> Vec<u8> {
    content(seed, 70_000)
}

fn finish(store: &Store, bytes: &[u8]) -> Complete {
    finish_until(store, bytes, 1)
}

fn finish_until(store: &Store, bytes: &[u8], expires_at: u64) -> Complete {
    let begun = store.begin(None).unwrap();
    let received = bytes.chunks(10_000).fold(begun, |upload, chunk| upload.write(chunk).unwrap());
    received.finish(&assignment(bytes, expires_at)).unwrap()
}

async fn put(store: &Store, bytes: &[u8]) -> Digest {
    put_until(store, bytes, 1).await
}

async fn put_until(store: &Store, bytes: &[u8], expires_at: u64) -> Digest {
    store.enter(finish_until(store, bytes, expires_at)).await.unwrap();
    Digest::of(bytes)
}

fn read_all(store: &Store, bytes: &[u8]) -> Result<Bytes, StoreError> {
    Ok(store.read(&Digest::of(bytes), 0, u32::try_from(bytes.len()).unwrap())?.bytes)
}

fn files(store: &Store) -> &FileBlobs {
    let BlobStore::Files(files) = store.inner.blobs.place() else { panic!("blobs are in files") };
    files
}

/// Every file in the folder of blobs.
fn blob_files(disk: &SimulatedDisk) -> Vec<std::path::PathBuf> {
    let files = disk.files_below(&Path::new(FOLDER).join("blobs"));
    files.into_iter().filter(|path| !path.ends_with(anchor::STORE_ID)).collect()
}

fn partials(disk: &SimulatedDisk) -> usize {
    disk.files_below(&Path::new(FOLDER).join("partial")).len()
}

/// A statement of a committee of one.
fn statement(issued_at: u64, assignments: &[Assignment]) -> Statement<Stored> {
    let name = MemberName::new("replica").unwrap();
    let member = Member { node_key: NodeKey([1; 32]), vote_key: VoteKey([1; 48]), name };
    let record = CommitteeRecord::genesis([0; 16], vec![member]).unwrap();
    // The receipts of which these are copies.
    let receipts = assignments.iter().map(|Assignment { salt, digest, length, expires_at }| Receipt {
        salt: *salt,
        digest: *digest,
        length: *length,
        expires_at: *expires_at,
    });
    Statement::new(&record, Batch::new(issued_at, receipts.collect()).unwrap().body())
}

fn certificate(bytes: &[u8], issued_at: u64) -> Certificate {
    Certificate {
        epoch: 0,
        committee: CommitteeDigest([1; 32]),
        claim: StoredClaim { issued_at, count: 1, index: 0, receipt: receipt(bytes, NEVER), path: Vec::new() },
        signers: Signers::new(4, [0, 1, 2]).unwrap(),
        signature: AggregateSignature([2; 96]),
    }
}

#[tokio::test]
async fn a_blob_is_stored_when_it_is_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Host::system(), folder.path(), &StoreConfig::default()).unwrap();
    for bytes in [b"small".to_vec(), content(1, 1 << 16), content(2, (1 << 16) + 1), Vec::new()] {
        let digest = Digest::of(&bytes);
        let complete = finish(&store, &bytes);
        assert_eq!(store.length_of(&digest).unwrap(), None);
        assert!(matches!(read_all(&store, &bytes), Err(StoreError::NotFound { digest: got }) if got == digest));
        store.enter(complete).await.unwrap();
        assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
        let name = digest.to_hex();
        let path = folder.path().join("blobs").join(&name[..2]).join(&name);
        assert_eq!(path.is_file(), bytes.len() > 1 << 16, "small ones are in the index");
        if path.is_file() {
            let outboard = std::fs::read(path.with_extension("obao")).unwrap();
            assert_eq!(outboard.len() as u64, vouch_core::tree::outboard_size(bytes.len() as u64));
            assert_eq!(std::fs::read(path).unwrap(), bytes);
        }
    }
    drop(store);
    let store = Store::open(&Host::system(), folder.path(), &StoreConfig::default()).unwrap();
    let bytes = content(2, (1 << 16) + 1);
    assert_eq!(store.length_of(&Digest::of(&bytes)).unwrap(), Some(65537));
    assert_eq!(store.keep_until(&Digest::of(&bytes)).unwrap(), Some(1), "with its duty");
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
}

#[tokio::test]
async fn unfinished_blobs_are_removed() {
    let (disk, store) = open();
    let upload = store.begin(None).unwrap().write(&large(1)).unwrap();
    assert_eq!((upload.length(), partials(&disk)), (70_000, 2));
    drop(upload);
    assert_eq!(partials(&disk), 0);
    drop(store);
    disk.create(&Path::new(FOLDER).join("partial/left"), 0o600).unwrap();
    open_on(&disk);
    assert_eq!(partials(&disk), 0);
}

#[tokio::test]
async fn bytes_that_differ_from_the_receipt_are_refused() {
    let (disk, store) = open();
    for length in [5, 70_000] {
        let take = |bytes: &[u8], assignment: &Assignment| {
            store.begin(None).unwrap().write(bytes).unwrap().finish(assignment).unwrap_err()
        };
        let asked = assignment(&content(1, length), 1);
        let got = length as u64 + 1;
        let error = take(&content(1, length + 1), &asked);
        assert!(
            matches!(error, StoreError::LengthDiffers { expected, got: g } if (expected, g) == (length as u64, got))
        );
        assert_eq!(error.code(), Code::LengthDiffers);
        let other = content(2, length);
        let error = take(&other, &asked);
        assert!(
            matches!(error, StoreError::DigestDiffers { expected, got } if expected == asked.digest && got == Digest::of(&other))
        );
        assert_eq!(error.code(), Code::DigestDiffers);
        for error in [
            store.put_small(&asked, content(1, 6).into()).await.unwrap_err(),
            store.put_small(&asked, content(2, 5).into()).await.unwrap_err(),
        ] {
            assert!(matches!(error.code(), Code::LengthDiffers | Code::DigestDiffers), "{error}");
        }
        assert!(matches!(
            store.put_small(&assignment(&large(1), 1), large(1).into()).await,
            Err(StoreError::NotSmall { limit: 65536, got: 70_000 })
        ));
    }
    assert_eq!(blob_files(&disk), Vec::<std::path::PathBuf>::new());
    assert_eq!(partials(&disk), 0);
    assert_eq!(store.usage().unwrap().blobs, 0);
}

#[tokio::test]
async fn more_bytes_than_offered_are_refused_before_they_are_written() {
    let (_disk, store) = open();
    let upload = store.begin(Some(&assignment(b"four", 1))).unwrap().write(b"fou").unwrap();
    let error = upload.write(b"rs").unwrap_err();
    assert!(matches!(error, StoreError::LengthDiffers { expected: 4, got: 5 }), "{error}");
}

#[tokio::test]
async fn a_stored_blob_can_be_put_again() {
    let (disk, store) = open();
    let bytes = large(1);
    let digest = put_until(&store, &bytes, 50).await;
    // the new put replaces files that have decayed
    disk.overwrite(&files(&store).path_of(&digest), b"rot");
    disk.overwrite(&files(&store).outboard_of(&digest), b"rot");
    put_until(&store, &bytes, 40).await;
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
    assert_eq!(store.keep_until(&digest).unwrap(), Some(50), "the promise stays");
    put_until(&store, &bytes, 60).await;
    assert_eq!(store.keep_until(&digest).unwrap(), Some(60), "or grows");

    let digest = put_until(&store, b"small", 50).await;
    rot_small(&store, b"smell").await;
    assert!(matches!(read_all(&store, b"small"), Err(StoreError::Damaged { offset: 0, .. })));
    store.put_small(&assignment(b"small", 40), Bytes::from_static(b"small")).await.unwrap();
    assert_eq!(read_all(&store, b"small").unwrap(), b"small"[..]);
    assert_eq!(store.keep_until(&digest).unwrap(), Some(50));
    assert_eq!((partials(&disk), store.usage().unwrap().blobs), (0, 2));
}

/// Replaces the bytes of the only small blob.
async fn rot_small(store: &Store, bytes: &'static [u8]) {
    let table = redb::TableDefinition::<u64, &[u8]>::new("bytes");
    let rot = store.inner.index.0.commit(move |transaction| {
        transaction.open_table(table)?.insert(0, bytes)?;
        Ok(())
    });
    rot.await.unwrap();
}

#[tokio::test]
async fn small_blobs_share_a_commit() {
    let (disk, store) = open();
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = store.inner.index.0.commit(move |_| {
        begin.send(()).unwrap();
        Ok(released.recv().is_err())
    });
    let blobs: Vec<Bytes> = (0..50).map(|seed| content(seed, 1024).into()).collect();
    let puts = blobs.iter().map(|bytes| {
        let (store, bytes) = (store.clone(), bytes.clone());
        async move { store.put_small(&assignment(&bytes, 9), bytes).await }
    });
    // not before the commit has begun: it would take some of the puts along, and fewer would ever wait
    let puts = async {
        begun.await.unwrap();
        futures_util::future::join_all(puts).await
    };
    let before = store.inner.index.0.commits();
    let (busy, outcomes, ()) = tokio::join!(biased; busy, puts, async {
        while store.inner.index.0.waiting() < blobs.len() {
            tokio::task::yield_now().await;
        }
        drop(release);
    });
    assert!(busy.unwrap() && outcomes.iter().all(Result::is_ok));
    assert!(store.inner.index.0.commits() <= before + 2, "{}", store.inner.index.0.commits() - before);
    let commits = store.inner.index.0.commits();
    store.put_small(&assignment(&blobs[0], 9), blobs[0].clone()).await.unwrap();
    assert_eq!(store.inner.index.0.commits(), commits, "it was stored already");
    drop(store);
    let store = open_on(&disk);
    assert!(blobs.iter().all(|bytes| read_all(&store, bytes).unwrap() == *bytes));
}

#[tokio::test]
async fn simultaneous_puts_of_one_blob_do_not_disturb_each_other() {
    let (_disk, store) = open();
    let bytes = large(1);
    let complete: Vec<Complete> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| finish(&store, &bytes))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut recording = tokio::task::JoinSet::new();
    for complete in complete {
        let store = store.clone();
        recording.spawn(async move { store.enter(complete).await });
    }
    assert!(recording.join_all().await.iter().all(Result::is_ok));
    assert_eq!(read_all(&store, &bytes).unwrap(), bytes);
    assert_eq!(store.usage().unwrap().bytes, 70_000);
}

#[tokio::test]
async fn the_newest_certificate_is_kept() {
    let (disk, store) = open();
    let digest = Digest::of(b"blob");
    store.archive([certificate(b"blob", 100)].map(assigned).into()).await.unwrap();
    put(&store, b"blob").await;
    assert_eq!(store.certificate(&digest).unwrap(), None, "there is no such blob");
    let mut longer = certificate(b"blob", 100);
    longer.claim.receipt.length += 1;
    store.archive([longer].map(assigned).into()).await.unwrap();
    assert_eq!(store.certificate(&digest).unwrap(), None);
    let (old, new) = (certificate(b"blob", 100), certificate(b"blob", 101));
    let mut rival = new.clone();
    rival.signature = AggregateSignature([3; 96]);
    for (archived, kept) in [(&old, &old), (&new, &new), (&old, &new), (&rival, &new)] {
        store.archive([archived.clone()].map(assigned).into()).await.unwrap();
        assert_eq!(store.certificate(&digest).unwrap().as_ref(), Some(kept));
    }
    drop(store);
    assert_eq!(open_on(&disk).certificate(&digest).unwrap(), Some(new));
}

#[tokio::test]
async fn an_error_names_a_decayed_certificate() {
    let (_disk, store) = open();
    let digest = Digest::of(b"blob");
    let garble = store.inner.index.0.commit(move |transaction| {
        transaction
            .open_table(redb::TableDefinition::<[u8; 32], (u64, &[u8])>::new("certificates"))?
            .insert(digest.0, (1, b"garbage".as_slice()))?;
        Ok(())
    });
    garble.await.unwrap();
    let error = store.certificate(&digest).unwrap_err();
    assert!(matches!(error, StoreError::Certificate { digest: got, .. } if got == digest));
    assert_eq!(error.code(), Code::Storage);
}

#[test]
fn a_store_cannot_be_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&Host::system(), folder.path(), &StoreConfig::default()).unwrap();
    let error = Store::open(&Host::system(), folder.path(), &StoreConfig::default()).unwrap_err();
    assert!(matches!(error, StoreError::Index(DurableError::InUse { .. })), "{error}");
    drop(store);
    Store::open(&Host::system(), folder.path(), &StoreConfig::default()).unwrap();
}
