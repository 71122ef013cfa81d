//! The report of a verdict on a fork.

use serde::Serialize;

use super::{ReasonedAnswer, Report, hex, stated_committee};
use crate::bundle::BundleType;
use crate::certificate::Certificate;
use crate::committee::CommitteeRecord;
use crate::digest::{ClusterId, CommitteeDigest};
use crate::limits::Limits;
use crate::statement::Handoff;
use crate::verify::{Check, CheckError, ProvenFork, Verdict, read_fork};

/// A verdict on a fork, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkReport {
    /// The verdict and its checks. Only the question `genuine` is asked.
    #[serde(flatten)]
    pub report: Report,
    /// What was proved; `None` unless the verdict is VALID.
    pub fork: Option<ForkView>,
}

/// What a committee did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkView {
    /// The cluster identity.
    pub cluster: ClusterId,
    /// The epoch of the committee that handed over twice.
    pub epoch: u64,
    /// Its digest.
    pub committee: CommitteeDigest,
    /// The two handoffs.
    pub handoffs: [HandoffView; 2],
    /// The members that signed both.
    pub signed_both: Vec<ForkMember>,
}

/// One of the two handoffs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandoffView {
    /// The committee that it hands over to.
    pub next: CommitteeDigest,
    /// The closing, seconds since 1970.
    pub closing: u64,
    /// The height of the block that decided it.
    pub height: u64,
    /// The log root up to that block, hex.
    pub log_root: String,
    /// Number of members that signed.
    pub signers: u16,
}

/// A member that signed both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkMember {
    /// The member's index in the committee, from 0.
    pub member: u16,
    /// The member's name.
    pub name: String,
    /// The member's node key, base58.
    pub node_key: String,
}

impl ForkReport {
    /// The report of a verification.
    pub fn new(verified: &Result<ProvenFork, CheckError>) -> Self {
        let fork = verified.as_ref().map(ForkView::new);
        let genuine = match &fork {
            Err(error) => (*error).into(),
            Ok(ForkView { epoch, signed_both, .. }) => ReasonedAnswer::yes(format!(
                "the committee of epoch {epoch} signed two handoffs, and {} of its members signed both",
                signed_both.len()
            )),
        };
        let unasked = || ReasonedAnswer::not("a fork is about no file, and does not expire");
        let errors = [verified.as_ref().err(), None, None];
        let answers = [genuine, unasked(), unasked()];
        let report = Report::of(BundleType::Fork, errors, answers, &[&Check::OF_FORK], None, |_| false);
        Self { report, fork: fork.ok() }
    }
}

/// What the bundle of a fork states. None of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkInspection {
    /// The media type of the bundle.
    #[serde(rename = "type")]
    pub media_type: &'static str,
    /// The two handoffs, and who is said to have signed both.
    #[serde(flatten)]
    pub fork: ForkView,
    /// The bytes of the two certificates, hex.
    pub certificates: [String; 2],
}

impl ForkInspection {
    /// Reads the bundle of a fork without judging it.
    ///
    /// # Errors
    /// The verdict, INVALID or CANNOT CHECK, if the bundle is not well formed or has an unknown format.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        let (handoffs, committees) = read_fork(text, &Limits::default()).map_err(Verdict::from)?;
        let fork = ForkView::of(&handoffs, stated_committee(&committees, handoffs[0].epoch));
        let certificates = handoffs.map(|handoff| hex(&handoff.encode()));
        Ok(Self { media_type: BundleType::Fork.media_type(), fork, certificates })
    }
}

impl ForkView {
    fn new(proven: &ProvenFork) -> Self {
        Self::of(proven.handoffs(), proven.committee())
    }

    fn of(handoffs: &[Certificate<Handoff>; 2], committee: &CommitteeRecord) -> Self {
        let [first, second] = handoffs;
        let both = first.signers.iter().filter(|member| second.signers.contains(*member));
        let handoffs = handoffs.each_ref().map(|handoff| HandoffView {
            next: handoff.claim.next,
            closing: handoff.claim.closing,
            height: handoff.claim.height,
            log_root: handoff.claim.log_root.to_string(),
            signers: handoff.signers.count(),
        });
        let member = |member| ForkMember {
            member,
            name: committee.name(member),
            node_key: committee.member(member).map(|member| member.node_key.to_string()).unwrap_or_default(),
        };
        Self {
            cluster: committee.cluster(),
            epoch: committee.epoch(),
            committee: committee.digest(),
            handoffs,
            signed_both: both.map(member).collect(),
        }
    }
}
