//! A put to one server and four replicas on this machine, against the lower bound: hash once, copy four times, fsync
//! four times, in one process, on the same filesystem, from a cached source.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::processes::{Processes, isolate, program};
use tokio::runtime::Runtime;

use super::{median, noise, row};

const REPLICAS: usize = 4;

pub(crate) fn run(runs: usize, size: usize) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let cluster = Runtime::new().unwrap().block_on(Processes::start_in(folder.path(), REPLICAS));
    let small = folder.path().join("small");
    fs::write(&small, noise(1024, 1)).unwrap();
    // founds the committee and warms up
    put(cluster.address(), &small);
    let mut ours = Vec::new();
    let mut floor = Vec::new();
    let mut lone = Vec::new();
    for run in 0..runs {
        let file = folder.path().join("large");
        let bytes = noise(size, run as u64 + 2);
        fs::write(&file, &bytes).unwrap();
        File::open(&file).unwrap().sync_all().unwrap();
        ours.push(put(cluster.address(), &file));
        floor.push(copies(folder.path(), &file));
        fs::write(&small, noise(1024, run as u64 + 1000)).unwrap();
        lone.push(put(cluster.address(), &small));
    }
    let mib = size >> 20;
    row(
        &format!("put {mib} MiB to {REPLICAS} replicas"),
        median(ours),
        median(floor),
        "s",
        "floor: hash, 4 copies, 4 fsyncs",
    );
    println!("{:<44} {:>9.3} s     (a process start, hello, 4 fsyncs, 4 votes)", "put 1 KiB, alone", median(lone));
}

/// Seconds for one `vouch put --renew`, process start included.
pub(crate) fn put(server: &str, file: &Path) -> f64 {
    let start = Instant::now();
    let mut put = Command::new(program());
    isolate(&mut put, &std::env::temp_dir());
    put.arg("put").arg(file).args(["--renew", "--server", server, "--json"]).stdout(Stdio::null());
    assert!(put.status().unwrap().success());
    start.elapsed().as_secs_f64()
}

fn copies(folder: &Path, source: &Path) -> f64 {
    let start = Instant::now();
    let bytes = fs::read(source).unwrap();
    std::hint::black_box(blake3::hash(&bytes));
    for copy in 0..REPLICAS {
        let mut file = File::create(folder.join(format!("copy-{copy}"))).unwrap();
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
    }
    let elapsed = start.elapsed().as_secs_f64();
    for copy in 0..REPLICAS {
        fs::remove_file(folder.join(format!("copy-{copy}"))).unwrap();
    }
    elapsed
}
