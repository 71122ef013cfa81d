//! Whole clusters in one thread under a seed: servers, replicas with the real store, and clients, on a virtual clock, a network in
//! memory and disks that lose what was not synced. The seed decides the faults ([`plan`]). The rules are checked during and after the
//! run ([`checker`]).
//!
//! To replay one seed with its trace: `VOUCH_SEED=7 cargo test -p vouch-tests --test sim one_seed -- --ignored --nocapture`.
//! `VOUCH_EVENTS=3,8` leaves only these events of its plan.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed run ends with a panic")]

mod changes;
mod checker;
mod clients;
mod links;
mod lying_server;
mod network;
mod node;
mod ordered_log;
mod plan;
mod random;
mod recovery;
mod servers;
/// The simulated disk of the store's own tests, which is compiled into no program.
#[path = "../../node/src/host/disk/simulated.rs"]
#[allow(dead_code, unused_imports, reason = "the store's tests use all of it")]
mod simulated;
mod trace;
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use plan::{Plan, Story};
use trace::Trace;
use vouch::host;
use vouch::host::disk::{Disk, DiskFile, DiskLock, FileIdentity, Space};
use vouch_core::remembered::{self, Memory};
use world::{Outcome, World};

/// Number of seeds in every test run.
const SEEDS: u64 = 200;
/// The same for runs in which the committee changes, each of which takes longer.
const SEEDS_OF_CHANGES: u64 = 20;
/// Maximum number of runs for shrinking the events of a failing seed.
const SHRINKING: usize = 60;

/// The numbers of a plan's events that remain.
type Kept = BTreeSet<usize>;

/// How much of a run is kept and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Hash,
    /// The run was made before. Only its hash matters.
    HashOfRepeat,
    Lines,
    ShownLines,
}

/// Runs one seed on a thread of its own, with all events of its plan or some.
fn run(
    story: Story,
    seed: u64,
    kept: Option<&Kept>,
    mode: Mode,
    memory: &mut Memory,
) -> (Result<Outcome, String>, Vec<String>) {
    let mut plan = Plan::draw(story, seed);
    if let Some(kept) = kept {
        plan.keep(kept);
    }
    let live = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let trace = Trace::new(matches!(mode, Mode::Lines | Mode::ShownLines), mode == Mode::ShownLines);
        let world = World::new(seed, plan, trace.clone(), mode == Mode::HashOfRepeat);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(world.run())));
        let outcome = outcome.map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            text.or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "a panic without a message".into())
        });
        (outcome, trace.lines())
    };
    std::thread::scope(|scope| scope.spawn(|| remembered::within(memory, live)).join().unwrap())
}

/// The command that replays a seed.
fn replay_command(story: Story, seed: u64, kept: Option<&Kept>) -> String {
    let kept = kept.map_or(String::new(), |kept| {
        let numbers: Vec<String> = kept.iter().map(ToString::to_string).collect();
        format!("VOUCH_EVENTS={} ", numbers.join(","))
    });
    let test = match story {
        Story::OneCommittee => "one_seed",
        Story::Changes => "one_of_changes",
    };
    format!("VOUCH_SEED={seed} {kept}cargo test -p vouch-tests --test sim {test} -- --ignored --nocapture")
}

/// Removes events of a plan while it still fails: first halves, then ever smaller parts.
fn shrink(count: usize, mut fails: impl FnMut(&Kept) -> bool) -> Kept {
    let mut kept: Vec<usize> = (0..count).collect();
    let (mut part, mut runs) = (count.div_ceil(2), 0);
    while part > 0 && runs < SHRINKING {
        let mut from = 0;
        while from < kept.len() && runs < SHRINKING {
            let to = (from + part).min(kept.len());
            let fewer: Vec<usize> = kept[..from].iter().chain(&kept[to..]).copied().collect();
            runs += 1;
            match fails(&fewer.iter().copied().collect()) {
                true => kept = fewer,
                false => from = to,
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    kept.into_iter().collect()
}

/// The report of a failing seed: the broken rule, and the commands that replay it with all and with fewer events.
fn report(story: Story, seed: u64, why: &str) -> String {
    let events = Plan::draw(story, seed).events;
    let kept = shrink(events.len(), |kept| run(story, seed, Some(kept), Mode::Hash, &mut Memory::default()).0.is_err());
    let shown: Vec<String> =
        kept.iter().map(|number| format!("    {number}: {:?} {:?}", events[*number].0, events[*number].1)).collect();
    format!(
        "seed {seed}: {why}\n    {}\n{} of {} events are enough to fail:\n{}\n    {}",
        replay_command(story, seed, None),
        kept.len(),
        events.len(),
        shown.join("\n"),
        replay_command(story, seed, Some(&kept))
    )
}

/// Whether each seed runs a second time, to see that everything in it follows from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    Once,
    Twice,
}

/// Runs seeds on all cores.
fn assert_all_hold(story: Story, seeds: std::ops::Range<u64>, runs: Runs) {
    let next = AtomicU64::new(seeds.start);
    let (certified, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let mut memory = Memory::default();
                    let first = run(story, seed, None, Mode::Hash, &mut memory).0;
                    let outcome = first.clone().unwrap_or_else(|why| panic!("{}", report(story, seed, &why)));
                    if runs == Runs::Twice {
                        let second = run(story, seed, None, Mode::HashOfRepeat, &mut memory).0;
                        assert_eq!(
                            first,
                            second,
                            "seed {seed} does not repeat\n    {}",
                            replay_command(story, seed, None)
                        );
                    }
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
    assert_all_hold(Story::OneCommittee, 0..SEEDS, Runs::Twice);
}

#[test]
fn promises_are_kept_whoever_joins_and_leaves() {
    changes::forget_certificates();
    assert_all_hold(Story::Changes, 0..SEEDS_OF_CHANGES, Runs::Twice);
}

#[test]
fn shrinking_leaves_the_events_that_are_needed() {
    let needed = [3, 17, 18];
    let kept = shrink(40, |kept| needed.iter().all(|number| kept.contains(number)));
    assert_eq!(kept, needed.into());
    assert!(shrink(40, |_| true).is_empty());
    assert_eq!(shrink(3, |kept| kept.len() == 3).len(), 3);
}

#[test]
#[ignore = "as many seeds as there is time for: run by make soak SEEDS=10000"]
fn more_seeds() {
    let seeds = std::env::var("VOUCH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    assert_all_hold(Story::OneCommittee, SEEDS..SEEDS + seeds, Runs::Twice);
}

#[test]
#[ignore = "as many seeds as there is time for: run by make soak-changes SEEDS=1000"]
fn more_changes() {
    let seeds = std::env::var("VOUCH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    changes::forget_certificates();
    assert_all_hold(Story::Changes, SEEDS_OF_CHANGES..SEEDS_OF_CHANGES + seeds, Runs::Once);
}

/// Seeds within which each bug must be found.
#[cfg(feature = "bugs")]
const BUG_SEEDS: u64 = SEEDS;

/// The bug that `VOUCH_BUG` names, or all of them.
#[cfg(feature = "bugs")]
fn bugs_wanted() -> impl Iterator<Item = vouch_core::bugs::Bug> {
    let only = std::env::var("VOUCH_BUG").ok();
    let is_wanted = move |bug: &_| {
        let name = format!("{bug:?}");
        // Those of the log are for the log's own simulation to find.
        only.as_ref().map_or(!name.starts_with("Log"), |only| *only == name)
    };
    vouch_core::bugs::Bug::ALL.into_iter().filter(is_wanted)
}

/// The first failing seed from this one on, with the broken rule. Uses all cores: the process has one bug at a time.
#[cfg(feature = "bugs")]
fn first_to_fail(from: u64) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(from), std::sync::Mutex::new(std::collections::BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while found.lock().unwrap().is_empty() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= BUG_SEEDS {
                        return;
                    }
                    if let Err(why) = run(Story::OneCommittee, seed, None, Mode::Hash, &mut Memory::default()).0 {
                        found.lock().unwrap().insert(seed, why);
                    }
                }
            });
        }
    });
    // a lower seed may have ended after the first one that failed
    found.into_inner().unwrap().pop_first()
}

/// Puts earlier bugs back, one at a time. A seed finds a bug if it fails with the bug and holds without it.
#[cfg(feature = "bugs")]
#[test]
#[ignore = "takes minutes: run by make soak-bugs"]
fn bugs_are_found() {
    use vouch_core::bugs::put_back;
    assert!(bugs_wanted().next().is_some(), "VOUCH_BUG names no bug of shared/src/bugs.rs");
    let mut missed = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    println!("{:<22} {:>4}  found by", "bug", "seed");
    for bug in bugs_wanted() {
        let mut from = 0;
        let found = loop {
            put_back(Some(bug));
            let Some((seed, why)) = first_to_fail(from) else { break None };
            put_back(None);
            if run(Story::OneCommittee, seed, None, Mode::Hash, &mut Memory::default()).0.is_ok() {
                break Some((seed, why));
            }
            from = seed + 1;
        };
        match found {
            Some((seed, why)) => println!("{:<22} {seed:>4}  {why}", format!("{bug:?}")),
            None => {
                println!("{:<22}    -  not found", format!("{bug:?}"));
                missed.push(bug);
            }
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
#[ignore = "for one seed: VOUCH_SEED, and VOUCH_EVENTS for some of its events"]
fn one_seed() {
    show_one(Story::OneCommittee);
}

#[test]
#[ignore = "for one seed: VOUCH_SEED, and VOUCH_EVENTS for some of its events"]
fn one_of_changes() {
    show_one(Story::Changes);
}

/// Runs the seed that the environment names, twice, and prints its trace.
fn show_one(story: Story) {
    #[cfg(feature = "bugs")]
    vouch_core::bugs::put_back(bugs_wanted().next().filter(|_| std::env::var("VOUCH_BUG").is_ok()));
    let seed = std::env::var("VOUCH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let kept = std::env::var("VOUCH_EVENTS").ok();
    let kept: Option<Kept> = kept.map(|text| text.split(',').filter_map(|number| number.trim().parse().ok()).collect());
    let mut memory = Memory::default();
    let (outcome, lines) = run(story, seed, kept.as_ref(), Mode::ShownLines, &mut memory);
    println!("{outcome:?}");
    let (again, other) = run(story, seed, kept.as_ref(), Mode::Lines, &mut memory);
    if let Some((number, (one, two))) = lines.iter().zip(&other).enumerate().find(|(_, (one, two))| one != two) {
        panic!("line {number} does not repeat:\n{one}\n{two}");
    }
    assert_eq!(outcome, again);
    outcome.unwrap();
}
