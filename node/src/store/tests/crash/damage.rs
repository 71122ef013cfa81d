//! The same with damage: every operation of a script of votes fails or loses power, and the store's blobs are damaged before the
//! next vote, while the replica is off or while it keeps running after an error. No vote may be cast for missing or wrong
//! bytes, and each cast vote must survive a loss of power.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use super::super::confirming::{DAMAGES, Damage, ISSUED, VOTES, Vote, paths_of, vote, voted};
use super::*;

/// A kind of damage, and the damaged blob.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Large(Damage),
    /// Every copy of the small blob in the index.
    SmallFlipped,
    /// None: a vote must not be refused without a reason.
    Nothing,
}

struct Pair {
    large: Vec<u8>,
    small: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self { large: content(1, 70_000), small: content(2, 3000) }
    }

    fn of(&self, harm: Harm) -> &[u8] {
        if matches!(harm, Harm::SmallFlipped) { &self.small } else { &self.large }
    }
}

fn harms() -> Vec<Harm> {
    DAMAGES.map(Harm::Large).into_iter().chain([Harm::SmallFlipped, Harm::Nothing]).collect()
}

impl Harm {
    /// Does the damage. Returns whether there was anything to damage.
    fn happen(self, disk: &SimulatedDisk, pair: &Pair) -> bool {
        let index = Path::new(FOLDER).join(INDEX);
        let files = disk.files_below(Path::new(FOLDER));
        let digest = Digest::of(&pair.large);
        let (data, outboard) = paths_of(&digest);
        match self {
            Self::Nothing => true,
            Self::Large(_) if ![&data, &outboard, &index].into_iter().all(|path| files.contains(path)) => false,
            Self::Large(damage) => {
                damage.happen(disk, &digest);
                true
            }
            Self::SmallFlipped if !files.contains(&index) => false,
            Self::SmallFlipped => {
                let mut bytes = disk.bytes(&index);
                let head = &pair.small[..64];
                let found: Vec<usize> =
                    (0..bytes.len() - head.len()).filter(|at| bytes[*at..].starts_with(head)).collect();
                found.iter().for_each(|at| bytes[at + 1000] ^= 1);
                disk.overwrite(&index, &bytes);
                !found.is_empty()
            }
        }
    }
}

/// Puts both blobs, casts each kind of vote, and repairs. Continues after a failure, as a replica does.
async fn script(store: &Store, pair: &Pair) {
    let small = assignment(&pair.small, 5000);
    drop(store.put_small(&small, pair.small.clone().into()).await);
    for kind in VOTES {
        drop(vote(store, kind, &pair.large).await);
        drop(store.confirm(&[small]).await);
        let longer = [Assignment { expires_at: kind.expires_at(), ..small }];
        drop(store.promise(&longer, Vec::new(), statement(ISSUED, &longer)).await);
    }
    drop(store.archive([certificate(&pair.large, 5), certificate(&pair.small, 5)].map(assigned).into()).await);
    drop(store.mark_damaged(&Digest::of(&pair.large)).await);
    drop(vote(store, Vote::NewPut, &pair.large).await);
}

/// Asks a store for a vote, and checks that it may cast it.
async fn judge(store: &Store, disk: &SimulatedDisk, kind: Vote, bytes: &[u8]) -> Result<bool, String> {
    let digest = Digest::of(bytes);
    let is_signed = matches!(vote(store, kind, bytes).await, Ok(true));
    if !is_signed {
        return Ok(false);
    }
    let (data, _) = paths_of(&digest);
    if disk.files_below(Path::new(FOLDER)).contains(&data) && disk.bytes(&data) != bytes {
        return Err("signed for other bytes".to_owned());
    }
    // after a loss of power, the blob and its duty are still there
    let found = disk.after_power_cut(Writes::Lost, Names::Lost);
    let store = open_store(&found).map_err(|error| format!("it signs and does not open: {error}"))?;
    let kept = store.keep_until(&digest).map_err(|error| error.to_string())?;
    let until = if kind == Vote::EarlierCertificate { 0 } else { kind.expires_at() };
    if kept.is_none_or(|kept| kept < until) {
        return Err(format!("it signs until {until} and keeps until {kept:?}"));
    }
    let signed = store.signed(Stored::KIND, ISSUED).map_err(|error| error.to_string())?;
    if kind != Vote::EarlierCertificate && !signed.contains(&voted(kind, bytes).id()) {
        return Err("it signs what its journal lacks".to_owned());
    }
    store.scrub_one(&digest).map_err(|error| format!("it signs, and then: {error}"))?;
    if served(&store, &digest, bytes.len() as u64)? != bytes {
        return Err("it signs for what it serves wrong".to_owned());
    }
    Ok(true)
}

fn run_with(pair: &Pair, mishap: Option<(usize, Mishap)>) -> (SimulatedDisk, Option<Store>) {
    let disk = SimulatedDisk::default();
    if let Some((at, mishap)) = mishap {
        disk.mishap_at(at, mishap);
    }
    let store = open_store(&disk).ok();
    if let Some(store) = &store {
        block_on(script(store, pair));
    }
    (disk, store)
}

fn fingerprint(disk: &SimulatedDisk) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in disk.files_below(Path::new("/")) {
        path.hash(&mut hasher);
        disk.bytes(&path).hash(&mut hasher);
    }
    hasher.finish()
}

/// The results of the enumeration.
#[derive(Debug, Default)]
struct Seen {
    disks: HashSet<u64>,
    cases: usize,
    signed: usize,
    wrong: Vec<String>,
}

/// Damages a disk after a crash in every way, before each kind of vote.
fn while_it_is_off(found: &SimulatedDisk, pair: &Pair, what: &str, seen: &Mutex<Seen>) {
    let number = {
        let mut seen = seen.lock().unwrap();
        if !seen.disks.insert(fingerprint(found)) {
            return;
        }
        seen.disks.len()
    };
    for (turn, harm) in harms().into_iter().enumerate() {
        // two of the five kinds in turn, because several disks are possible after each operation
        for kind in [0, 2].map(|more| VOTES[(number + turn + more) % VOTES.len()]) {
            let disk = found.copy();
            if !harm.happen(&disk, pair) {
                continue;
            }
            let judged = match open_store(&disk) {
                Ok(store) => block_on(judge(&store, &disk, kind, pair.of(harm))),
                // a store that does not open signs nothing; without damage it must open
                Err(error) if matches!(harm, Harm::Nothing) => Err(format!("the store does not open: {error}")),
                Err(_) => Ok(false),
            };
            // without damage, a new put gets a vote after every crash
            let judged = match judged {
                Ok(false) if matches!(harm, Harm::Nothing) && kind == Vote::NewPut => Err("it refuses a put".into()),
                judged => judged,
            };
            note(judged, format!("{what}, off: {harm:?}, {kind:?}"), seen);
        }
    }
}

fn note(judged: Result<bool, String>, case: String, seen: &Mutex<Seen>) {
    let mut seen = seen.lock().unwrap();
    seen.cases += 1;
    match judged {
        Ok(signed) => seen.signed += usize::from(signed),
        Err(error) => seen.wrong.push(format!("{case}: {error}")),
    }
}

#[test]
fn after_every_mishap_no_vote_is_cast_for_damaged_bytes() {
    let pair = Pair::new();
    let operations = run_with(&pair, None).0.operations();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
    let work = || {
        while let Some(number) = operations.len().checked_sub(next.fetch_add(1, Ordering::Relaxed)) {
            let done = operations.get(number);
            let reads = done.is_some_and(|done| matches!(done.action, Action::Read | Action::Open));
            for mishap in [Mishap::Error, Mishap::PowerCut] {
                // a loss of power before a read is one before the next change
                if reads && mishap == Mishap::PowerCut {
                    continue;
                }
                let what = format!("{number} ({:?}): {mishap:?}", done.map(|done| (done.action, &done.path)));
                let (disk, store) = run_with(&pair, Some((number, mishap)));
                for (writes, names) in survivals(number) {
                    while_it_is_off(&disk.after_power_cut(writes, names), &pair, &what, &seen);
                }
                drop(store);
                if mishap == Mishap::PowerCut {
                    continue;
                }
                // The process keeps running, so the library still has recently read pages of the index in memory.
                let harms = harms().into_iter().filter(|harm| !matches!(harm, Harm::SmallFlipped));
                for (turn, harm) in harms.enumerate() {
                    let (disk, Some(store)) = run_with(&pair, Some((number, mishap))) else { continue };
                    let kind = VOTES[(number + turn) % VOTES.len()];
                    // after the last operation, nothing fails any more
                    disk.mishap_at(usize::MAX, Mishap::Error);
                    if harm.happen(&disk, &pair) {
                        let judged = block_on(judge(&store, &disk, kind, pair.of(harm)));
                        note(judged, format!("{what}, running: {harm:?}, {kind:?}"), &seen);
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
    let Seen { disks, cases, signed, wrong } = seen.into_inner().unwrap();
    println!("{} operations, {} disks, {cases} cases, {signed} signed", operations.len(), disks.len());
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(cases > 1000 && signed > 100 && signed < cases, "{cases}, {signed}");
}
