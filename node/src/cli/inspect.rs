//! `vouch inspect`: shows what a bundle of any type states. It opens no socket and verifies nothing.

use std::path::Path;

use serde::Serialize;
use vouch_core::bundle::BundleType;
use vouch_core::limits::Limits;
use vouch_core::report::{
    BlockInspection, EpochView, EvidenceInspection, ForkInspection, HeadInspection, Inspection, MemberView,
    OpInspection, OpView,
};
use vouch_core::verify::Verdict;

use super::verdicts::{hex, op_text};
use super::verify::read_bundle;
use super::{Failure, InspectArgs, output};

pub(super) fn inspect(args: &InspectArgs) -> Result<u8, Failure> {
    let bundle = read_bundle(&args.bundle)?;
    match BundleType::of(&bundle, &Limits::default()) {
        Some(BundleType::LogHead) => show(args, HeadInspection::of_bundle(&bundle), print_head),
        Some(BundleType::LogBlock) => show(args, BlockInspection::of_bundle(&bundle), print_block),
        Some(BundleType::Op) => show(args, OpInspection::of_bundle(&bundle), print_op),
        Some(BundleType::Fork) => show(args, ForkInspection::of_bundle(&bundle), print_fork),
        Some(BundleType::Evidence) => show(args, EvidenceInspection::of_bundle(&bundle), print_evidence),
        // Whatever the text is: the error says why it is not a bundle.
        Some(BundleType::File) | None => show(args, Inspection::of_bundle(&bundle), print_file),
    }
}

fn show<T: Serialize>(args: &InspectArgs, shown: Result<T, Verdict>, print: fn(&T, &Path)) -> Result<u8, Failure> {
    let shown = shown.map_err(|verdict| {
        let message = format!("{}: {verdict}", output::name(&args.bundle));
        Failure { code: verdict.exit_code(), ..Failure::new(message) }
    })?;
    match args.json {
        true => output::json(&shown),
        false => print(&shown, &args.bundle),
    }
    Ok(0)
}

fn row(name: &str, value: &str) {
    output::line(format_args!("{name:<12} {value}"));
}

fn time(seconds: u64) -> String {
    format!("{} ({seconds})", output::time(seconds))
}

fn signers(signers: usize, members: &[MemberView], quorum: u16, faults: u16) {
    row("signers", &format!("{signers} of {}; {quorum} needed, {faults} may fail", members.len()));
    for member in members {
        let mark = if member.signed { "signed" } else { "-" };
        let node_key = &member.node_key;
        row("", &format!("{mark:<7} {:<24} node {node_key} vote {}", member.name, member.vote_key));
    }
}

/// The epochs in a bundle that has more than one.
fn epochs(all: &[EpochView]) {
    for epoch in all.iter().filter(|_| all.len() > 1) {
        let EpochView { epoch, committee, members, joined, left, closing } = epoch;
        let closing = closing.map_or_else(|| "open".to_owned(), |closing| format!("closed {}", output::time(closing)));
        let members = if *members == 1 { "1 member".to_owned() } else { format!("{members} members") };
        row("epoch", &format!("{epoch}, {members}, {closing}, committee {committee}"));
        for (what, names) in [("joined", joined), ("left", left)] {
            if !names.is_empty() {
                row("", &format!("{what} {}", names.join(", ")));
            }
        }
    }
}

fn unverified(command: std::fmt::Arguments<'_>) {
    output::line(format_args!("None of this is verified; run `vouch verify {command} --cluster IDENTITY`."));
}

fn print_file(shown: &Inspection, _: &Path) {
    row("digest", &format!("{} ({})", shown.digest, shown.digest_base58));
    row("length", &output::bytes(shown.length));
    row("cluster", &shown.cluster.to_string());
    row("committee", &format!("{}, epoch {}", shown.committee, shown.epoch));
    epochs(&shown.epochs);
    row("statement", &format!("{} {}", shown.kind, shown.statement));
    row("issued at", &time(shown.issued_at));
    row("kept", &output::kept(shown.expires_at));
    row("salt", &shown.salt);
    row("batch", &format!("receipt {} of {}", shown.batch_index + 1, shown.batch_count));
    for hash in &shown.path {
        row("path", hash);
    }
    signers(shown.signers.len(), &shown.members, shown.quorum, shown.tolerated_faults);
    row("signature", &shown.signature);
    row("certificate", &shown.certificate);
    unverified(format_args!("FILE BUNDLE"));
}

/// The log head in a bundle of the log.
fn print_head_rows(shown: &HeadInspection) {
    row("log head", &format!("height {} of {}", shown.head_height, time(shown.head_time)));
    row("head block", &shown.head_block.to_string());
    row("log root", &shown.log_root);
    row("cluster", &shown.cluster.to_string());
    row("committee", &format!("{}, epoch {}", shown.committee, shown.epoch));
    row("statement", &format!("{} {}", shown.kind, shown.statement));
    signers(shown.signers.len(), &shown.members, shown.quorum, shown.tolerated_faults);
    row("signature", &shown.signature);
    row("certificate", &shown.certificate);
}

fn print_head(shown: &HeadInspection, bundle: &Path) {
    print_head_rows(shown);
    unverified(format_args!("{}", output::shell_word(bundle)));
}

fn print_block(shown: &BlockInspection, bundle: &Path) {
    let block = &shown.block;
    row("block", &format!("{} of {}", block.height, time(block.time)));
    row("digest", &block.digest.to_string());
    row("parent", &block.parent.to_string());
    row("author", &block.author);
    row("results", &block.results);
    row("state", &block.state);
    for op in &shown.ops {
        row("op", &format!("{}, by {}", op_text(op), op.submitter));
    }
    for hash in &shown.block_path {
        row("path", hash);
    }
    print_head_rows(&shown.head);
    unverified(format_args!("{}", output::shell_word(bundle)));
}

fn print_op(shown: &OpInspection, bundle: &Path) {
    let OpView { id, kind, nonce, expires_at, body, submitter, effect, height, block, time: at, index, count, .. } =
        &shown.op;
    row("op", &id.to_string());
    row("kind", &kind.to_string());
    row("body", hex(body));
    if let Some(text) = &shown.op.text {
        row("note", &format!("{text:?}"));
    }
    row("effect", hex(effect));
    row("nonce", nonce);
    row("expires at", &time(*expires_at));
    row("submitter", submitter);
    row("place", &format!("{} of {count} in block {height} of {}", index + 1, time(*at)));
    row("digest", &block.to_string());
    for hash in &shown.result_path {
        row("result path", hash);
    }
    for hash in &shown.block_path {
        row("path", hash);
    }
    print_head_rows(&shown.head);
    unverified(format_args!("--op {id} {}", output::shell_word(bundle)));
}

fn print_evidence(shown: &EvidenceInspection, bundle: &Path) {
    let name = shown.name.as_deref().unwrap_or("no member of this committee");
    row("accused", &format!("{name}, node {}", shown.node_key));
    row("signed", &format!("two {}s for height {}, round {}", shown.what, shown.height, shown.round));
    for (block, signature) in shown.blocks.iter().zip(&shown.signatures) {
        row("for", &block.map_or("no block".to_owned(), |block| format!("block {block}")));
        row("signature", signature);
    }
    row("cluster", &format!("{}, epoch {}", shown.evidence_cluster, shown.epoch));
    row("committee", &format!("{}, of cluster {}", shown.committee, shown.cluster));
    unverified(format_args!("{}", output::shell_word(bundle)));
}

fn print_fork(shown: &ForkInspection, bundle: &Path) {
    let fork = &shown.fork;
    row("cluster", &fork.cluster.to_string());
    row("committee", &format!("{}, epoch {}", fork.committee, fork.epoch));
    for (handoff, certificate) in fork.handoffs.iter().zip(&shown.certificates) {
        row("handoff", &format!("to {}, closing {}, block {}", handoff.next, time(handoff.closing), handoff.height));
        row("log root", &handoff.log_root);
        row("signers", &handoff.signers.to_string());
        row("certificate", certificate);
    }
    for member in &fork.signed_both {
        row("both", &format!("{} node {}", member.name, member.node_key));
    }
    unverified(format_args!("{}", output::shell_word(bundle)));
}
