//! A script of writes runs with a failure, and with a loss of power, at each of its disk operations. What is found afterwards is
//! exactly what was there after one of the last two writes: the last one that was acknowledged, or the one that was under way.

use super::super::disk::{BLOCKS, LogRequest, Performer, WalFound};
use super::*;
use crate::host::disk::simulated::{Mishap, Names, Writes};
use crate::host::files::Action;

/// What the log's files have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    /// `None`: the log was never used.
    wal: Option<Vec<Vec<u8>>>,
    /// The height of the first block that is there, if any is.
    first: u64,
    height: u64,
}

fn append(sizes: &[usize]) -> LogRequest {
    // larger than a page, so that a part of a record may survive
    LogRequest::Append {
        write: 0,
        records: sizes.iter().map(|size| record(u8::try_from(size % 251).unwrap(), *size)).collect(),
    }
}

fn commit(heights: std::ops::RangeInclusive<u64>) -> LogRequest {
    let state = state(*heights.end());
    LogRequest::Commit { write: 0, blocks: heights.map(block).collect(), state }
}

fn install(height: u64) -> LogRequest {
    LogRequest::Install { write: 0, state: Box::new(new_state(height)) }
}

fn reset(records: &[Vec<u8>]) -> LogRequest {
    LogRequest::Reset { records: records.to_vec() }
}

/// Each is a group of requests that share a write.
fn script() -> Vec<Vec<LogRequest>> {
    vec![
        vec![reset(&[])],
        vec![append(&[100])],
        vec![append(&[9000, 40]), append(&[5000])],
        vec![append(&[70])],
        vec![commit(1..=1)],
        vec![reset(&[record(7, 300)])],
        vec![append(&[4100])],
        vec![append(&[20, 21, 22])],
        vec![commit(2..=3), commit(4..=4)],
        vec![reset(&[])],
        vec![append(&[10_000])],
        vec![install(9)],
        vec![reset(&[record(3, 30)])],
        vec![commit(10..=11)],
    ]
}

/// What is there after each step, from the beginning.
fn contents() -> Vec<Content> {
    let mut content = Content { wal: None, first: 1, height: 0 };
    let mut all = vec![content.clone()];
    for group in script() {
        for request in group {
            match request {
                LogRequest::Append { records, .. } => content.wal.as_mut().unwrap().extend(records),
                LogRequest::Commit { blocks, .. } => content.height += blocks.len() as u64,
                LogRequest::Install { state, .. } => {
                    content.height = state.header.height;
                    content.first = content.height + 1;
                }
                LogRequest::Reset { records } => content.wal = Some(records),
            }
        }
        all.push(content.clone());
    }
    all
}

/// Runs the script until it fails. Returns the number of steps that were acknowledged.
fn run(disk: &SimulatedDisk) -> usize {
    let Ok(found) = Performer::open(&host(disk), Path::new(FOLDER), OWNER) else { return 0 };
    let mut performer = found.performer;
    script().into_iter().take_while(|group| performer.write(group.clone()).is_ok()).count()
}

/// What a start finds.
fn find(disk: &SimulatedDisk) -> Result<Content, String> {
    let found = Performer::open(&host(disk), Path::new(FOLDER), OWNER).map_err(|error| error.to_string())?;
    let height = found.applied.as_ref().map_or(0, |applied| applied.height);
    if found.applied.is_some_and(|applied| applied.state != state(height)) {
        return Err("the state is of another height".to_owned());
    }
    let first = *found.performer.blocks.heights().map_err(|error| error.to_string())?.blocks.start();
    let blocks = found.performer.blocks.blocks(first, 64).map_err(|error| error.to_string())?;
    if blocks != (first..=height).map(block).collect::<Vec<_>>() {
        return Err(format!("other blocks than those from height {first} to {height}"));
    }
    match found.wal {
        WalFound::Fresh => Ok(Content { wal: None, first, height }),
        WalFound::Records { records, .. } => Ok(Content { wal: Some(records), first, height }),
        WalFound::Lost(loss) => Err(format!("a loss: {loss}")),
    }
}

fn examine(disk: &SimulatedDisk, acknowledged: usize, contents: &[Content]) -> Result<(), String> {
    let found = find(disk)?;
    if !contents[acknowledged..].iter().take(2).any(|content| *content == found) {
        return Err(format!("after {acknowledged} steps: other content than that or the next"));
    }
    // What was found once, and acted upon, is found again after another loss of power.
    let again = disk.after_power_cut(Writes::Lost, Names::Lost);
    if find(&again)? != found {
        return Err("what a start found is lost by the next crash".to_owned());
    }
    // the files are usable
    let found = Performer::open(&host(&again), Path::new(FOLDER), OWNER).map_err(|error| error.to_string())?;
    let mut performer = found.performer;
    let (usable, last) = ([vec![reset(&[])], vec![append(&[9])]], Some(vec![record(9, 9)]));
    for group in usable {
        performer.write(group).map_err(|error| error.to_string())?;
    }
    drop(performer);
    let after = again.after_power_cut(Writes::Lost, Names::Lost);
    if find(&after)?.wal == last { Ok(()) } else { Err("a later write is lost".to_owned()) }
}

/// Tries every mishap at every operation. Returns the number of cases, and the violations found.
fn enumerate(lies: fn(&Path) -> bool, stop_at_first: bool) -> (usize, Vec<String>) {
    let contents = contents();
    let start = || {
        let disk = empty();
        disk.lie_about(lies);
        disk
    };
    let disk = start();
    let first = disk.operations().len();
    assert_eq!(run(&disk), script().len());
    let operations = disk.operations();
    let (mut cases, mut wrong) = (0, Vec::new());
    for number in (first..=operations.len()).rev() {
        let done = operations.get(number);
        for mishap in [Mishap::Error, Mishap::PowerCut] {
            let reads = done.is_some_and(|done| matches!(done.action, Action::Read | Action::Open));
            // a loss of power before a read is one before the next change
            if reads && mishap == Mishap::PowerCut {
                continue;
            }
            let disk = start();
            disk.mishap_at(number, mishap);
            let acknowledged = run(&disk);
            let mixed = [number, number + 1000, number + 2000].map(|seed| Writes::Mixed(seed as u64));
            let writes = [Writes::Lost, Writes::Kept, Writes::Torn, Writes::Zeroed].into_iter().chain(mixed);
            let survivals = writes.flat_map(|writes| [Names::Lost, Names::Kept].map(|names| (writes, names)));
            let mut found: Vec<(String, SimulatedDisk)> = survivals
                .map(|(writes, names)| (format!("{writes:?}, names {names:?}"), disk.after_power_cut(writes, names)))
                .collect();
            if mishap == Mishap::Error {
                // The process ends, and the power fails only after the next start.
                found.push(("killed".to_owned(), disk.after_kill()));
            }
            for (survival, found) in found {
                cases += 1;
                found.lie_about(|_| false);
                let examined =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| examine(&found, acknowledged, &contents)));
                let examined = examined.unwrap_or_else(|_| Err("it panics".to_owned()));
                // After a failed sync, the kernel shows pages of the database that it will never write. The next loss of power then
                // destroys the database. That is found as a loss, after which the member abstains.
                let is_safe = survival == "killed"
                    && done.is_some_and(|done| done.action == Action::Sync && done.path.ends_with(BLOCKS))
                    && examined.as_ref().is_err_and(|error| error.starts_with("a loss: "));
                if let (false, Err(error)) = (is_safe, examined) {
                    let what =
                        done.map_or_else(|| "the end".to_owned(), |done| format!("{} {:?}", done.action, done.path));
                    wrong.push(format!("{number} ({what}): {mishap:?}, {survival}: {error}"));
                    if stop_at_first {
                        return (cases, wrong);
                    }
                }
            }
        }
    }
    println!("{} operations, {cases} cases", operations.len());
    (cases, wrong)
}

#[test]
fn every_acknowledged_write_survives_every_mishap() {
    let (cases, wrong) = enumerate(|_| false, false);
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(cases > 1000, "{cases}");
}

/// Tests this test: if any one kind of sync is left out, it finds a violation.
#[test]
fn every_sync_is_needed() {
    fn appended(path: &Path) -> bool {
        path == Path::new("/data/log.wal.new") || path == Path::new("/data/log.wal")
    }
    fn name(path: &Path) -> bool {
        path == Path::new("/data")
    }
    fn blocks(path: &Path) -> bool {
        path == Path::new("/data/log.redb")
    }
    for (what, lies) in [("write-ahead log", appended as fn(&Path) -> bool), ("folder", name), ("database", blocks)] {
        let (_, wrong) = enumerate(lies, true);
        assert!(!wrong.is_empty(), "nobody notices that the {what} is not synced");
        println!("{what} not synced: {}", wrong[0]);
    }
}

/// A killed process leaves records that only the kernel has. A start that relies on them writes them again.
#[test]
fn unsynced_records_of_a_killed_process_are_durable_once_they_are_found() {
    let disk = empty();
    let found = Performer::open(&host(&disk), Path::new(FOLDER), OWNER).unwrap();
    let mut performer = found.performer;
    performer.write(vec![reset(&[])]).unwrap();
    disk.syncs_fail(5);
    performer.write(vec![append(&[50])]).unwrap_err();
    drop(performer);
    let killed = disk.after_kill();
    killed.syncs_fail(0);
    let content = find(&killed).unwrap();
    assert_eq!(content.wal, Some(vec![record(50, 50)]), "the kernel still shows it");
    assert_eq!(find(&killed.after_power_cut(Writes::Lost, Names::Lost)).unwrap(), content);
}
