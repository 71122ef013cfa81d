//! Peak memory of server and replicas during a put and get of 4 GiB, with 1,000 idle links open.

use std::fs::{self, File};
use std::io::Write;

use support::processes::{Node, Processes};
use tokio::runtime::Runtime;
use vouch::client::PutLink;
use vouch::host::Host;
use vouch_core::digest::Digest;

use super::{get, noise, put};

const IDLE: usize = 1000;
/// The bound on a process's memory, in MiB.
const BOUND: u64 = 64;
const PIECE: usize = 64 << 20;

pub(crate) fn run(size: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let runtime = Runtime::new().unwrap();
    let cluster = runtime.block_on(Processes::start_in(folder.path(), 4));
    let small = folder.path().join("small");
    fs::write(&small, noise(1024, 1)).unwrap();
    put::put(cluster.address(), &small);
    let idle = runtime.block_on(async {
        let mut links = Vec::new();
        for _ in 0..IDLE {
            links.push(PutLink::open(&Host::system(), cluster.address(), None).await.unwrap());
        }
        links
    });
    let alone = peak(&cluster.server);

    let file = folder.path().join("large");
    let digest = write(&file, size);
    let put = put::put(cluster.address(), &file);
    fs::remove_file(&file).unwrap();
    let got = get::to_file(cluster.address(), &digest.to_string(), &file);
    drop(idle);
    let replicas: Vec<u64> = cluster.replicas.iter().map(peak).collect();
    let (least, most) = (replicas.iter().min().unwrap(), replicas.iter().max().unwrap());
    println!(
        "{:<44} server {} MiB ({alone} of it for {IDLE} idle links), replicas {least} to {most} MiB; bound {BOUND} MiB",
        format!("peak memory, {} GiB put and got", size >> 30),
        peak(&cluster.server),
    );
    println!("{:<44} put {put:.1} s, get {got:.1} s", "");
}

fn peak(node: &Node) -> u64 {
    node.peak_memory() >> 20
}

fn write(path: &std::path::Path, size: u64) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::create(path).unwrap();
    for seed in 0..size / PIECE as u64 {
        let piece = noise(PIECE, seed);
        hasher.update(&piece);
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
    Digest(*hasher.finalize().as_bytes())
}
