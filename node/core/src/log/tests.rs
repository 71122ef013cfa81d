//! A simulation of the log alone, in virtual time. A seed decides the committee, what its liars do, and everything that goes wrong.
//!
//! `VOUCH_SEED=7 cargo test -p vouch-node-core --locked log::tests::one_seed -- --ignored --nocapture` replays a seed.

mod checker;
mod disk;
mod liar;
mod machine;
mod plan;
mod random;
mod simulation;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plan::Plan;
use simulation::{Outcome, Simulation};

/// Seeds that every test run simulates.
const SEEDS: u64 = 40;

/// Seeds of a large committee, which take half a minute each.
const SEEDS_OF_MANY: u64 = 6;

fn run(seed: u64) -> Result<Outcome, String> {
    run_plan(seed, Plan::of(seed), "one_seed")
}

/// Runs a seed; `test` replays it. A panic, which may be one of the library, is a violation like others.
fn run_plan(seed: u64, plan: Plan, test: &str) -> Result<Outcome, String> {
    let run = || Simulation::new(seed, plan.clone()).run();
    let outcome = std::panic::catch_unwind(run).unwrap_or_else(|_| Err("a panic, see above".into()));
    outcome.map_err(|violation| {
        format!(
            "seed {seed}, {plan:?}: {violation}\nreplay: VOUCH_SEED={seed} cargo test -p vouch-node-core --locked \
             log::tests::{test} -- --ignored --nocapture"
        )
    })
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Runs seeds on all cores, and returns their outcomes in order. After a failure, no other seed begins: the first report in the order of
/// the seeds is the same however many cores there are.
#[allow(clippy::disallowed_methods, reason = "a test may use threads: each seed runs on one of them alone")]
fn run_on_all_cores(
    seeds: Range<u64>,
    run: impl Fn(u64) -> Result<Outcome, String> + Sync,
) -> Vec<Result<Outcome, String>> {
    let (next, has_failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let ended = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed);
                    has_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    ended.lock().unwrap().insert(seed, outcome);
                }
            });
        }
    });
    ended.into_inner().unwrap().into_values().collect()
}

fn run_all(seeds: Range<u64>) {
    let (mut blocks, mut crashes, mut installs) = (0, 0, 0);
    // Seeds in which the two clients' requests are decided, by the balance.
    let mut balances = BTreeMap::<_, u64>::new();
    for outcome in run_on_all_cores(seeds, run) {
        match outcome {
            Ok(outcome) => {
                blocks += outcome.blocks;
                crashes += outcome.crashes;
                installs += outcome.installs;
                *balances.entry(outcome.balance).or_default() += 1;
            }
            Err(report) => panic!("{report}"),
        }
    }
    println!("{blocks} blocks, {crashes} crashes, {installs} installed states, balances {balances:?}");
    assert!(blocks > 0 && installs > 0);
    // Both orders happen, and no run is without a result but for requests that expired in the chaos.
    let of = |balance| balances.get(&balance).copied().unwrap_or(0);
    assert!(of(Some(18_000)) > 0 && of(Some(19_000)) > 0 && of(None) * 10 < of(Some(18_000)) + of(Some(19_000)));
}

#[test]
fn the_log_agrees_and_goes_on_in_every_seed() {
    run_all(0..SEEDS);
}

#[test]
#[ignore = "as many seeds as VOUCH_SEEDS says"]
fn more_seeds() {
    let first = environment("VOUCH_FIRST").unwrap_or(0);
    run_all(first..first + environment("VOUCH_SEEDS").unwrap_or(500));
}

#[test]
#[ignore = "replays VOUCH_SEED"]
fn one_seed() {
    let seed = environment("VOUCH_SEED").unwrap_or(0);
    #[cfg(feature = "bugs")]
    put_back_wanted();
    println!("{:?}", Plan::of(seed));
    match run(seed) {
        Ok(outcome) => println!("{outcome:?}"),
        Err(report) => panic!("{report}"),
    }
}

/// `VOUCH_SEED` runs one seed.
#[test]
#[ignore = "minutes: run by make soak-log"]
fn many_members_with_as_many_liars_as_they_tolerate_decide() {
    let seeds = environment("VOUCH_SEED").map_or(0..SEEDS_OF_MANY, |seed| seed..seed + 1);
    let test = "many_members_with_as_many_liars_as_they_tolerate_decide";
    for outcome in run_on_all_cores(seeds, |seed| run_plan(seed, Plan::of_many_members(seed), test)) {
        println!("{:?}", outcome.unwrap_or_else(|report| panic!("{report}")));
    }
}

/// The library drops votes of rounds that are more than ten ahead.
#[test]
fn members_that_are_more_than_ten_rounds_apart_decide() {
    let outcome = Simulation::new(1, Plan::of_far_rounds()).run().unwrap();
    assert!(outcome.rounds > 12, "{outcome:?}");
}

#[test]
fn one_seed_has_one_trace() {
    for seed in [3, 5, 9] {
        assert_eq!(run(seed).unwrap().trace, run(seed).unwrap().trace, "{seed}");
    }
}

#[cfg(feature = "bugs")]
const BUGS: [vouch_core::bugs::Bug; 6] = {
    use vouch_core::bugs::Bug;
    [
        Bug::LogVoteUnwritten,
        Bug::LogNotReplayed,
        Bug::LogAcceptsFewer,
        Bug::LogParentUnchecked,
        Bug::LogAppliedTwice,
        Bug::LogProposesTwice,
    ]
};

#[cfg(feature = "bugs")]
fn put_back_wanted() {
    let wanted = std::env::var("VOUCH_BUG").ok();
    let bug = wanted.map(|name| *BUGS.iter().find(|bug| format!("{bug:?}") == name).unwrap());
    vouch_core::bugs::put_back(bug);
}

/// A simulation that does not find a bug that was put back proves nothing.
#[cfg(feature = "bugs")]
#[test]
#[ignore = "only one bug at a time: run it alone"]
fn bugs_are_found() {
    let wanted = std::env::var("VOUCH_BUG").ok();
    for bug in BUGS.into_iter().filter(|bug| wanted.as_ref().is_none_or(|name| format!("{bug:?}") == *name)) {
        vouch_core::bugs::put_back(Some(bug));
        let seeds = environment("VOUCH_SEEDS").unwrap_or(400);
        let found = run_on_all_cores(0..seeds, run).into_iter().find_map(Result::err);
        vouch_core::bugs::put_back(None);
        match found {
            Some(report) => println!("{bug:?}: {}", report.lines().next().unwrap_or_default()),
            None => panic!("{bug:?}: not found in {seeds} seeds"),
        }
    }
}
