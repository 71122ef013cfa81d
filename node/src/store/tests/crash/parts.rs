//! The same for interrupted puts that resume: whatever is lost, the next put ends in the right blob, and durable
//! bytes need not be sent again.

use vouch_core::tree::BLOCK;

use super::super::partials::Blob;
use super::*;

/// The promises that the store has made.
#[derive(Debug, Default, Clone)]
struct Promised {
    /// The resume offset after an interrupted put.
    kept: u64,
    is_stored: bool,
    failed: bool,
}

fn config() -> StoreConfig {
    let partials = PartialConfig { checkpoint: 2 * BLOCK as u64, ..PartialConfig::default() };
    StoreConfig { partials, ..StoreConfig::default() }
}

fn open_parts(disk: &SimulatedDisk) -> Result<Store, StoreError> {
    Store::open(&Host::on_disk(Arc::new(disk.clone())), Path::new(FOLDER), &config())
}

/// Three interrupted puts, the first after a checkpoint. With `to_the_end`, the last one completes.
async fn script(store: &Store, blob: &Blob, to_the_end: bool) -> Promised {
    let mut promised = Promised::default();
    for (upto, discard) in [(3, false), (3, true), (4, false)] {
        let cut = CancelToken::default();
        match store.receive(Some(&blob.assignment), &cut) {
            Ok(offered) => {
                let first = usize::try_from(offered.offset()).unwrap() / BLOCK;
                let sent = blob.send(offered, first..upto.max(first));
                if discard {
                    cut.discard();
                }
                promised.failed |= sent.map(drop).is_err();
            }
            Err(_) => promised.failed = true,
        }
        promised.failed |= store.is_broken();
        if !store.is_broken() && !discard {
            promised.kept = store.usage().map_or(0, |usage| usage.partial_bytes);
        }
    }
    if to_the_end {
        // from here on, its files move to another folder
        promised.kept = 0;
        let stored = match store.receive(Some(&blob.assignment), &CancelToken::default()) {
            Ok(offered) => blob.send_rest(store, offered).await,
            Err(error) => Err(error),
        };
        (promised.is_stored, promised.failed) = (stored.is_ok(), promised.failed || stored.is_err());
    }
    promised
}

async fn examine(disk: &SimulatedDisk, blob: &Blob, promised: &Promised) -> Result<(), String> {
    let text = |error: StoreError| error.to_string();
    let store = open_parts(disk).map_err(|error| format!("the store does not open: {error}"))?;
    let digest = blob.assignment.digest;
    let is_stored = store.length_of(&digest).map_err(text)?.is_some();
    if promised.is_stored && !is_stored {
        return Err("it was stored and is gone".to_owned());
    }
    let offered = store.receive(Some(&blob.assignment), &CancelToken::default()).map_err(text)?;
    if offered.offset() < promised.kept {
        return Err(format!("{} bytes were durable, {} are there", promised.kept, offered.offset()));
    }
    blob.send_rest(&store, offered).await.map_err(|error| format!("does not resume: {error}"))?;
    if served(&store, &digest, blob.assignment.length)? != blob.bytes {
        return Err("is served with wrong bytes".to_owned());
    }
    store.scrub_one(&digest).map_err(text)?;
    let files = disk.files_below(Path::new(FOLDER));
    // the index, the store's id, the blob and its outboard
    if files.len() != 4 {
        return Err(format!("files are left behind: {files:?}"));
    }
    Ok(())
}

fn run(blob: &Blob, mishap: Option<(usize, Mishap)>, lies: fn(&Path) -> bool, end: bool) -> (SimulatedDisk, Promised) {
    let disk = SimulatedDisk::default();
    disk.lie_about(lies);
    if let Some((at, mishap)) = mishap {
        disk.mishap_at(at, mishap);
    }
    let promised = match open_parts(&disk) {
        Ok(store) => block_on(script(&store, blob, end)),
        Err(_) => Promised { failed: true, ..Promised::default() },
    };
    (disk, promised)
}

fn enumerate_parts(lies: fn(&Path) -> bool, end: bool, stop_at_first: bool) -> (usize, Vec<String>) {
    let blob = Blob::new(1, 4 * BLOCK + 100);
    let (disk, promised) = run(&blob, None, lies, end);
    assert!(!promised.failed && promised.is_stored == end, "{promised:?}");
    assert_eq!(promised.kept, if end { 0 } else { 4 * BLOCK as u64 });
    let operations = disk.operations();
    let (mut cases, mut wrong) = (0, Vec::new());
    for number in (0..=operations.len()).rev() {
        for mishap in [Mishap::Error, Mishap::PowerCut] {
            let done = operations.get(number);
            let reads = done.is_some_and(|done| matches!(done.action, Action::Read | Action::Open));
            if (reads && mishap == Mishap::PowerCut) || (stop_at_first && !wrong.is_empty()) {
                continue;
            }
            let (disk, promised) = run(&blob, Some((number, mishap)), lies, end);
            let kinds = if mishap == Mishap::Error { 4 } else { 8 };
            for (writes, names) in &survivals(number)[..kinds] {
                cases += 1;
                let found = disk.after_power_cut(*writes, *names);
                found.lie_about(|_| false);
                let examined = || block_on(examine(&found, &blob, &promised));
                let examined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(examined));
                if let Err(error) = examined.unwrap_or_else(|_| Err("it panics".to_owned())) {
                    let what = done.map(|done| format!("{} {}", done.action, done.path.display()));
                    wrong.push(format!("{number} ({what:?}): {mishap:?}, {writes:?}, names {names:?}: {error}"));
                }
            }
        }
    }
    println!("{} operations, {cases} cases", operations.len());
    (cases, wrong)
}

#[test]
fn a_put_resumes_correctly_after_every_mishap() {
    for end in [false, true] {
        let (cases, wrong) = enumerate_parts(|_| false, end, false);
        assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
        assert!(cases > 500, "{cases}");
    }
}

/// Tests this test: without any one sync of a checkpoint, it finds a violation.
#[test]
fn every_sync_of_a_part_is_needed() {
    fn data(path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "part")
    }
    fn outboard(path: &Path) -> bool {
        path.starts_with("/data/partial") && path.extension().is_some_and(|extension| extension == "obao")
    }
    fn folder(path: &Path) -> bool {
        path == Path::new("/data/partial")
    }
    let kinds = [("data", data as fn(&Path) -> bool), ("outboard", outboard), ("folder", folder)];
    for (name, lies) in kinds {
        let (_, wrong) = enumerate_parts(lies, false, true);
        assert!(!wrong.is_empty(), "nobody notices that the {name} is not synced");
        println!("{name} not synced: {}", wrong[0]);
    }
}
