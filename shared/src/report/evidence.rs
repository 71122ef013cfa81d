//! The report of a verdict on evidence.

use serde::Serialize;

use super::{ReasonedAnswer, Report};
use crate::bundle::BundleType;
use crate::digest::ClusterId;
use crate::verify::{Check, EvidenceJudgement, ProvenEvidence};

/// A verdict on evidence, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceReport {
    /// The verdict and its checks. Only the question `genuine` is asked.
    #[serde(flatten)]
    pub report: Report,
    /// What was proved; `None` unless the verdict is VALID.
    pub evidence: Option<EvidenceView>,
}

/// What a member did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceView {
    /// The accused member's index in the committee, from 0.
    pub member: u16,
    /// The member's name.
    pub name: String,
    /// The member's node key, base58.
    pub node_key: String,
    /// The kind of both messages: `prevote`, `precommit` or `proposal`.
    pub what: &'static str,
    /// The height that both messages are for.
    pub height: u64,
    /// The round that both messages are for.
    pub round: u32,
    /// The epoch.
    pub epoch: u64,
    /// The cluster identity.
    pub cluster: ClusterId,
}

impl EvidenceReport {
    /// The report of a judgement.
    pub fn new(judgement: &EvidenceJudgement) -> Self {
        let verified = judgement.proven();
        let evidence = verified.ok().map(EvidenceView::new);
        let genuine = match verified {
            Ok(proven) => ReasonedAnswer::yes(format!(
                "member {} signed two messages of the log that exclude each other",
                proven.position()
            )),
            Err(error) => error.into(),
        };
        let unasked = || ReasonedAnswer::not("evidence is about no file, and does not expire");
        let errors = [verified.err(), None, None];
        let answers = [genuine, unasked(), unasked()];
        let is_waived = |name| !judgement.is_chain_checked() && matches!(name, Check::Possession | Check::Chain);
        let report = Report::of(BundleType::Evidence, errors, answers, &[&Check::OF_EVIDENCE], None, is_waived);
        Self { report, evidence }
    }
}

impl EvidenceView {
    fn new(proven: &ProvenEvidence) -> Self {
        let evidence = proven.evidence();
        Self {
            member: proven.position(),
            name: proven.name().to_string(),
            node_key: evidence.member().to_string(),
            what: evidence.what(),
            height: evidence.height(),
            round: evidence.round(),
            epoch: evidence.epoch(),
            cluster: evidence.cluster(),
        }
    }
}
