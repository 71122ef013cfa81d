//! A process that appends and commits, killed at random moments: what it acknowledged is there when it starts again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::disk::{LogCompletion, LogDisk, LogRequest, WalFound};
use super::*;

const FOLDER_VARIABLE: &str = "VOUCH_TEST_LOG_FOLDER";

/// The log's content as one number: writes are numbered from 1, and each tenth is a commit, which empties the write-ahead log.
fn last_write(folder: &Path) -> (u64, super::super::disk::OpenedLog) {
    let log = LogDisk::open(&Host::system(), folder, OWNER).unwrap();
    let height = log.applied.as_ref().map_or(0, |applied| applied.height);
    let records = match &log.wal {
        WalFound::Fresh => Vec::new(),
        WalFound::Records { records, .. } => records.clone(),
        WalFound::Lost(loss) => panic!("{loss}"),
    };
    let written = records.iter().map(|record| u64::from_le_bytes(*record.first_chunk().unwrap()));
    // Those of a decided height are there if the kill came between the commit and the reset.
    let later: Vec<u64> = written.filter(|write| *write > height * 10).collect();
    let expected: Vec<u64> = (height * 10 + 1..).take(later.len()).collect();
    assert_eq!(later, expected, "records have no gap");
    (height * 10 + later.len() as u64, log)
}

/// The process that is killed. It prints the numbers of the writes that were acknowledged.
#[test]
#[ignore = "started by the test below"]
fn killed_process() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    let (mut write, mut log) = last_write(Path::new(&folder));
    if matches!(log.wal, WalFound::Fresh) {
        log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "found {write}").unwrap();
    let mut requested = write;
    loop {
        // a few at a time, so that some share a sync
        for _ in 0..3 {
            requested += 1;
            if requested % 10 == 0 {
                let height = requested / 10;
                let blocks = vec![block(height)];
                log.disk.request(LogRequest::Commit { write: requested, blocks, state: state(height) }).unwrap();
                log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
            } else {
                let record = [&requested.to_le_bytes()[..], &record(1, 700)].concat();
                log.disk.request(LogRequest::Append { write: requested, records: vec![record] }).unwrap();
            }
        }
        while write < requested {
            match log.completions.blocking_recv().unwrap() {
                LogCompletion::Written(completed) => write = completed,
                LogCompletion::Failed { error, .. } => panic!("{error}"),
            }
            writeln!(out, "written {write}").unwrap();
        }
    }
}

#[test]
fn a_killed_process_keeps_what_it_acknowledged() {
    rounds(10);
}

/// `make soak`.
#[test]
#[ignore = "a minute"]
fn a_process_killed_three_hundred_times_keeps_what_it_acknowledged() {
    rounds(300);
}

fn rounds(rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    unused::mark(Host::system().disk(), folder.path(), &OWNER.node_key).unwrap();
    let (mut acknowledged, mut total) = (0, 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::tests::kills::killed_process", "--ignored", "--nocapture"])
            .env(FOLDER_VARIABLE, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found: u64 = lines.by_ref().map(Result::unwrap).find_map(|line| number(&line, "found ")).unwrap();
        assert!(found >= acknowledged, "round {round}: found {found}, but {acknowledged} was acknowledged");
        let reader =
            std::thread::spawn(move || lines.map_while(Result::ok).filter_map(|line| number(&line, "written ")).last());
        let noise = u64::from_le_bytes(*blake3::hash(&round.to_le_bytes()).as_bytes().first_chunk().unwrap());
        std::thread::sleep(Duration::from_micros(noise % 120_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let last = reader.join().unwrap().unwrap_or(found);
        total += last - found;
        acknowledged = last;
        let (found, _) = last_write(folder.path());
        assert!(found >= acknowledged, "round {round}: found {found}, but {acknowledged} was acknowledged");
        acknowledged = found;
    }
    println!("{total} writes were acknowledged in {rounds} rounds");
    assert!(total > 0);
}

fn number(line: &str, prefix: &str) -> Option<u64> {
    line.strip_prefix(prefix).or_else(|| line.split_once(prefix).map(|(_, rest)| rest))?.parse().ok()
}
