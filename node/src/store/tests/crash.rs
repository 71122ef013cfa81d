//! A script of puts, votes and removals runs with a failure, and with a loss of power, at each of its disk operations. After
//! each run, the store is opened on what survived and must keep every promise.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use vouch_core::tree::verify;

use super::*;
use crate::host::disk::simulated::{Mishap, Names, Writes};

mod damage;
mod parts;

/// The time at which the script runs. The blobs that it removes expired long before.
const NOW: u64 = 10_000_000;
const EXPIRED: u64 = 1000;
const UNTIL: u64 = 2 * NOW;
/// Size of one read in bytes, as on a link.
const SLICE: usize = 256 << 10;

/// The script's blobs.
struct Blobs {
    small: Vec<u8>,
    groups: Vec<u8>,
    large: Vec<u8>,
    /// Both expire: one in the index, one in files.
    brief: [Vec<u8>; 2],
}

impl Blobs {
    fn new() -> Self {
        Self {
            small: content(1, 1000),
            groups: content(2, 4 * 16384 + 7),
            large: content(3, 5 << 20),
            brief: [content(4, 2000), content(5, 80_000)],
        }
    }

    fn lasting(&self) -> [&[u8]; 3] {
        [&self.small, &self.groups, &self.large]
    }
}

/// The promises that the store has made.
#[derive(Debug, Default, Clone)]
struct Promises {
    /// When the duty of each blob ends.
    kept: BTreeMap<Digest, u64>,
    /// The statements that may have been signed, by their `issued_at`.
    signed: Vec<(u64, StatementId)>,
    /// The blobs with an archived certificate.
    archived: Vec<Digest>,
    /// Whether expired blobs were removed.
    collected: bool,
    /// The first error.
    failed: Option<String>,
}

impl Promises {
    fn note<T>(&mut self, outcome: Result<T, StoreError>) -> Option<T> {
        outcome.map_err(|error| self.failed.get_or_insert(error.to_string()).clone()).ok()
    }
}

fn open_store(disk: &SimulatedDisk) -> Result<Store, StoreError> {
    Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), &StoreConfig::default())
}

/// Puts, votes, archives and removes. Continues after a failure, as a replica does.
async fn script(store: &Store, blobs: &Blobs) -> Promises {
    let mut promises = Promises::default();
    // a put is no promise before a vote, but a blob that is reported as stored must be stored
    for bytes in &blobs.brief {
        let outcome = put_whole(store, bytes, EXPIRED).await;
        promises.note(outcome);
    }
    for bytes in blobs.lasting() {
        let outcome = put_whole(store, bytes, UNTIL - 1).await;
        if promises.note(outcome).is_some() {
            promises.kept.insert(Digest::of(bytes), UNTIL - 1);
        }
    }
    let assignments: Vec<Assignment> = blobs.lasting().into_iter().map(|bytes| assignment(bytes, UNTIL)).collect();
    for (issued_at, batch) in [(3, &assignments[..1]), (4, &assignments)] {
        let statement = statement(issued_at, batch);
        let outcome = store.promise(batch, Vec::new(), statement).await;
        if let Some(Promise::Journalled(..)) = promises.note(outcome) {
            promises.kept.extend(batch.iter().map(|assignment| (assignment.digest, assignment.expires_at)));
            promises.signed.push((issued_at, statement.id()));
        }
    }
    let held = blobs.lasting().into_iter().filter(|bytes| promises.kept.contains_key(&Digest::of(bytes)));
    let certified: Vec<AssignedBlob> = held.map(|bytes| assigned(certificate(bytes, 5))).collect();
    let digests: Vec<Digest> = certified.iter().map(AssignedBlob::digest).collect();
    let outcome = store.archive(certified).await;
    if promises.note(outcome).is_some() {
        promises.archived = digests;
    }
    let outcome = store.collect(NOW, GRACE).await;
    promises.collected = promises.note(outcome).is_some();
    promises
}

async fn put_whole(store: &Store, bytes: &[u8], expires_at: u64) -> Result<(), StoreError> {
    let assignment = assignment(bytes, expires_at);
    if bytes.len() == 1000 {
        return store.put_small(&assignment, Bytes::copy_from_slice(bytes)).await;
    }
    let mut upload = store.begin(Some(&assignment))?;
    for piece in bytes.chunks(1 << 20) {
        upload = upload.write(piece)?;
    }
    store.enter(upload.finish(&assignment)?).await
}

/// Reads every byte of a blob, and verifies each slice as a client does.
fn served(store: &Store, digest: &Digest, length: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let offset = bytes.len() as u64;
        let size = u32::try_from((length - offset).min(SLICE as u64)).unwrap();
        let slice = store.read(digest, offset, size).map_err(|error| error.to_string())?;
        verify(digest, length, offset, &slice.bytes, &slice.proof).map_err(|error| error.to_string())?;
        bytes.extend_from_slice(&slice.bytes);
    }
    Ok(bytes)
}

/// Checks a disk after a mishap: the store opens and keeps every promise.
async fn examine(disk: &SimulatedDisk, blobs: &Blobs, promises: &Promises, run_again: bool) -> Result<(), String> {
    let store = open_store(disk).map_err(|error| format!("the store does not open: {error}"))?;
    for (digest, until) in &promises.kept {
        match store.keep_until(digest).map_err(|error| error.to_string())? {
            None => return Err(format!("{digest} was promised and is gone")),
            Some(kept) if kept < *until => {
                return Err(format!("{digest} was promised until {until}, kept until {kept}"));
            }
            Some(_) => {}
        }
    }
    // every statement that may have been signed is in the journal
    for (issued_at, id) in &promises.signed {
        let signed = store.signed(Stored::KIND, *issued_at).map_err(|error| error.to_string())?;
        if !signed.contains(id) {
            return Err(format!("the journal lacks what was signed at {issued_at}"));
        }
    }
    for digest in &promises.archived {
        if store.certificate(digest).map_err(|error| error.to_string())?.is_none() {
            return Err(format!("the certificate of {digest} is gone"));
        }
    }
    if promises.collected {
        for bytes in &blobs.brief {
            if store.length_of(&Digest::of(bytes)).map_err(|error| error.to_string())?.is_some() {
                return Err("a collected blob is back".to_owned());
            }
        }
    }
    let known: BTreeMap<Digest, &[u8]> =
        blobs.lasting().into_iter().chain(blobs.brief.iter().map(Vec::as_slice)).map(|b| (Digest::of(b), b)).collect();
    let entries = store.blobs_from(None, 100).map_err(|error| error.to_string())?;
    let mut counted = (0, 0, 0);
    for (digest, entry) in &entries {
        let bytes = served(&store, digest, entry.length).map_err(|error| format!("{digest} is not served: {error}"))?;
        if known.get(digest).is_none_or(|known| bytes != *known) {
            return Err(format!("{digest} is served with wrong bytes"));
        }
        counted.0 += entry.length;
        if entry.length > MAX_SMALL { counted.2 += 1 } else { counted.1 += 1 }
    }
    let usage = store.usage().map_err(|error| error.to_string())?;
    if (usage.bytes, usage.small, usage.large) != counted || usage.blobs != entries.len() as u64 || usage.damaged != 0 {
        return Err(format!("usage: expected {counted:?}, got {usage:?}"));
    }

    if !run_again {
        return Ok(());
    }
    // the store works as before
    let again = script(&store, blobs).await;
    if let Some(failed) = again.failed {
        return Err(format!("the script does not run again: {failed}"));
    }
    for bytes in blobs.lasting() {
        let digest = Digest::of(bytes);
        if again.kept.get(&digest) != Some(&UNTIL) || served(&store, &digest, bytes.len() as u64)? != bytes {
            return Err(format!("{digest} is not stored by the second run"));
        }
    }
    let files = disk.files_below(Path::new(FOLDER));
    // the index, the store's id, and two large blobs with their outboards
    if files.len() != 6 {
        return Err(format!("files are left behind: {files:?}"));
    }
    Ok(())
}

/// Runs the script on an empty disk with one mishap. Returns the disk and the promises.
fn run(blobs: &Blobs, mishap: Option<(usize, Mishap)>, lies: fn(&Path) -> bool) -> (SimulatedDisk, Promises) {
    let disk = SimulatedDisk::default();
    disk.lie_about(lies);
    if let Some((at, mishap)) = mishap {
        disk.mishap_at(at, mishap);
    }
    let promises = match open_store(&disk) {
        Ok(store) => block_on(script(&store, blobs)),
        Err(error) => Promises { failed: Some(error.to_string()), ..Promises::default() },
    };
    (disk, promises)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Whether a path is one of the 256 folders of blobs.
fn is_shard(path: &Path) -> bool {
    path.parent() == Some(Path::new("/data/blobs"))
}

/// What may survive a mishap at this operation.
fn survivals(number: usize) -> [(Writes, Names); 10] {
    let mixed = Writes::Mixed(number as u64);
    [Names::Lost, Names::Kept]
        .map(|names| [Writes::Lost, Writes::Kept, Writes::Torn, Writes::Zeroed, mixed].map(|writes| (writes, names)))
        .concat()
        .try_into()
        .unwrap()
}

/// Tries every mishap at every operation. Returns the number of cases, and the violations found.
fn enumerate(lies: fn(&Path) -> bool, stop_at_first: bool) -> (usize, Vec<String>) {
    let blobs = Blobs::new();
    let (disk, promises) = run(&blobs, None, lies);
    assert_eq!(promises.failed, None);
    assert_eq!((promises.kept.len(), promises.archived.len(), promises.collected), (3, 3, true));
    assert_eq!(promises.signed.len(), 2);
    let operations = disk.operations();
    let (next, cases) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong = std::sync::Mutex::new(Vec::new());
    let work = || {
        // from the end, where the most was promised; the last case is a loss of power after all operations
        while let Some(number) = operations.len().checked_sub(next.fetch_add(1, Ordering::Relaxed)) {
            for mishap in [Mishap::Error, Mishap::PowerCut] {
                if stop_at_first && !wrong.lock().unwrap().is_empty() {
                    return;
                }
                // a loss of power before a read is one before the next change
                let done = operations.get(number);
                let reads = done.is_some_and(|done| matches!(done.action, Action::Read | Action::Open));
                // the sweep reads 256 equal folders; one is enough
                let sweeps = done.is_some_and(|done| reads && is_shard(&done.path) && !done.path.ends_with("00"));
                if sweeps || (reads && mishap == Mishap::PowerCut) {
                    continue;
                }
                let (disk, promises) = run(&blobs, Some((number, mishap)), lies);
                // after an error, only the worst ends of the process; a loss of power covers the others
                let kinds = if mishap == Mishap::Error { 4 } else { 8 };
                for (kind, (writes, names)) in survivals(number)[..kinds].iter().enumerate() {
                    cases.fetch_add(1, Ordering::Relaxed);
                    let found = disk.after_power_cut(*writes, *names);
                    found.lie_about(|_| false);
                    let run_again = kind == 0 || kind == number % kinds;
                    let examined = || block_on(examine(&found, &blobs, &promises, run_again));
                    // the library panics on some unsynced bytes
                    let examined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(examined));
                    if let Err(error) = examined.unwrap_or_else(|_| Err("it panics".to_owned())) {
                        let done = done.map(|done| format!("{} {}", done.action, done.path.display()));
                        let what = done.unwrap_or_else(|| "the end".to_owned());
                        let case = format!("{number} ({what}): {mishap:?}, {writes:?}, names {names:?}: {error}");
                        wrong.lock().unwrap().push(case);
                    }
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    println!("{} operations, {} cases", operations.len(), cases.load(Ordering::Relaxed));
    (cases.load(Ordering::Relaxed), wrong.into_inner().unwrap())
}

#[test]
fn every_promise_survives_every_mishap() {
    let (cases, wrong) = enumerate(|_| false, false);
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(cases > 1000, "{cases}");
}

/// Tests this test: if any one kind of sync is left out, it finds a violation.
#[test]
fn every_sync_is_needed() {
    fn data(path: &Path) -> bool {
        path.starts_with("/data/partial") && path.extension().is_none()
    }
    fn outboard(path: &Path) -> bool {
        path.starts_with("/data/partial") && path.extension().is_some()
    }
    fn index(path: &Path) -> bool {
        path == Path::new("/data/index.redb")
    }
    fn index_name(path: &Path) -> bool {
        path == Path::new("/data")
    }
    let kinds = [
        ("data", data as fn(&Path) -> bool),
        ("outboard", outboard),
        ("folder", is_shard),
        ("index", index),
        ("index's name", index_name),
    ];
    for (name, lies) in kinds {
        let (_, wrong) = enumerate(lies, true);
        assert!(!wrong.is_empty(), "nobody notices that the {name} is not synced");
        println!("{name} not synced: {}", wrong[0]);
    }
}
