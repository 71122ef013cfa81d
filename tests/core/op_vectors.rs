//! Every case of `tests/vectors/ops.json`, written by the independent implementation: the core's verdicts on bundles of ops agree.

use serde::Deserialize;
use serde_json::{Value, json};
use vouch_core::digest::OpId;
use vouch_core::report::{Answer, OpReport};
use vouch_core::verify::{Check, LogVerifyOptions, VerdictQuestion, Verifier};

/// Minimum number of cases, so that none vanish unnoticed.
const LEAST_CASES: usize = 400;

#[derive(Deserialize)]
struct File {
    base: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(rename = "about")]
    _about: String,
    bundle: Option<String>,
    proof: Option<String>,
    certificate: Option<String>,
    committee: Option<String>,
    pops: Option<Vec<String>>,
    cluster: Option<String>,
    op: Option<String>,
    now: u64,
    verdict: String,
    check: Option<String>,
    times: Option<Value>,
    genuine: String,
    matches: String,
    in_force: String,
}

impl Case {
    fn bundle(&self, base: &str) -> Vec<u8> {
        if let Some(text) = &self.bundle {
            return text.clone().into_bytes();
        }
        let mut bundle: Value = serde_json::from_str(base).unwrap();
        for (key, value) in [("proof", &self.proof), ("certificate", &self.certificate)] {
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

    fn options(&self) -> LogVerifyOptions<OpId> {
        LogVerifyOptions {
            trust: self.cluster.as_ref().map(|text| text.parse().unwrap()).into(),
            wanted: self.op.as_ref().map(|text| text.parse().unwrap()),
            now: self.now,
        }
    }

    fn expected(&self) -> String {
        let Self { verdict, times, genuine, matches, in_force, .. } = self;
        format!("{verdict} {} {times:?} {genuine} {matches} {in_force}", self.check.as_deref().unwrap_or("-"))
    }
}

fn file() -> File {
    let text = std::fs::read_to_string(crate::vectors::directory().join("ops.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn spelled(OpReport { report, op }: &OpReport) -> String {
    let answers = VerdictQuestion::ALL.map(|question| match report.answer(question).answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::NotAnswered => "not-answered",
    });
    assert_eq!(op.is_some(), report.verdict == "valid", "only a proved op is shown");
    assert_eq!(report.expected.is_some() && report.got.is_some(), report.verdict == "invalid");
    assert_eq!(report.checks.len(), 15);
    let times = report.times.map(|times| json!(times));
    format!("{} {} {times:?} {}", report.verdict, report.check.map_or("-", Check::name), answers.join(" "))
}

#[test]
fn every_case_has_the_expected_verdict_and_check() {
    let File { base, cases } = file();
    let (mut kept, mut wrong) = (Verifier::new(), Vec::new());
    for case in &cases {
        let judgement = kept.judge_op(&case.bundle(&base), &case.options());
        let report = OpReport::new(&judgement);
        if spelled(&report) != case.expected() {
            let (expected, got, message) = (case.expected(), spelled(&report), &report.report.message);
            wrong.push(format!("{}: expected {expected}, got {got} ({message})", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases disagree:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= LEAST_CASES, "expected at least {LEAST_CASES} cases, saw {}", cases.len());
}

#[test]
fn every_check_decides_at_least_one_case() {
    let cases = file().cases;
    // A malformed committee is judged by the code that judges it in a file's bundle, and has its cases there.
    let idle: Vec<_> = Check::OF_CERTIFICATE
        .into_iter()
        .chain(Check::OF_OP)
        .filter(|check| *check != Check::Committee)
        .filter(|check| !cases.iter().any(|case| case.check.as_deref() == Some(check.name())))
        .collect();
    assert!(idle.is_empty(), "no case for {idle:?}");
}

#[test]
fn the_report_shows_what_was_proved() {
    let File { base, cases } = file();
    let case = cases.iter().find(|case| case.name == "example").unwrap();
    let report = OpReport::new(&Verifier::new().judge_op(&case.bundle(&base), &case.options()));
    let op = report.op.as_ref().unwrap();
    assert_eq!((op.height, op.index, op.count, op.head_height), (4, 2, 5, 7));
    assert_eq!(data_encoding::HEXLOWER.decode(op.body.as_bytes()).unwrap(), b"note 4/2");
    assert_eq!(data_encoding::HEXLOWER.decode(op.effect.as_bytes()).unwrap(), b"effect 4/2");
    assert_eq!(Some(op.id.to_string()), case.op);
    assert_eq!(report.report.matches.reason, "it is op 3 of the 5 in block 4 of the log");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "valid");
    assert_eq!(json["op"]["height"], 4);
}

#[test]
fn each_way_to_miss_the_log_is_named() {
    let File { base, cases } = file();
    let named = [
        ("block_of_another_cluster", "cluster of the block: expected 3UDUyZQX"),
        ("block_beyond_the_head", "height of the block: expected at most 3, got 4"),
        ("block_path_too_long", "path of the block: expected 3 hashes, got 4"),
        ("block_path_reversed", "log root: expected "),
        ("another_effect", "results root: expected "),
        ("another_op", "this is another op (op: expected "),
        ("head_61_seconds_ahead", "issued_at: expected at most "),
        ("proof_version_2", "op proof version 2 is unknown"),
        ("block_version_2", "block version 2 is unknown"),
        ("op_version_2", "op version 2 is unknown"),
    ];
    for (name, part) in named {
        let case = cases.iter().find(|case| case.name == name).unwrap();
        let report = OpReport::new(&Verifier::new().judge_op(&case.bundle(&base), &case.options()));
        assert!(report.report.message.contains(part), "{name}: {}", report.report.message);
    }
}
