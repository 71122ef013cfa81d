//! `vouch compare`: whether the committees in two bundles contradict each other. It opens no socket.

use serde_json::json;
use vouch_core::bundle::ForkBundle;
use vouch_core::chain::{ChainComparison, CommitteeChain};
use vouch_core::report::{ForkReport, ForkView};
use vouch_core::verify::{Trust, Verdict, Verifier};

use super::bundle_file::BundleFile;
use super::verdicts::print_handoffs;
use super::verify::read_bundle;
use super::{CompareArgs, Failure, output};

/// Exit code 0: they agree. 1: one committee signed two handoffs. 2: they cannot be compared.
pub(super) fn compare(args: &CompareArgs) -> Result<u8, Failure> {
    let place = BundleFile::new(args.output.as_deref(), args.force)?;
    let trust = Trust { cluster: Some(args.cluster), checkpoint: args.checkpoint };
    let [first, second] = [&args.first, &args.second].map(|path| {
        let verified = Verifier::new().verify_chain(&read_bundle(path)?, &trust);
        verified.map_err(|error| {
            let verdict = Verdict::from(error);
            let message = format!("{}: {verdict}", output::name(path));
            Failure { code: 2, ..Failure::new(message) }
        })
    });
    let (first, second) = (first?, second?);
    match first.compare(&second) {
        ChainComparison::Same => agree(args, &first, &second),
        ChainComparison::Apart => Err(Failure::cannot_check("the two bundles have no committee in common")
            .with_note("Get bundles that go further back, or further on: where the two parted cannot be shown.")),
        ChainComparison::Fork(handoffs) => {
            let bundle = ForkBundle::new(*handoffs, &first).to_json();
            let report = ForkReport::new(&Verifier::new().verify_fork(bundle.as_bytes(), &trust));
            let Some(fork) = &report.fork else { return Err(Failure::cannot_check(report.report.message)) };
            place.write(bundle.as_bytes()).map_err(Failure::new)?;
            if args.json {
                output::json(&place.named(&json!({ "agree": false, "fork": fork }))?);
            } else {
                contradict(args, fork);
            }
            Ok(1)
        }
    }
}

fn contradict(args: &CompareArgs, fork: &ForkView) {
    print_handoffs(fork);
    output::line(format_args!(
        "They contradict each other: the committee of epoch {} handed over twice. Trust none of its successors before you know why.",
        fork.epoch
    ));
    match &args.output {
        Some(path) => output::line(format_args!("evidence  {}", output::name(path))),
        None => output::line(format_args!("Name a file with -o for the evidence, which others can check.")),
    }
}

fn agree(args: &CompareArgs, first: &CommitteeChain, second: &CommitteeChain) -> Result<u8, Failure> {
    let epochs = |chain: &CommitteeChain| [chain.first(), chain.current()].map(|committee| committee.record().epoch());
    let [first, second] = [first, second].map(epochs);
    if args.json {
        output::json(&json!({ "agree": true, "first": first, "second": second }));
    } else {
        let [from, to] = [first[0].max(second[0]), first[1].min(second[1])];
        let shared = if from == to { format!("epoch {from}") } else { format!("the epochs {from} to {to}") };
        output::line(format_args!("They agree on {shared} of cluster {}.", args.cluster));
    }
    Ok(0)
}
