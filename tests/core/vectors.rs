//! Every case of `tests/vectors`, written by the independent implementation: verdict, deciding check and the answers
//! to the three questions must agree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use vouch_core::report::{Answer, Report};
use vouch_core::verify::{
    Check, Judgement, SealState, Subject, Trust, Verdict, VerdictQuestion, Verifier, VerifyOptions,
};

/// Minimum number of cases, so that none vanish unnoticed.
const LEAST_CASES: usize = 950;
/// Files with intermediate values instead of cases, and the cases of ops.
const WITHOUT_CASES: [&str; 11] = [
    "access.json",
    "building_blocks.json",
    "chains.json",
    "epochs.json",
    "forks.json",
    "founding.json",
    "log.json",
    "log_bundles.json",
    "membership.json",
    "ops.json",
    "tree.json",
];

#[derive(Deserialize)]
struct File {
    bases: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "about")]
    _about: String,
    base: Option<String>,
    bundle: Option<String>,
    bundle_base64: Option<String>,
    certificate: Option<String>,
    committee: Option<String>,
    pops: Option<Vec<String>>,
    fill: Option<Fill>,
    pad_to: Option<usize>,
    cluster: Option<String>,
    digest: Option<String>,
    length: Option<u64>,
    now: u64,
    waive_expiry: bool,
    checkpoint: Option<String>,
    #[serde(default)]
    require_sealed: bool,
    /// Where a genuine certificate stands among the epochs; not said by every case.
    standing: Option<Value>,
    verdict: String,
    check: Option<String>,
    times: Option<Value>,
    genuine: String,
    matches: String,
    in_force: String,
}

/// A text repeated `count` times.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fill {
    text: String,
    times: usize,
}

/// The bytes of a value in hex.
pub fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// The same for a value of fixed size.
pub fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

fn files() -> Vec<(String, File)> {
    let mut names: Vec<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json") && !WITHOUT_CASES.contains(&name.as_str()))
        .collect();
    names.sort();
    let read = |name: &String| {
        let text = std::fs::read_to_string(directory().join(name)).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    names.iter().map(|name| (name.clone(), read(name))).collect()
}

impl Case {
    fn bundle(&self, file: &File) -> Vec<u8> {
        if let Some(raw) = &self.bundle_base64 {
            return data_encoding::BASE64.decode(raw.as_bytes()).unwrap();
        }
        let mut text = match &self.base {
            None => self.bundle.clone().unwrap(),
            Some(base) => {
                let mut bundle: Value = serde_json::from_str(&file.bases[base]).unwrap();
                if let Some(certificate) = &self.certificate {
                    bundle["certificate"] = json!(certificate);
                }
                if let Some(committee) = &self.committee {
                    bundle["genesis"]["committee"] = json!(committee);
                }
                if let Some(pops) = &self.pops {
                    bundle["genesis"]["pops"] = json!(pops);
                }
                bundle.to_string()
            }
        };
        if let Some(fill) = &self.fill {
            text = text.replacen("FILL", &fill.text.repeat(fill.times), 1);
        }
        while text.len() < self.pad_to.unwrap_or(0) {
            text.push(' ');
        }
        text.into_bytes()
    }

    fn options(&self) -> VerifyOptions {
        VerifyOptions {
            trust: Trust {
                cluster: self.cluster.as_ref().map(|text| text.parse().unwrap()),
                checkpoint: self.checkpoint.as_ref().map(|text| text.parse().unwrap()),
            },
            require_sealed: self.require_sealed,
            subject: self.digest.as_ref().map(|text| Subject { digest: text.parse().unwrap(), length: self.length }),
            now: self.now,
            waive_expiry: self.waive_expiry,
        }
    }

    fn expected(&self) -> String {
        let Self { verdict, times, genuine, matches, in_force, .. } = self;
        format!("{verdict} {} {times:?} {genuine} {matches} {in_force}", self.check.as_deref().unwrap_or("-"))
    }
}

fn spelled(judgement: &Judgement) -> String {
    let report = Report::new(judgement);
    let word = match judgement.verdict() {
        Verdict::Valid(_) => "valid",
        Verdict::Invalid(_) => "invalid",
        Verdict::CannotCheck(_) => "cannot-check",
    };
    assert_eq!(word, report.verdict);
    let answers = VerdictQuestion::ALL.map(|question| match report.answer(question).answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::NotAnswered => "not-answered",
    });
    let times = report.times.map(|times| json!(times));
    format!("{word} {} {times:?} {}", report.check.map_or("-", Check::name), answers.join(" "))
}

#[test]
fn every_case_has_the_expected_verdict_and_check() {
    // one verifier for all cases: its cache must not affect later verdicts
    let mut kept = Verifier::new();
    let (mut seen, mut wrong) = (0, Vec::new());
    for (name, file) in files() {
        for case in &file.cases {
            seen += 1;
            let judgement = kept.judge(&case.bundle(&file), &case.options());
            let (expected, got) = (case.expected(), spelled(&judgement));
            if got != expected {
                wrong.push(format!("{name} {}: expected {expected}, got {got} ({})", case.name, judgement.verdict()));
            }
            if let Some(expected) = &case.standing {
                let standing = judgement.standing().unwrap_or_else(|| panic!("{} is not genuine", case.name));
                let got = json!({
                    "trusted_epoch": standing.trusted_epoch,
                    "handoffs": standing.handoffs,
                    "closing": standing.closing,
                    "seal": standing.seal,
                });
                assert_eq!(got, *expected, "{}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {seen} cases disagree:\n{}", wrong.len(), wrong.join("\n"));
    assert!(seen >= LEAST_CASES, "expected at least {LEAST_CASES} cases, saw {seen}");
}

#[test]
fn fresh_verifier_agrees_with_a_cached_one() {
    // only cases decided after the committee is cached: earlier checks use no cache
    let late = [
        Some("possession"),
        Some("chain"),
        Some("signature"),
        Some("closing"),
        Some("seal"),
        Some("digest"),
        Some("length"),
        Some("time"),
        Some("expiry"),
        None,
    ];
    let mut wrong = Vec::new();
    for (name, file) in files() {
        // each case opens its committee here, which takes seconds for large ones
        let small = |case: &&Case| case.base.as_deref() != Some("n100") && case.committee.is_none();
        for case in file.cases.iter().filter(|case| late.contains(&case.check.as_deref())).filter(small) {
            let got = spelled(&Verifier::new().judge(&case.bundle(&file), &case.options()));
            if got != case.expected() {
                wrong.push(format!("{name} {}: expected {}, got {got}", case.name, case.expected()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_decides_at_least_one_case() {
    let files = files();
    let decides = |check: Check| {
        let named = |case: &Case| case.check.as_deref() == Some(check.name());
        files.iter().any(|(_, file)| file.cases.iter().any(named))
    };
    let idle: Vec<_> =
        Check::OF_CERTIFICATE.into_iter().chain(Check::OF_FILE).filter(|check| !decides(*check)).collect();
    assert!(idle.is_empty(), "no case for {idle:?}");
}

#[test]
fn committee_cache_is_keyed_by_committee_and_proofs() {
    let files = files();
    let case = |name: &str| {
        let of_file = |(_, file): &(String, File)| file.cases.iter().position(|case| case.name == name);
        let (file, position) = files.iter().find_map(|named| Some((&named.1, of_file(named)?))).unwrap();
        (file.cases[position].bundle(file), file.cases[position].options(), file.cases[position].expected())
    };
    // the same committee and digest: with its own proofs, and with two proofs swapped
    let (good, bad) = (case("n4"), case("pops_swapped"));
    assert_eq!(bad.2, "invalid possession None no not-answered not-answered");
    for order in [[&good, &bad, &good], [&bad, &good, &bad]] {
        let mut kept = Verifier::new();
        for (bundle, options, expected) in order {
            assert_eq!(spelled(&kept.judge(bundle, options)), *expected);
        }
    }
}

/// A case of `epoch_bundles.json`: its bundle and its question.
pub(crate) fn epoch_case(name: &str) -> (Vec<u8>, VerifyOptions) {
    let files = files();
    let (_, file) = files.iter().find(|(file, _)| file == "epoch_bundles.json").unwrap();
    let case = file.cases.iter().find(|case| case.name == name).unwrap();
    (case.bundle(file), case.options())
}

#[test]
fn a_chain_that_was_verified_under_a_pin_is_verified_again_without_it() {
    let (bundle, pinned) = epoch_case("signature_below_the_pin");
    let without = VerifyOptions { trust: Trust { checkpoint: None, ..pinned.trust }, ..pinned };
    let mut verifier = Verifier::new();
    assert_eq!(verifier.judge(&bundle, &without).genuine().unwrap_err().check(), Check::Chain);
    for _ in 0..2 {
        assert!(verifier.judge(&bundle, &pinned).genuine().is_ok());
        assert_eq!(verifier.judge(&bundle, &without).genuine().unwrap_err().check(), Check::Chain);
    }
}

#[test]
fn a_cached_chain_says_no_more_than_the_bundle_at_hand() {
    let (short, options) = epoch_case("open_epoch");
    let (long, long_options) = epoch_case("sealed_without_pin");
    let (middle, middle_options) = epoch_case("ended_epoch");
    let mut verifier = Verifier::new();
    let mut states = |bundle: &[u8], options| {
        let judgement = verifier.judge(bundle, options);
        let standing = judgement.standing().unwrap();
        (standing.last_epoch, standing.seal)
    };
    // longer, shorter and again longer: what was verified is used in each
    for _ in 0..2 {
        assert_eq!(states(&long, &long_options), (3, SealState::Unpinned));
        assert_eq!(states(&short, &options), (0, SealState::Open));
        assert_eq!(states(&middle, &middle_options), (1, SealState::Unproved));
    }
}
