//! Measures the native side, each figure beside its reference in the same run: `make bench`.
//!
//! Figures are medians of interleaved pairs, as machines are shared and noisy: read the ratios.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a program for developers")]

mod chain;
mod get;
mod log;
mod log_catch_up;
mod memory;
mod meter;
mod proxy;
mod put;
mod scaling;
mod small;
mod verify;

const RUNS: usize = 5;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(get::HASH) {
        return get::hash_standard_input();
    }
    // `cargo bench --bench native -- put` runs one part
    let wanted = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let is_wanted = |part: &str| wanted.as_deref().is_none_or(|wanted| wanted == part);
    println!("native, medians of {RUNS} interleaved pairs\n");
    if is_wanted("verify") {
        verify::run(RUNS);
    }
    if is_wanted("chain") {
        chain::run(RUNS);
    }
    if is_wanted("put") {
        put::run(RUNS, 256 << 20);
    }
    if is_wanted("get") {
        get::run(RUNS, 256 << 20);
    }
    if is_wanted("small") {
        small::run(RUNS);
    }
    if is_wanted("log") {
        log::run();
    }
    if wanted.as_deref() == Some("log_catch_up") {
        log_catch_up::measure(&tokio::runtime::Runtime::new().unwrap());
    }
    if is_wanted("memory") {
        memory::run(4 << 30);
    }
    if is_wanted("scaling") {
        tokio::runtime::Runtime::new().unwrap().block_on(scaling::run());
    }
}

/// Prints one row: name, our figure, the reference, their ratio.
fn row(what: &str, ours: f64, reference: f64, unit: &str, against: &str) {
    let ratio = ours / reference;
    println!("{what:<44} {ours:>9.3} {unit:<5} against {reference:>9.3} {unit:<5} {against:<34} ratio {ratio:.2}");
}

/// Pseudorandom bytes, which neither compress nor repeat.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
