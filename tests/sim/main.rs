//! Whole clusters in one thread under a seed: a server, replicas with the real store, and clients, on a virtual clock, a network in
//! memory and disks that lose what was not synced.
//!
//! One seed again, with everything that happened: `VOUCH_SEED=7 cargo test -p vouch-tests --test sim one_seed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a run that fails ends with a word")]

mod network;
mod node;
mod random;
/// The simulated disk of the store's own tests, which is compiled into no program.
#[path = "../../node/src/host/disk/simulated.rs"]
#[allow(dead_code, reason = "the store's tests use all of it")]
mod simulated;
mod trace;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use trace::Trace;
use vouch::host;
use vouch::host::disk::{Disk, DiskFile, DiskLock, FileIdentity, Space};
use world::{Outcome, World};

/// What every test run tries.
const SEEDS: u64 = 60;

/// Runs one seed on a thread of its own.
fn run(seed: u64, keeps_lines: bool) -> (Result<Outcome, String>, Vec<String>) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let trace = Trace::new(keeps_lines);
        let world = World::new(seed, trace.clone());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(world.run())));
        let outcome = outcome.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
        });
        (outcome, trace.lines())
    });
    thread.join().unwrap()
}

/// Runs seeds on all cores, each twice.
fn assert_all_hold(seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let (certified, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let again =
        |seed| format!("VOUCH_SEED={seed} cargo test -p vouch-tests --test sim one_seed -- --ignored --nocapture");
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let first = run(seed, false).0;
                    let outcome = first.clone().unwrap_or_else(|why| panic!("seed {seed}: {why}\n    {}", again(seed)));
                    let second = run(seed, false).0;
                    assert_eq!(first, second, "seed {seed} does not repeat\n    {}", again(seed));
                    certified.fetch_add(outcome.certified as u64, Ordering::Relaxed);
                    failed.fetch_add(outcome.failed, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} puts certified, {} failed by name", certified.into_inner(), failed.into_inner());
}

#[test]
fn promises_are_kept_whatever_goes_wrong() {
    assert_all_hold(0..SEEDS);
}

#[test]
#[ignore = "as many seeds as there is time for: run by make soak SEEDS=10000"]
fn more_seeds() {
    let seeds = std::env::var("VOUCH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    assert_all_hold(SEEDS..SEEDS + seeds);
}

/// Puts bugs back that were found before, one at a time: each of them is found within as many seeds as every test run has.
#[cfg(feature = "bugs")]
#[test]
#[ignore = "takes minutes: run by make soak-bugs"]
fn bugs_are_found() {
    use vouch::bugs::{Bug, put_back};
    let mut missed = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    for bug in Bug::ALL {
        put_back(Some(bug));
        let found = (0..SEEDS).find_map(|seed| run(seed, false).0.err().map(|why| (seed, why)));
        put_back(None);
        match found {
            Some((seed, why)) => println!("{:<20} seed {seed:<3} {why}", format!("{bug:?}")),
            None => {
                println!("{bug:?}: not found");
                missed.push(bug);
            }
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
#[ignore = "for one seed: VOUCH_SEED"]
fn one_seed() {
    let seed = std::env::var("VOUCH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let (outcome, lines) = run(seed, true);
    lines.iter().for_each(|line| println!("{line}"));
    println!("{outcome:?}");
    let (again, other) = run(seed, true);
    if let Some((number, (one, two))) = lines.iter().zip(&other).enumerate().find(|(_, (one, two))| one != two) {
        panic!("line {number} does not repeat:\n{one}\n{two}");
    }
    assert_eq!(outcome, again);
    outcome.unwrap();
}
