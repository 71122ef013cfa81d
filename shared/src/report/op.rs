//! The report of a verdict on an op.

use serde::Serialize;

use super::log::{report_of_log, stays_in_the_log};
use super::{ReasonedAnswer, Report, hex};
use crate::bundle::BundleType;
use crate::certificate::Certificate;
use crate::digest::{BlockDigest, ClusterId, OpId};
use crate::log::OpProof;
use crate::statement::LogHead;
use crate::verify::LogJudgement;

/// A verdict on an op, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpReport {
    /// The verdict and its checks. The question `matches` is whether the log has the op.
    #[serde(flatten)]
    pub report: Report,
    /// What was proved; `None` unless the verdict is VALID.
    pub op: Option<OpView>,
}

/// An op with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpView {
    /// The op's identity.
    pub id: OpId,
    /// The op's identity in hex.
    pub id_hex: String,
    /// The op's kind.
    pub kind: u16,
    /// The op's nonce, hex.
    pub nonce: String,
    /// Seconds since 1970, after which no block could contain the op.
    pub expires_at: u64,
    /// The op's body, hex.
    pub body: String,
    /// The body as text, if the op is a note and its body is UTF-8. Its author chose it: show it as text, never as markup.
    pub text: Option<String>,
    /// The node key of the member that submitted the op, base58.
    pub submitter: String,
    /// What the op did, hex.
    pub effect: String,
    /// The effect as text, if the op is a note.
    pub effect_text: Option<String>,
    /// The height of the block.
    pub height: u64,
    /// The digest of the block.
    pub block: BlockDigest,
    /// The block's time, seconds since 1970.
    pub time: u64,
    /// The op's index in the block, from 0.
    pub index: u32,
    /// The number of ops in the block.
    pub count: u32,
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

impl OpReport {
    /// The report of a judgement on an op.
    pub fn new(judgement: &LogJudgement<OpProof>) -> Self {
        let yes = |proof: &OpProof| {
            let OpProof { index, block, .. } = proof;
            ReasonedAnswer::yes(format!(
                "it is op {} of the {} in block {} of the log",
                index + 1,
                block.count,
                block.height
            ))
        };
        let report = report_of_log(judgement, BundleType::Op, yes, stays_in_the_log("an op"));
        let op = judgement.proved().ok().map(|(proof, certificate)| OpView::new(proof, certificate));
        Self { report, op }
    }
}

impl OpView {
    pub(super) fn new(proof: &OpProof, certificate: &Certificate<LogHead>) -> Self {
        let (block, op, head) = (&proof.block, &proof.op, &certificate.claim);
        let id = op.id(&block.cluster);
        Self {
            id,
            id_hex: id.to_hex(),
            kind: op.kind(),
            nonce: hex(op.nonce()),
            expires_at: op.expires_at(),
            body: hex(op.body()),
            text: op.text_of_note(op.body()),
            submitter: proof.submitter.to_string(),
            effect: hex(proof.effect.bytes()),
            effect_text: op.text_of_note(proof.effect.bytes()),
            height: block.height,
            block: block.digest(),
            time: block.time,
            index: proof.index,
            count: block.count,
            head_height: head.height,
            head_time: head.time,
            cluster: block.cluster,
            signers: certificate.signers.count(),
            members: certificate.signers.n(),
        }
    }
}
