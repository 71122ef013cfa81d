//! How fast this machine's disk takes the log's writes: figures, no assertions of time.

use std::time::{Duration, Instant};

use super::super::disk::{LogCompletion, LogDisk, LogRequest, OpenedLog};
use super::*;

fn wait(log: &mut OpenedLog, write: u64) {
    loop {
        match log.completions.blocking_recv().unwrap() {
            LogCompletion::Written(got) if got == write => return,
            LogCompletion::Written(_) => {}
            LogCompletion::Failed { error, .. } => panic!("{error}"),
        }
    }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let total: Duration = times.iter().sum();
    let count = u32::try_from(times.len()).unwrap();
    let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what}: {:.0}/s, p50 {p50:?}, p99 {p99:?}", f64::from(count) / total.as_secs_f64());
}

/// `cargo test -p vouch --release --lib log::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn writes_per_second() {
    let folder = tempfile::tempdir_in(std::env::var_os("VOUCH_BENCH_FOLDER").unwrap_or_else(|| ".".into())).unwrap();
    unused::mark(Host::system().disk(), folder.path(), &OWNER.node_key).unwrap();
    let mut log = LogDisk::open(&Host::system(), folder.path(), OWNER).unwrap();
    log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
    let mut write = 0;
    for size in [300, 65_536] {
        for waiting in [1, 8, 64] {
            let mut times = Vec::new();
            for _ in 0..200 {
                let started = Instant::now();
                for _ in 0..waiting {
                    write += 1;
                    log.disk.request(LogRequest::Append { write, records: vec![record(1, size)] }).unwrap();
                }
                wait(&mut log, write);
                times.push(started.elapsed());
                // outside of what is measured
                log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
                write += 1;
                log.disk.request(LogRequest::Append { write, records: Vec::new() }).unwrap();
                wait(&mut log, write);
            }
            report(&format!("rounds of {waiting} appends of {size} bytes"), times);
        }
    }
    let (mut commits, mut heights) = (Vec::new(), Vec::new());
    for height in 1..=200 {
        let started = Instant::now();
        for _ in 0..2 {
            write += 1;
            log.disk.request(LogRequest::Append { write, records: vec![record(1, 300)] }).unwrap();
            wait(&mut log, write);
        }
        let deciding = Instant::now();
        write += 1;
        let blocks = vec![block(height)];
        log.disk.request(LogRequest::Commit { write, blocks, state: vec![1; 4096] }).unwrap();
        wait(&mut log, write);
        commits.push(deciding.elapsed());
        write += 1;
        log.disk.request(LogRequest::Reset { records: Vec::new() }).unwrap();
        log.disk.request(LogRequest::Append { write, records: Vec::new() }).unwrap();
        wait(&mut log, write);
        heights.push(started.elapsed());
    }
    report("commits of one block", commits);
    report("heights (2 appends, commit, reset)", heights);
    let started = Instant::now();
    for batch in 0..20 {
        write += 1;
        let first = 201 + batch * 32;
        let blocks = (first..first + 32).map(block).collect();
        log.disk.request(LogRequest::Commit { write, blocks, state: vec![1; 4096] }).unwrap();
        wait(&mut log, write);
    }
    println!("catch-up in batches of 32: {:.0} blocks/s", 640.0 / started.elapsed().as_secs_f64());
}
