//! Judging bundles of the log and printing their verdicts, for `vouch verify` and `vouch log`.

use serde::Serialize;
use vouch_core::digest::OpId;
use vouch_core::report::{
    Answer, BlockOpView, BlockReport, BlockView, CheckOutcome, EvidenceReport, EvidenceView, ForkReport, ForkView,
    HeadReport, HeadView, OpReport, OpView, Report,
};
use vouch_core::verify::{CheckError, LogVerifyOptions, Missing, Trust, Verdict, VerdictQuestion, Verifier};

use super::output;

/// Judges the bundle of an op, and prints the verdict. Returns the exit code.
pub(super) fn judge_op(bundle: &[u8], trust: Trust, op: Option<OpId>, now: u64, json: bool) -> u8 {
    let judgement = Verifier::new().judge_op(bundle, &LogVerifyOptions { trust, wanted: op, now });
    let shown = OpReport::new(&judgement);
    print(&shown, &shown.report, shown.op.as_ref(), json, print_op);
    exit_code(judgement.proved().err().cloned())
}

/// As [`judge_op`], for a log head.
pub(super) fn judge_head(bundle: &[u8], trust: Trust, height: Option<u64>, now: u64, json: bool) -> u8 {
    let judgement = Verifier::new().judge_head(bundle, &LogVerifyOptions { trust, wanted: height, now });
    let shown = HeadReport::new(&judgement);
    print(&shown, &shown.report, shown.head.as_ref(), json, print_head);
    exit_code(judgement.proved().err().cloned())
}

/// As [`judge_op`], for a block.
pub(super) fn judge_block(bundle: &[u8], trust: Trust, height: Option<u64>, now: u64, json: bool) -> u8 {
    let judgement = Verifier::new().judge_block(bundle, &LogVerifyOptions { trust, wanted: height, now });
    let shown = BlockReport::new(&judgement);
    print(&shown, &shown.report, shown.block.as_ref(), json, print_block);
    exit_code(judgement.proved().err().cloned())
}

/// As [`judge_op`], for evidence.
pub(super) fn judge_evidence(bundle: &[u8], trust: Trust, json: bool) -> u8 {
    let judgement = Verifier::new().judge_evidence(bundle, &trust);
    let shown = EvidenceReport::new(&judgement);
    print(&shown, &shown.report, shown.evidence.as_ref(), json, print_evidence);
    exit_code(judgement.proven().err().cloned())
}

/// As [`judge_op`], for a fork.
pub(super) fn judge_fork(bundle: &[u8], trust: &Trust, json: bool) -> u8 {
    let verified = Verifier::new().verify_fork(bundle, trust);
    let shown = ForkReport::new(&verified);
    print(&shown, &shown.report, shown.fork.as_ref(), json, print_fork);
    exit_code(verified.err())
}

fn exit_code(error: Option<CheckError>) -> u8 {
    if error == Some(CheckError::Missing(Missing::Identity)) {
        ask_for_identity();
    }
    error.map_or(0, |error| Verdict::from(error).exit_code())
}

pub(super) fn ask_for_identity() {
    output::error_line(format_args!(
        "Give --cluster IDENTITY: get it from the cluster's operators or from your own records, not from a server."
    ));
}

/// Prints a report: as JSON, or its checks and then what was proved or why not.
fn print<T>(shown: &impl Serialize, report: &Report, proved: Option<&T>, json: bool, print_proved: fn(&T)) {
    if json {
        return output::json(shown);
    }
    print_checks(report);
    match proved {
        Some(proved) => print_proved(proved),
        None => output::line(format_args!("{}", report.message)),
    }
}

/// Prints the questions, each with its answer and a line for each check; then what the check that decided compared.
pub(super) fn print_checks(report: &Report) {
    for question in VerdictQuestion::ALL {
        let mut checks = report.checks.iter().filter(|check| check.question == question).peekable();
        if checks.peek().is_none() {
            continue;
        }
        let answer = match report.answer(question).answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::NotAnswered => "not answered",
        };
        output::line(format_args!("{} {answer}", report.questions.text(question)));
        for check in checks {
            let mark = match check.outcome {
                CheckOutcome::Passed => " ok ",
                CheckOutcome::Failed => "BAD ",
                CheckOutcome::CannotCheck => " ?  ",
                CheckOutcome::NotReached => " -  ",
                CheckOutcome::Waived => "n/a ",
            };
            output::line(format_args!("{mark} {:<12} {}", check.name.name(), check.meaning));
        }
    }
    if let (Some(expected), Some(got)) = (&report.expected, &report.got) {
        output::line(format_args!("expected {expected}"));
        output::line(format_args!("got      {got}"));
    }
}

/// Hex digits, or that there are none.
pub(super) fn hex(text: &str) -> &str {
    if text.is_empty() { "empty" } else { text }
}

/// Prints what an op says and did, and its place in the log.
pub(super) fn print_op(op: &OpView) {
    output::line(format_args!("kind     {}", op.kind));
    output::line(format_args!("body     {}", hex(&op.body)));
    output::line(format_args!("effect   {}", hex(&op.effect)));
    output::line(format_args!(
        "VALID: op {}, {} of {} in block {} of {}, certified by {} of {} members of cluster {}",
        op.id,
        op.index + 1,
        op.count,
        op.height,
        output::time(op.time),
        op.signers,
        op.members,
        op.cluster
    ));
}

/// An op of a block on one line. A note is shown as text, if it is one.
pub(super) fn op_text(op: &BlockOpView) -> String {
    match &op.text {
        Some(text) => format!("{}, note {text:?}", op.id),
        None => format!("{}, kind {}, body {}", op.id, op.kind, hex(&op.body)),
    }
}

pub(super) fn print_head(head: &HeadView) {
    output::line(format_args!(
        "VALID: log head of height {} of {} ({} ago), certified by {} of {} members of cluster {}",
        head.height,
        output::time(head.time),
        output::age(head.age),
        head.signers,
        head.members,
        head.cluster
    ));
}

pub(super) fn print_block(block: &BlockView) {
    for op in &block.ops {
        output::line(format_args!("op       {}", op_text(op)));
    }
    output::line(format_args!(
        "VALID: block {} of {} ({} ago), with {}, under log head {}, certified by {} of {} members of cluster {}",
        block.height,
        output::time(block.time),
        output::age(block.age),
        output::count(block.ops.len() as u64, "op"),
        block.head_height,
        block.signers,
        block.members,
        block.cluster
    ));
}

fn print_evidence(evidence: &EvidenceView) {
    output::line(format_args!(
        "VALID: {} (member {}, node key {}) signed two different {}s for height {}, round {} of the log of cluster {}",
        evidence.name,
        evidence.member,
        evidence.node_key,
        evidence.what,
        evidence.height,
        evidence.round,
        evidence.cluster
    ));
}

fn print_fork(fork: &ForkView) {
    print_handoffs(fork);
    output::line(format_args!(
        "VALID: the committee of epoch {} of cluster {} handed over twice; trust none of its successors before you know why",
        fork.epoch, fork.cluster
    ));
}

/// Prints what a committee signed twice, and who signed both.
pub(super) fn print_handoffs(fork: &ForkView) {
    for handoff in &fork.handoffs {
        output::line(format_args!(
            "handoff  to committee {}, closing {}, block {}, signed by {}",
            handoff.next,
            output::time(handoff.closing),
            handoff.height,
            handoff.signers
        ));
    }
    for member in &fork.signed_both {
        output::line(format_args!("both     {} ({}), node key {}", member.member, member.name, member.node_key));
    }
}
