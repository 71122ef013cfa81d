//! Every case of `tests/vectors/log_bundles.json`, written by the independent implementation: the core's verdicts on bundles of log heads,
//! of blocks and of evidence agree.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use vouch_core::bundle::BundleType;
use vouch_core::limits::Limits;
use vouch_core::report::{Answer, BlockReport, EvidenceReport, HeadReport, Report};
use vouch_core::verify::{Check, LogVerifyOptions, VerdictQuestion, Verifier};

/// Minimum number of cases, so that none vanish unnoticed.
const LEAST_CASES: usize = 120;

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
    of: String,
    bundle: Option<String>,
    certificate: Option<String>,
    block: Option<String>,
    path: Option<String>,
    evidence: Option<String>,
    committee: Option<String>,
    pops: Option<Vec<String>>,
    cluster: Option<String>,
    height: Option<u64>,
    now: u64,
    verdict: String,
    check: Option<String>,
    times: Option<Value>,
    genuine: String,
    matches: String,
    in_force: String,
}

impl Case {
    fn bundle(&self, bases: &BTreeMap<String, String>) -> Vec<u8> {
        if let Some(text) = &self.bundle {
            return text.clone().into_bytes();
        }
        let mut bundle: Value = serde_json::from_str(&bases[&self.of]).unwrap();
        let Self { certificate, block, path, evidence, .. } = self;
        for (key, value) in [("certificate", certificate), ("block", block), ("path", path), ("evidence", evidence)] {
            if let Some(value) = value {
                bundle[key] = json!(value);
            }
        }
        if let Some(committee) = &self.committee {
            bundle["genesis"]["committee"] = json!(committee);
        }
        if let Some(pops) = &self.pops {
            bundle["genesis"]["pops"] = json!(pops);
        }
        bundle.to_string().into_bytes()
    }

    fn expected(&self) -> String {
        let Self { verdict, times, genuine, matches, in_force, .. } = self;
        format!("{verdict} {} {times:?} {genuine} {matches} {in_force}", self.check.as_deref().unwrap_or("-"))
    }

    /// The report as JSON, whose key `of` shows what was proved.
    fn judge(&self, bases: &BTreeMap<String, String>) -> (Report, Value) {
        let bundle = self.bundle(bases);
        let cluster = self.cluster.as_ref().map(|text| text.parse().unwrap());
        let options = LogVerifyOptions { trust: cluster.into(), wanted: self.height, now: self.now };
        let mut verifier = Verifier::new();
        match self.of.as_str() {
            "head" => {
                let report = HeadReport::new(&verifier.judge_head(&bundle, &options));
                (report.report.clone(), serde_json::to_value(report).unwrap())
            }
            "block" => {
                let report = BlockReport::new(&verifier.judge_block(&bundle, &options));
                (report.report.clone(), serde_json::to_value(report).unwrap())
            }
            _ => {
                let report = EvidenceReport::new(&verifier.judge_evidence(&bundle, &cluster.into()));
                (report.report.clone(), serde_json::to_value(report).unwrap())
            }
        }
    }
}

fn file() -> File {
    let text = std::fs::read_to_string(crate::vectors::directory().join("log_bundles.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn case(name: &str) -> (Report, Value) {
    let File { bases, cases } = file();
    cases.iter().find(|case| case.name == name).unwrap().judge(&bases)
}

fn spelled(report: &Report) -> String {
    let answers = VerdictQuestion::ALL.map(|question| match report.answer(question).answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::NotAnswered => "not-answered",
    });
    assert_eq!(report.expected.is_some() && report.got.is_some(), report.verdict == "invalid");
    let times = report.times.map(|times| json!(times));
    format!("{} {} {times:?} {}", report.verdict, report.check.map_or("-", Check::name), answers.join(" "))
}

#[test]
fn every_case_has_the_expected_verdict_and_check() {
    let File { bases, cases } = file();
    let mut wrong = Vec::new();
    for case in &cases {
        let (report, json) = case.judge(&bases);
        if spelled(&report) != case.expected() {
            let (expected, got, message) = (case.expected(), spelled(&report), &report.message);
            wrong.push(format!("{}: expected {expected}, got {got} ({message})", case.name));
        }
        let is_shown = json[&case.of].is_object();
        assert_eq!(is_shown, report.verdict == "valid", "{}: only what was proved is shown", case.name);
    }
    assert!(wrong.is_empty(), "{} of {} cases disagree:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= LEAST_CASES, "expected at least {LEAST_CASES} cases, saw {}", cases.len());
}

#[test]
fn every_check_decides_at_least_one_case() {
    let cases = file().cases;
    let certificate = Check::OF_CERTIFICATE.as_slice();
    let lists = [
        ("head", [certificate, &Check::OF_LOG_HEAD].concat()),
        ("block", [certificate, &Check::OF_LOG_BLOCK].concat()),
        ("evidence", Check::OF_EVIDENCE.to_vec()),
    ];
    for (of, checks) in lists {
        let decides =
            |check: &Check| cases.iter().any(|case| case.of == of && case.check.as_deref() == Some(check.name()));
        let idle: Vec<_> = checks.iter().filter(|check| !decides(check)).collect();
        assert!(idle.is_empty(), "no case of {of} for {idle:?}");
    }
}

#[test]
fn a_bundle_says_its_type() {
    let File { bases, .. } = file();
    let types = [("head", BundleType::LogHead), ("block", BundleType::LogBlock), ("evidence", BundleType::Evidence)];
    for (of, bundle_type) in types {
        assert_eq!(BundleType::of(bases[of].as_bytes(), &Limits::default()), Some(bundle_type));
    }
}

#[test]
fn the_reports_show_what_was_proved() {
    let (report, json) = case("head_example");
    assert_eq!((&json["head"]["height"], &json["head"]["age"]), (&json!(7), &json!(3593)));
    assert_eq!(report.matches.reason, "no height was asked for");
    let (report, json) = case("block_of_height_4");
    let block = &json["block"];
    assert_eq!((&block["height"], &block["head_height"], &block["age"]), (&json!(4), &json!(7), &json!(3596)));
    let bodies: Vec<_> = block["ops"].as_array().unwrap().iter().map(|op| op["body"].as_str().unwrap()).collect();
    let expected: Vec<_> = (0..5).map(|i| data_encoding::HEXLOWER.encode(format!("note 4/{i}").as_bytes())).collect();
    assert_eq!(bodies, expected);
    assert_eq!(report.matches.reason, "it is block 4 of the log");
    let (report, json) = case("evidence_two_proposals");
    let evidence = &json["evidence"];
    assert_eq!((&evidence["member"], &evidence["name"]), (&json!(1), &json!("replica-1")));
    assert_eq!(
        (&evidence["what"], &evidence["height"], &evidence["round"]),
        (&json!("proposal"), &json!(3), &json!(1))
    );
    assert_eq!(report.checks.len(), 8);
}

#[test]
fn each_failure_is_named() {
    let named = [
        ("head_below_the_height", "older than what you asked for (height of the log head: expected at least 8, got 7)"),
        ("block_of_another_height", "this is another block (height of the block: expected 3, got 4)"),
        ("block_submitter_exchanged", "the block is damaged or forged (digest of the block's ops: expected "),
        ("block_path_of_54_hashes", "the block is damaged or forged (block: number of hashes in the block's path"),
        ("block_op_version_2", "version 2 of the block, or of an op in it, is unknown"),
        ("evidence_against_a_stranger", "the accused is not a member of this cluster (evidence: expected a member"),
        ("evidence_about_another_cluster", "about another cluster than the one you trust (cluster of the evidence"),
        (
            "evidence_against_another_member",
            "the evidence is forged: the accused did not sign it (evidence: message of",
        ),
        (
            "evidence_of_a_later_epoch",
            "the evidence is about epoch 1, and the bundle has the committees of the epochs 0 to 0",
        ),
        ("evidence_version_2", "evidence version 2 is unknown"),
    ];
    for (name, part) in named {
        let (report, _) = case(name);
        assert!(report.message.contains(part), "{name}: {}", report.message);
    }
}
