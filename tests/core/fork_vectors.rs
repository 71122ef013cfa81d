//! Every case of `tests/vectors/forks.json`, and the comparison of two chains.

use serde::Deserialize;
use vouch_core::bundle::ForkBundle;
use vouch_core::chain::ChainComparison;
use vouch_core::digest::ClusterId;
use vouch_core::report::{ForkInspection, ForkReport};
use vouch_core::verify::{Check, Trust, Verifier};

use crate::vectors::epoch_case;

#[derive(Deserialize)]
struct Case {
    name: String,
    bundle: String,
    cluster: Option<String>,
    checkpoint: Option<String>,
    verdict: String,
    check: Option<String>,
    both: Option<Vec<u16>>,
}

impl Case {
    fn trust(&self) -> Trust {
        Trust {
            cluster: self.cluster.as_ref().map(|text| text.parse().unwrap()),
            checkpoint: self.checkpoint.as_ref().map(|text| text.parse().unwrap()),
        }
    }
}

fn file() -> serde_json::Value {
    let text = std::fs::read_to_string(crate::vectors::directory().join("forks.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn cases() -> Vec<Case> {
    serde_json::from_value(file()["cases"].clone()).unwrap()
}

#[test]
fn every_fork_is_judged_as_expected() {
    for case in cases() {
        let report = ForkReport::new(&Verifier::new().verify_fork(case.bundle.as_bytes(), &case.trust()));
        let both = report.fork.as_ref().map(|fork| fork.signed_both.iter().map(|one| one.member).collect());
        let got = (report.report.verdict, report.report.check.map(Check::name), both);
        assert_eq!(got, (&*case.verdict, case.check.as_deref(), case.both), "{}: {}", case.name, report.report.message);
    }
}

#[test]
fn every_check_of_a_fork_decides_a_case() {
    let cases = cases();
    for check in Check::OF_FORK {
        assert!(cases.iter().any(|case| case.check.as_deref() == Some(check.name())), "{check:?}");
    }
}

#[test]
fn chains_that_part_are_evidence_against_the_committee_that_handed_over_twice() {
    let file = file();
    let trust = Trust::from(file["apart"]["cluster"].as_str().unwrap().parse::<ClusterId>().unwrap());
    let chain = |bundle: &[u8]| Verifier::new().verify_chain(bundle, &trust).unwrap();
    let [whole, parted] = ["first", "second"].map(|key| chain(file["apart"][key].as_str().unwrap().as_bytes()));
    for (one, other) in [(&whole, &parted), (&parted, &whole)] {
        let compared = one.compare(other);
        let ChainComparison::Fork(handoffs) = compared else { panic!("{compared:?}") };
        let bundle = ForkBundle::new(*handoffs, one).to_json();
        let proven = Verifier::new().verify_fork(bundle.as_bytes(), &trust).unwrap();
        assert_eq!(proven.committee().epoch(), 1);
        assert_ne!(proven.handoffs()[0].claim.next, proven.handoffs()[1].claim.next);
        assert_eq!(ForkInspection::of_bundle(bundle.as_bytes()).unwrap().fork.signed_both.len(), 3);
    }
    let short = chain(&epoch_case("one_handoff").0);
    assert_eq!((whole.compare(&short), short.compare(&parted)), (ChainComparison::Same, ChainComparison::Same));
    // a chain from a checkpoint on has no committee before it
    let (later, options) = epoch_case("starts_at_the_pin_alone");
    let later = Verifier::new().verify_chain(&later, &options.trust).unwrap();
    assert_eq!((later.compare(&short), later.compare(&parted)), (ChainComparison::Apart, ChainComparison::Apart));
    assert_eq!(later.compare(&whole), ChainComparison::Same);
}
