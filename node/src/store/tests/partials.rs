//! Partial uploads of interrupted puts, and the puts that resume them.

use std::time::Duration;

use vouch_core::tree::{BLOCK, Parent, TreeHasher, proof};

use super::*;
use crate::store::write::PartialKey;

mod damage;
mod eviction;

const HOUR: Duration = Duration::from_secs(3600);

/// A large blob as a client sends it.
pub(super) struct Blob {
    pub(super) bytes: Vec<u8>,
    pub(super) assignment: Assignment,
    outboard: Vec<u8>,
}

impl Blob {
    pub(super) fn new(seed: u64, length: usize) -> Self {
        let bytes = content(seed, length);
        let mut outboard = Vec::new();
        let mut hasher = TreeHasher::new();
        hasher.update(&bytes, &mut |parent| outboard.extend_from_slice(&parent.0));
        hasher.finish(&mut |parent| outboard.extend_from_slice(&parent.0));
        Self { assignment: assignment(&bytes, 1), bytes, outboard }
    }

    /// A blob of this number of blocks and a few bytes.
    fn blocks(seed: u64, blocks: usize) -> Self {
        Self::new(seed, blocks * BLOCK + 100)
    }

    fn digest(&self) -> Digest {
        self.assignment.digest
    }

    fn key(&self) -> PartialKey {
        PartialKey::of(&self.assignment)
    }

    fn slice(&self, from: usize, size: usize) -> (&[u8], Vec<Parent>) {
        let end = (from + size).min(self.bytes.len());
        let read = |at: u64| {
            let at = usize::try_from(at).unwrap();
            Ok::<_, std::convert::Infallible>(Parent(self.outboard[at..at + Parent::SIZE].try_into().unwrap()))
        };
        let Ok(parents) = proof(from as u64..end as u64, self.bytes.len() as u64, read);
        (&self.bytes[from..end], parents)
    }

    /// Sends some blocks.
    pub(super) fn send(&self, to: Receiving, mut blocks: std::ops::Range<usize>) -> Result<Receiving, StoreError> {
        blocks.try_fold(to, |to, block| {
            let (bytes, proof) = self.slice(block * BLOCK, BLOCK);
            to.take((block * BLOCK) as u64, bytes, &proof)
        })
    }

    pub(super) fn count(&self) -> usize {
        self.bytes.len().div_ceil(BLOCK)
    }

    /// Sends the missing bytes, and stores the blob.
    pub(super) async fn send_rest(&self, store: &Store, to: Receiving) -> Result<(), StoreError> {
        let first = usize::try_from(to.offset()).unwrap() / BLOCK;
        store.enter(self.send(to, first..self.count())?.finish(&self.assignment)?).await
    }

    /// A put that is interrupted after some blocks.
    pub(super) fn leave(&self, store: &Store, blocks: usize) {
        let offered = store.receive(Some(&self.assignment), &CancelToken::default()).unwrap();
        drop(self.send(offered, 0..blocks).unwrap());
    }

    fn offset(&self, store: &Store) -> usize {
        let offset = store.receive(Some(&self.assignment), &CancelToken::default()).unwrap().offset();
        usize::try_from(offset).unwrap() / BLOCK
    }

    pub(super) fn assert_stored(&self, disk: &SimulatedDisk, store: &Store) {
        let (mut at, length) = (0, self.bytes.len());
        while at < length {
            let size = (length - at).min(BLOCK);
            let slice = store.read(&self.digest(), at as u64, u32::try_from(size).unwrap()).unwrap();
            assert!(slice.bytes == self.bytes[at..at + size], "{at}");
            at += size;
        }
        store.scrub_one(&self.digest()).unwrap();
        assert_eq!((partials(disk), kept(store)), (0, (0, 0)), "and nothing is left");
        assert_eq!(store.inner.index.partials().unwrap(), (Vec::new(), Vec::new()));
    }
}

fn with(config: PartialConfig) -> (SimulatedDisk, Store) {
    let disk = SimulatedDisk::default();
    let store = open_with(&disk, config);
    (disk, store)
}

fn open_with(disk: &SimulatedDisk, partials: PartialConfig) -> Store {
    let config = StoreConfig { partials, ..StoreConfig::default() };
    Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), &config).unwrap()
}

fn kept(store: &Store) -> (u64, u64) {
    let usage = store.usage().unwrap();
    (usage.partials, usage.partial_bytes / BLOCK as u64)
}

fn silence(silence: Duration) -> PartialConfig {
    PartialConfig { silence, ..PartialConfig::default() }
}

#[tokio::test]
async fn a_put_resumes_where_another_was_interrupted() {
    for checkpoint in [BLOCK as u64, 2 * BLOCK as u64, 64 << 20] {
        let (disk, store) = with(PartialConfig { checkpoint, ..PartialConfig::default() });
        let blob = Blob::blocks(1, 6);
        blob.leave(&store, 3);
        assert_eq!((kept(&store), partials(&disk)), ((1, 3), 2));
        let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
        assert_eq!((offered.offset(), kept(&store)), (3 * BLOCK as u64, (0, 0)), "it is in use");
        let offered = blob.send(offered, 3..5).unwrap();
        drop(offered);
        drop(store);
        let store = open_on(&disk);
        assert_eq!(kept(&store), (1, 5), "it outlives a restart");
        let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
        assert_eq!(offered.offset(), 5 * BLOCK as u64);
        blob.send_rest(&store, offered).await.unwrap();
        blob.assert_stored(&disk, &store);
        assert_eq!(store.keep_until(&blob.digest()).unwrap(), Some(1));
    }
}

#[tokio::test]
async fn present_blocks_are_skipped_and_gaps_are_refused() {
    let (disk, store) = open();
    let blob = Blob::blocks(1, 5);
    blob.leave(&store, 3);
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    // the server chose an earlier block, because another replica has fewer
    let offered = blob.send(offered, 1..4).unwrap();
    let gap = blob.send(offered, 5..6).unwrap_err();
    assert!(matches!(gap, StoreError::OutOfOrder { .. }), "{gap}");
    // an error ends the put, and what it brought is kept
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let block = BLOCK as u64;
    let (bytes, proof) = blob.slice(4 * BLOCK - 16384, BLOCK);
    let odd = offered.take(4 * block - 16384, bytes, &proof).unwrap_err();
    assert!(
        matches!(odd, StoreError::OutOfOrder { expected, got } if (expected, got) == (4 * block, 4 * block - 16384)),
        "{odd}"
    );
    assert_eq!(odd.code(), Code::Unexpected);
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let offered = blob.send(offered, 4..6).unwrap();
    store.enter(offered.finish(&blob.assignment).unwrap()).await.unwrap();
    blob.assert_stored(&disk, &store);
}

#[tokio::test]
async fn a_large_blob_must_arrive_in_blocks() {
    let (_disk, store) = open();
    let blob = Blob::blocks(1, 2);
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let (bytes, proof) = blob.slice(0, 16384);
    let error = offered.take(0, bytes, &proof).unwrap_err();
    assert!(matches!(error, StoreError::NotABlock { offset: 0, got: 16384 }), "{error}");
    assert_eq!(error.code(), Code::DigestDiffers);
}

#[tokio::test]
async fn wrong_bytes_do_not_remove_verified_ones() {
    let (disk, store) = open();
    let blob = Blob::blocks(1, 4);
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let offered = blob.send(offered, 0..2).unwrap();
    let (bytes, proof) = blob.slice(2 * BLOCK, BLOCK);
    let mut wrong = bytes.to_vec();
    wrong[77] ^= 1;
    let error = offered.take(2 * BLOCK as u64, &wrong, &proof).unwrap_err();
    assert!(matches!(error, StoreError::Slice(_)), "{error}");
    // neither does a different assignment at the end, or an end that comes too early
    for other in [Assignment { length: 5, ..blob.assignment }, Blob::blocks(9, 4).assignment, blob.assignment] {
        let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
        assert_eq!(offered.offset(), 2 * BLOCK as u64);
        let error = offered.finish(&other).unwrap_err();
        assert!(matches!(error.code(), Code::LengthDiffers | Code::DigestDiffers), "{error}");
    }
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    blob.send_rest(&store, offered).await.unwrap();
    blob.assert_stored(&disk, &store);
}

/// The first blocks of a blob also verify for some wrong lengths.
#[tokio::test]
async fn puts_that_claim_different_lengths_have_different_partial_uploads() {
    let (_disk, store) = open();
    let blob = Blob::blocks(1, 4);
    let liar = Assignment { length: blob.assignment.length + 1, ..blob.assignment };
    let offered = store.receive(Some(&liar), &CancelToken::default()).unwrap();
    let offered = blob.send(offered, 0..2).unwrap();
    drop(offered);
    assert_eq!((kept(&store), blob.offset(&store)), ((1, 2), 0));
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    blob.send_rest(&store, offered).await.unwrap();
    assert_eq!(kept(&store), (1, 2));
    assert_eq!(store.read(&blob.digest(), 0, 16384).unwrap().bytes, blob.bytes[..16384]);
}

#[tokio::test]
async fn the_second_of_two_simultaneous_puts_writes_its_own_files() {
    let (disk, store) = with(silence(HOUR));
    let blob = Blob::blocks(1, 4);
    let one = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    let one = blob.send(one, 0..2).unwrap();
    let two = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    assert_eq!(two.offset(), 0);
    let two = blob.send(two, 0..3).unwrap();
    assert_eq!(partials(&disk), 4);
    drop(two);
    assert_eq!((partials(&disk), kept(&store)), (2, (0, 0)), "files of a single put are not kept");
    let two = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    blob.send_rest(&store, two).await.unwrap();
    drop(one);
    blob.assert_stored(&disk, &store);
}

#[tokio::test]
async fn a_partial_upload_is_removed_once_the_blob_is_stored() {
    let (disk, store) = open();
    let blob = Blob::blocks(1, 4);
    blob.leave(&store, 2);
    put(&store, &blob.bytes).await;
    blob.assert_stored(&disk, &store);
}

#[tokio::test]
async fn a_silent_put_loses_its_partial_upload() {
    for (allowed, offset) in [(HOUR, 0), (Duration::ZERO, 2)] {
        let (disk, store) = with(silence(allowed));
        let blob = Blob::blocks(1, 4);
        let silent = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
        let silent = blob.send(silent, 0..2).unwrap();
        let next = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
        assert_eq!(next.offset(), offset * BLOCK as u64);
        if offset > 0 {
            let late = blob.send(silent, 2..3).unwrap_err();
            assert!(matches!(late, StoreError::Overtaken { digest } if digest == blob.digest()), "{late}");
            assert_eq!(late.code(), Code::Busy);
        } else {
            drop(silent);
        }
        blob.send_rest(&store, next).await.unwrap();
        blob.assert_stored(&disk, &store);
    }
}

#[tokio::test]
async fn a_cancelled_put_loses_its_partial_upload_before_its_thread_knows() {
    let (disk, store) = with(silence(HOUR));
    let blob = Blob::blocks(1, 4);
    let cut = CancelToken::default();
    let before = store.receive(Some(&blob.assignment), &cut).unwrap();
    let before = blob.send(before, 0..2).unwrap();
    cut.keep();
    let next = store.receive(Some(&blob.assignment), &CancelToken::default()).unwrap();
    assert_eq!(next.offset(), 2 * BLOCK as u64);
    assert!(matches!(blob.send(before, 2..3), Err(StoreError::Overtaken { .. })));
    blob.send_rest(&store, next).await.unwrap();
    blob.assert_stored(&disk, &store);
}

/// A client retries at once, while its partial upload is being made durable.
#[test]
fn an_immediate_retry_finds_the_partial_upload() {
    let (_disk, store) = with(silence(HOUR));
    let blob = Blob::blocks(1, 4);
    for round in 0..200 {
        let cut = CancelToken::default();
        let mut before = store.receive(Some(&blob.assignment), &cut).unwrap();
        if round == 0 {
            before = blob.send(before, 0..3).unwrap();
        }
        cut.keep();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(before));
            assert_eq!(blob.offset(&store), 3, "round {round}");
        });
    }
}

#[tokio::test]
async fn a_discarded_put_removes_only_its_own_bytes() {
    let (disk, store) = open();
    let blob = Blob::blocks(1, 4);
    let cancelled = |blocks: std::ops::Range<usize>| {
        let cut = CancelToken::default();
        let offered = store.receive(Some(&blob.assignment), &cut).unwrap();
        let _offered = blob.send(offered, blocks).unwrap();
        cut.discard();
        // the end of the link afterwards does not change that
        cut.keep();
    };
    cancelled(0..2);
    assert_eq!((kept(&store), partials(&disk)), ((0, 0), 0));
    assert_eq!(store.inner.index.partials().unwrap().0.len(), 0);
    blob.leave(&store, 2);
    cancelled(2..3);
    assert_eq!(kept(&store), (1, 3), "another put began the partial upload");
}

#[tokio::test]
async fn a_put_of_a_stored_blob_needs_no_bytes() {
    let (_disk, store) = open();
    let blob = Blob::blocks(1, 2);
    put_until(&store, &blob.bytes, 50).await;
    let longer = Assignment { expires_at: 90, ..blob.assignment };
    let offered = store.receive(Some(&longer), &CancelToken::default()).unwrap();
    assert_eq!(offered.offset(), blob.assignment.length);
    let offered = blob.send(offered, 1..3).unwrap();
    let more = offered.take(blob.assignment.length, b"x", &[]).unwrap_err();
    assert!(matches!(more, StoreError::LengthDiffers { .. }), "{more}");
    let offered = store.receive(Some(&longer), &CancelToken::default()).unwrap();
    store.enter(offered.finish(&longer).unwrap()).await.unwrap();
    assert_eq!(store.keep_until(&blob.digest()).unwrap(), Some(90));
    // unless it is removed meanwhile
    let offered = store.receive(Some(&longer), &CancelToken::default()).unwrap();
    store.collect(91 + GRACE, GRACE).await.unwrap();
    let gone = store.enter(offered.finish(&longer).unwrap()).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotHeld { digest } if digest == blob.digest()), "{gone}");
    assert_eq!(gone.code(), Code::NotHeld);
}
