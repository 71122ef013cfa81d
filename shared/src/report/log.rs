//! The reports of verdicts on a log head and on a block.

use serde::Serialize;

use super::{ReasonedAnswer, Report, hex, not_genuine, signed_by};
use crate::bundle::BundleType;
use crate::certificate::Certificate;
use crate::digest::{BlockDigest, ClusterId, OpId};
use crate::log::{Block, SignedOp};
use crate::statement::LogHead;
use crate::verify::{Check, CheckError, LogJudgement, Standing};

/// A verdict on a log head, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadReport {
    /// The verdict and its checks. The question `matches` is whether the log reaches the height that was asked for.
    #[serde(flatten)]
    pub report: Report,
    /// The head; `None` unless the verdict is VALID.
    pub head: Option<HeadView>,
}

/// A log head that a quorum certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadView {
    /// The height of the newest block that the head covers.
    pub height: u64,
    /// The digest of that block.
    pub block: BlockDigest,
    /// The root over the digests of the blocks up to it, hex.
    pub log_root: String,
    /// The block's time, seconds since 1970.
    pub time: u64,
    /// The seconds from the block's time to the time of the verdict; 0 if the block's is later.
    pub age: u64,
    /// The cluster identity.
    pub cluster: ClusterId,
    /// Number of members that signed the head.
    pub signers: u16,
    /// Number of members.
    pub members: u16,
}

impl HeadReport {
    /// The report of a judgement on a log head.
    pub fn new(judgement: &LogJudgement<()>) -> Self {
        let yes = |()| match judgement.is_asked() {
            true => ReasonedAnswer::yes("the log has this height or a greater one".into()),
            false => ReasonedAnswer::not("no height was asked for"),
        };
        let in_force = ReasonedAnswer::yes("the log had this head; it may have grown since".into());
        let report = report_of_log(judgement, BundleType::LogHead, |&()| yes(()), in_force);
        let view = |certificate, cluster| HeadView::new(certificate, cluster, judgement.now());
        let head = judgement
            .proved()
            .ok()
            .zip(judgement.cluster())
            .map(|((_, certificate), cluster)| view(certificate, cluster));
        Self { report, head }
    }
}

impl HeadView {
    fn new(certificate: &Certificate<LogHead>, cluster: ClusterId, now: u64) -> Self {
        let LogHead { height, block, log_root, time } = certificate.claim;
        Self {
            height,
            block,
            log_root: log_root.to_string(),
            time,
            age: now.saturating_sub(time),
            cluster,
            signers: certificate.signers.count(),
            members: certificate.signers.n(),
        }
    }
}

/// A verdict on a block, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockReport {
    /// The verdict and its checks. The question `matches` is whether the log has the block.
    #[serde(flatten)]
    pub report: Report,
    /// The block; `None` unless the verdict is VALID.
    pub block: Option<BlockView>,
}

/// A block that the log has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockView {
    /// The block's height.
    pub height: u64,
    /// The block's digest.
    pub digest: BlockDigest,
    /// The digest of the block before.
    pub parent: BlockDigest,
    /// The node key of the member that made the block, base58.
    pub author: String,
    /// The block's time, seconds since 1970.
    pub time: u64,
    /// The seconds from the block's time to the time of the verdict; 0 if the block's is later.
    pub age: u64,
    /// The ops, in their order.
    pub ops: Vec<BlockOpView>,
    /// The height of the certified log head.
    pub head_height: u64,
    /// The time of the certified log head, seconds since 1970.
    pub head_time: u64,
    /// The cluster identity.
    pub cluster: ClusterId,
    /// Number of members that signed the log head.
    pub signers: u16,
    /// Number of members.
    pub members: u16,
}

/// An op of a block. Its effect is not in the block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockOpView {
    /// The op's identity.
    pub id: OpId,
    /// The op's kind.
    pub kind: u16,
    /// The op's body, hex.
    pub body: String,
    /// The body as text, if the op is a note and its body is UTF-8. Its author chose it: show it as text, never as markup.
    pub text: Option<String>,
    /// The node key of the member that submitted the op, base58.
    pub submitter: String,
}

impl BlockReport {
    /// The report of a judgement on a block.
    pub fn new(judgement: &LogJudgement<Block>) -> Self {
        let yes = |block: &Block| ReasonedAnswer::yes(format!("it is block {} of the log", block.header().height));
        let report = report_of_log(judgement, BundleType::LogBlock, yes, stays_in_the_log("a block"));
        let view = |(block, certificate)| BlockView::new(block, certificate, judgement.now());
        Self { report, block: judgement.proved().ok().map(view) }
    }
}

impl BlockView {
    fn new(block: &Block, certificate: &Certificate<LogHead>, now: u64) -> Self {
        let header = block.header();
        Self {
            height: header.height,
            digest: block.digest(),
            parent: header.parent,
            author: header.author.to_string(),
            time: header.time,
            age: now.saturating_sub(header.time),
            ops: block.ops().iter().map(|op| BlockOpView::new(op, &header.cluster)).collect(),
            head_height: certificate.claim.height,
            head_time: certificate.claim.time,
            cluster: header.cluster,
            signers: certificate.signers.count(),
            members: certificate.signers.n(),
        }
    }
}

impl BlockOpView {
    pub(super) fn new(SignedOp { op, submitter, .. }: &SignedOp, cluster: &ClusterId) -> Self {
        Self {
            id: op.id(cluster),
            kind: op.kind(),
            body: hex(op.body()),
            text: op.text_of_note(op.body()),
            submitter: submitter.to_string(),
        }
    }
}

/// The third answer about what is in the log.
pub(super) fn stays_in_the_log(what: &str) -> ReasonedAnswer {
    ReasonedAnswer::yes(format!("{what} stays in the log for ever"))
}

/// The report of a judgement on a bundle of the log, of this type. `matches` and `in_force` are the answers if no check stops them.
pub(super) fn report_of_log<T>(
    judgement: &LogJudgement<T>,
    bundle_type: BundleType,
    matches: impl FnOnce(&T) -> ReasonedAnswer,
    in_force: ReasonedAnswer,
) -> Report {
    let genuine = judgement.genuine();
    let matches = judgement.matches().map(|found| found.map(matches));
    let not_in_force = judgement.in_force().and_then(Result::err);
    let asked = (judgement.is_asked(), judgement.standing());
    report_of_answers(bundle_type, genuine, matches, not_in_force, in_force, asked)
}

/// As [`report_of_log`], whatever was judged: this code exists once in a module for browsers.
fn report_of_answers(
    bundle_type: BundleType,
    genuine: Result<&Certificate<LogHead>, &CheckError>,
    matches: Option<Result<ReasonedAnswer, &CheckError>>,
    not_in_force: Option<&CheckError>,
    in_force: ReasonedAnswer,
    (is_asked, standing): (bool, Option<&Standing>),
) -> Report {
    let (answers, mismatch) = match (genuine, matches) {
        (Err(error), _) => (not_genuine(error), None),
        (Ok(certificate), matches) => {
            let (matches, mismatch) = match matches {
                Some(Ok(matches)) => (matches, None),
                Some(Err(error)) => (ReasonedAnswer::from(error), Some(error)),
                None => (ReasonedAnswer::not("it was not looked for"), None),
            };
            let in_force = not_in_force.map_or(in_force, ReasonedAnswer::from);
            ([signed_by(certificate), matches, in_force], mismatch)
        }
    };
    let errors = [genuine.err(), mismatch, not_in_force];
    let checks: &[Check] = match bundle_type {
        BundleType::LogHead => &Check::OF_LOG_HEAD,
        BundleType::LogBlock => &Check::OF_LOG_BLOCK,
        _ => &Check::OF_OP,
    };
    // Waived if the user asked for nothing in particular.
    let is_waived = |name| !is_asked && matches!(name, Check::Op | Check::Height);
    Report::of(bundle_type, errors, answers, &[&Check::OF_CERTIFICATE, checks], standing, is_waived)
}
