//! Chains of committees: a bundle's size, the first verification against the bare work with blst, and a later one.
//!
//! Leaves a bundle for the same measurement in wasm: `target/bench/chain.vouch`.

use std::hint::black_box;
use std::time::Instant;

use support::committee::{NOW, TestEpochs, receipt};
use vouch_core::verify::{Subject, Trust, Verdict, Verifier, VerifyOptions};
use vouch_verifier::BareChain;

use super::{median, row};

const MEMBERS: u16 = 7;
const HANDOFFS: u32 = 1000;

pub(crate) fn run(runs: usize) {
    for n in [MEMBERS, 31] {
        // Three epochs tell the rest: all but the first have one length.
        let size = |handoffs| TestEpochs::new(n, handoffs).bundle().len();
        let (one, two, three) = (size(1), size(2), size(3));
        let more = three - two;
        println!(
            "bundle of a committee of {n}: {one} bytes after 1 handoff, {} after 100, {} after {HANDOFFS}, of at most {}",
            two + 98 * more,
            two + (HANDOFFS as usize - 2) * more,
            vouch_core::limits::MAX_BUNDLE
        );
    }
    let epochs = TestEpochs::new(MEMBERS, HANDOFFS.into());
    let bundle = epochs.bundle();
    let options = options(&epochs, Trust::from(epochs.chain.cluster()));
    let bare = BareChain::new(&bundle).unwrap();
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..runs {
        let mut verifier = Verifier::new();
        times[0].push(time(|| verify(&mut verifier, &bundle, &options)));
        times[1].push(time(|| assert!(black_box(&bare).verify())));
        times[2].push(time(|| verify(&mut verifier, &bundle, &options)));
        let pinned =
            VerifyOptions { trust: Trust { checkpoint: Some(epochs.checkpoint()), ..options.trust }, ..options };
        times[3].push(time(|| verify(&mut Verifier::new(), &bundle, &pinned)));
    }
    let [first, bare, later, pinned] = times.map(median);
    row(&format!("first certificate, {HANDOFFS} handoffs of {MEMBERS}"), first, bare, "ms", "bare blst");
    row("a later one, same verifier", later, first, "ms", "the first");
    row("the first of a verifier that pins its epoch", pinned, first, "ms", "without a pin");

    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("chain.vouch"), bundle).unwrap();
}

fn options(epochs: &TestEpochs, trust: Trust) -> VerifyOptions {
    let file = epochs.certificate.claim.receipt;
    assert_eq!(file, receipt("epochs"));
    let subject = Some(Subject { digest: file.digest, length: Some(file.length) });
    VerifyOptions { trust, require_sealed: false, subject, now: NOW, waive_expiry: false }
}

fn verify(verifier: &mut Verifier, bundle: &str, options: &VerifyOptions) {
    let verdict = verifier.verify(black_box(bundle.as_bytes()), options);
    assert!(matches!(verdict, Verdict::Valid(_)), "{verdict}");
}

/// Milliseconds.
fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}
