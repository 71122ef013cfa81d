//! The thread that performs the log's writes.

use super::super::block_store::{BlockStore, BlockStoreError};
use super::super::disk::{LogCompletion, LogDisk, LogDiskError, LogRequest, OpenedLog, WAL, WalFound, WalLoss};
use super::*;
use crate::host::files::Action;

const EIO: i32 = 5;

fn open(disk: &SimulatedDisk) -> OpenedLog {
    LogDisk::open(&host(disk), Path::new(FOLDER), OWNER).unwrap()
}

/// Opens an empty log that may be appended to.
fn fresh(disk: &SimulatedDisk) -> OpenedLog {
    let log = open(disk);
    assert_eq!((&log.wal, &log.applied), (&WalFound::Fresh, &None));
    log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
    log
}

fn append(write: u64, records: &[Vec<u8>]) -> LogRequest {
    LogRequest::Append { write, records: records.to_vec() }
}

fn commit(write: u64, height: u64) -> LogRequest {
    LogRequest::Commit { write, blocks: vec![block(height)], state: state(height) }
}

async fn until_written(log: &mut OpenedLog, expected: u64) {
    match log.completions.recv().await.unwrap() {
        LogCompletion::Written(write) => assert_eq!(write, expected),
        failed @ LogCompletion::Failed { .. } => panic!("{failed:?}"),
    }
}

fn found(records: &[Vec<u8>]) -> WalFound {
    WalFound::Records { records: records.to_vec(), torn: None }
}

#[tokio::test]
async fn writes_complete_in_order_and_are_there_after_a_restart() {
    let disk = empty();
    let mut log = fresh(&disk);
    let requests = [
        append(1, &[record(1, 10)]),
        append(2, &[record(2, 10), record(3, 10)]),
        commit(3, 1),
        LogRequest::Reset { records: vec![record(4, 10)] },
        append(4, &[record(5, 10)]),
        commit(5, 2),
        commit(6, 3),
        append(7, &[]),
        LogRequest::Install { write: 8, state: Box::new(new_state(9)) },
        commit(9, 10),
        LogRequest::Reset { records: vec![record(6, 10)] },
        append(10, &[]),
    ];
    for request in requests {
        log.disk.request(request).unwrap();
    }
    for write in 1..=10 {
        until_written(&mut log, write).await;
    }
    drop(log);
    let log = open(&disk);
    assert_eq!(log.wal, found(&[record(6, 10)]));
    assert_eq!(log.applied.map(|applied| applied.state), Some(state(10)));
    assert_eq!(log.disk.blocks().blocks(1, 9).unwrap(), [], "the state took their place");
    assert_eq!(log.disk.blocks().blocks(10, 9).unwrap(), [block(10)]);
}

#[tokio::test]
async fn requests_that_wait_share_a_sync() {
    let disk = empty();
    let log = fresh(&disk);
    for write in 1..=100 {
        log.disk.request(append(write, &[record(1, 100)])).unwrap();
    }
    // dropping it performs what waits
    drop(log.disk);
    let syncs = disk.operations().iter().filter(|done| done.action == Action::Sync && done.path.ends_with(WAL)).count();
    // A thread may take the first ones before the last one is requested, but not each alone.
    println!("{syncs} syncs");
    assert!(matches!(open(&disk).wal, WalFound::Records { records, .. } if records.len() == 100));
    let mut performer = super::super::disk::Performer::open(&host(&disk), Path::new(FOLDER), OWNER).unwrap().performer;
    let before = disk.operations().len();
    performer.write((0..100).map(|write| append(write, &[record(1, 100)])).collect()).unwrap();
    let done: Vec<_> = disk.operations()[before..].iter().map(|done| done.action).collect();
    assert_eq!(done, [Action::Write, Action::Sync, Action::Write], "the group, its sync, its seal");
}

#[tokio::test]
async fn after_a_failure_nothing_succeeds() {
    let disk = empty();
    let mut log = fresh(&disk);
    log.disk.request(append(1, &[record(1, 10)])).unwrap();
    until_written(&mut log, 1).await;
    disk.syncs_fail(EIO);
    log.disk.request(append(2, &[record(2, 10)])).unwrap();
    let failed = log.completions.recv().await.unwrap();
    assert!(matches!(failed, LogCompletion::Failed { write: Some(2), error: LogDiskError::Wal(_) }), "{failed:?}");
    disk.syncs_fail(0);
    let later = [append(3, &[record(3, 10)]), append(4, &[]), commit(5, 1), LogRequest::Reset { records: Vec::new() }];
    for request in later {
        log.disk.request(request).unwrap();
    }
    for expected in [Some(3), Some(4), Some(5), None] {
        match log.completions.recv().await.unwrap() {
            LogCompletion::Failed { write, error: LogDiskError::Stopped { .. } } => assert_eq!(write, expected),
            other => panic!("{other:?}"),
        }
    }
    drop(log);
    assert_eq!(open(&disk).applied, None);
}

#[tokio::test]
async fn blocks_with_a_gap_fail() {
    let mut log = fresh(&empty());
    log.disk.request(commit(1, 2)).unwrap();
    match log.completions.recv().await.unwrap() {
        LogCompletion::Failed { write: Some(1), error: LogDiskError::Blocks(error) } => {
            assert!(matches!(error, BlockStoreError::NotNext { expected: 1, got: 2 }), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn too_many_requests_are_refused() {
    let log = fresh(&empty());
    // the completions are not received, so the answered ones count, too
    let accepted = (0..10_000).take_while(|write| log.disk.request(append(*write, &[])).is_ok()).count();
    assert!((4095..=4096).contains(&accepted), "{accepted}");
    assert!(matches!(log.disk.request(append(1, &[])), Err(LogDiskError::Overloaded)));
}

/// Loses the write-ahead log in some way, and checks that every start finds the loss until a reset, which is durable.
fn loses(disk: &SimulatedDisk, expected: impl Fn(&WalLoss) -> bool) {
    let open = || LogDisk::open(&host(disk), Path::new(FOLDER), OWNER).unwrap();
    for _ in 0..2 {
        let log = open();
        assert!(matches!(&log.wal, WalFound::Lost(loss) if expected(loss)), "{:?}", log.wal);
    }
    let log = open();
    log.disk.request(LogRequest::Reset { records: vec![record(8, 9)] }).unwrap();
    drop(log);
    assert_eq!(open().wal, found(&[record(8, 9)]));
}

fn used() -> SimulatedDisk {
    let disk = empty();
    let log = fresh(&disk);
    log.disk.request(append(1, &[record(1, 10)])).unwrap();
    log.disk.request(commit(2, 1)).unwrap();
    log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
    log.disk.request(append(3, &[record(2, 10)])).unwrap();
    drop(log);
    disk
}

#[tokio::test]
async fn a_lost_log_is_told_from_a_new_one_until_it_is_reset() {
    let database = Path::new(FOLDER).join("log.redb");

    let disk = used();
    disk.remove(&wal_path()).unwrap();
    loses(&disk, |loss| matches!(loss, WalLoss::Missing { .. }));

    let disk = used();
    let mut bytes = disk.bytes(&wal_path());
    bytes[140] ^= 1;
    disk.overwrite(&wal_path(), &bytes);
    loses(&disk, |loss| matches!(loss, WalLoss::Damaged { offset: 128, .. }));
    let aside = disk.files_below(Path::new(FOLDER)).into_iter().find(|path| path.to_string_lossy().contains("damaged"));
    assert_eq!(disk.bytes(&aside.unwrap()), bytes, "it is kept for inspection");

    let disk = used();
    disk.remove(&database).unwrap();
    loses(&disk, |loss| matches!(loss, WalLoss::BlocksMissing { .. }));

    // an older database was put back
    let disk = used();
    disk.remove(&database).unwrap();
    drop(BlockStore::open(&host(&disk), &database, OWNER, false).unwrap());
    loses(&disk, |loss| matches!(loss, WalLoss::BlocksBehind { expected: 1, got: 0, .. }));

    // everything is gone, the mark of new keys, too
    let disk = used();
    [database, wal_path()].iter().for_each(|path| disk.remove(path).unwrap());
    loses(&disk, |loss| matches!(loss, WalLoss::Missing { .. }));
}

#[test]
fn a_mark_of_other_keys_does_not_make_a_log_new() {
    let disk = SimulatedDisk::default();
    disk.create_folders(&[FOLDER.into()], 0o700).unwrap();
    unused::mark(&disk, Path::new(FOLDER), &NodeKey([5; 32])).unwrap();
    assert!(matches!(open(&disk).wal, WalFound::Lost(WalLoss::Missing { .. })));
}

#[tokio::test]
async fn nothing_is_appended_to_a_lost_log() {
    let disk = used();
    disk.remove(&wal_path()).unwrap();
    let mut log = open(&disk);
    log.disk.request(append(1, &[record(1, 1)])).unwrap();
    let failed = log.completions.recv().await.unwrap();
    assert!(matches!(failed, LogCompletion::Failed { write: Some(1), error: LogDiskError::NotReset }), "{failed:?}");
}
