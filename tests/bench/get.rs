//! A verified get of 256 MiB, `vouch get … -o - > /dev/null`, against `cat FILE | b3sum`: both hash every byte. The part of `b3sum` is
//! played by this program.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use support::processes::{Processes, isolate, program};
use tokio::runtime::Runtime;
use vouch_core::digest::Digest;

use super::{median, noise, put, row};

/// First argument that makes this program hash its standard input.
pub(crate) const HASH: &str = "--hash-standard-input";

pub(crate) fn run(runs: usize, size: usize) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let cluster = Runtime::new().unwrap().block_on(Processes::start_in(folder.path(), 4));
    let file = folder.path().join("large");
    let bytes = noise(size, 1);
    fs::write(&file, &bytes).unwrap();
    let digest = Digest::of(&bytes).to_string();
    drop(bytes);
    put::put(cluster.address(), &file);
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    assert_eq!(get_counting(cluster.address(), &digest), size as u64);
    for _ in 0..runs {
        ours.push(get(cluster.address(), &digest));
        reference.push(cat(&file, &digest));
    }
    let what = format!("verified get of {} MiB", size >> 20);
    row(&what, median(ours), median(reference), "s", "cat FILE | b3sum");
}

fn getting(server: &str, digest: &str) -> Command {
    let mut get = Command::new(program());
    isolate(&mut get, &std::env::temp_dir());
    get.args(["get", digest, "--server", server, "-o", "-"]).stderr(Stdio::null());
    get
}

fn get(server: &str, digest: &str) -> f64 {
    let start = Instant::now();
    assert!(getting(server, digest).stdout(Stdio::null()).status().unwrap().success());
    start.elapsed().as_secs_f64()
}

/// Number of bytes that a get outputs.
fn get_counting(server: &str, digest: &str) -> u64 {
    let mut child = getting(server, digest).stdout(Stdio::piped()).spawn().unwrap();
    let got = io::copy(child.stdout.as_mut().unwrap(), &mut io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
    got
}

fn cat(file: &Path, digest: &str) -> f64 {
    let start = Instant::now();
    let mut cat = Command::new("cat").arg(file).stdout(Stdio::piped()).spawn().unwrap();
    let mut sum = Command::new(std::env::current_exe().unwrap());
    sum.arg(HASH).stdin(cat.stdout.take().unwrap());
    let sum = sum.output().unwrap();
    assert!(cat.wait().unwrap().success());
    let elapsed = start.elapsed().as_secs_f64();
    assert_eq!(String::from_utf8_lossy(&sum.stdout).trim(), digest);
    elapsed
}

/// Hashes standard input as `b3sum` does with a pipe.
pub(crate) fn hash_standard_input() {
    let mut hasher = blake3::Hasher::new();
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; 64 << 10];
    while let read @ 1.. = input.read(&mut buffer).unwrap() {
        hasher.update(&buffer[..read]);
    }
    println!("{}", Digest(*hasher.finalize().as_bytes()));
}

/// Seconds for one `vouch get` into a file, without fsync.
pub(crate) fn to_file(server: &str, digest: &str, file: &Path) -> f64 {
    let start = Instant::now();
    let mut get = Command::new(program());
    isolate(&mut get, &std::env::temp_dir());
    get.args(["get", digest, "--server", server, "-o"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(get.status().unwrap().success());
    // a failed get would leave an empty file
    assert!(File::open(file).unwrap().metadata().unwrap().len() > 0);
    start.elapsed().as_secs_f64()
}
