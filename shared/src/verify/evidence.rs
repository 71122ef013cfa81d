//! The checks of evidence: are the committees those of the trusted cluster, and did a member of one of them sign both messages?

use super::committees::BundleCommittees;
use super::{CheckError, Invalid, Missing, Trust};
use crate::committee::MemberName;
use crate::log::{Evidence, EvidenceError};

/// Evidence that was verified: this member signed two messages that an honest member never both signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEvidence {
    evidence: Evidence,
    position: u16,
    name: MemberName,
}

/// The result of a verification of evidence.
#[derive(Debug, Clone)]
pub struct EvidenceJudgement {
    proven: Result<ProvenEvidence, CheckError>,
    is_chain_checked: bool,
}

impl EvidenceJudgement {
    pub(super) fn new(proven: Result<ProvenEvidence, CheckError>, is_chain_checked: bool) -> Self {
        Self { proven, is_chain_checked }
    }

    /// The evidence, if it holds.
    ///
    /// # Errors
    /// The first check that fails or cannot be made.
    pub fn proven(&self) -> Result<&ProvenEvidence, &CheckError> {
        self.proven.as_ref()
    }

    /// Whether the checks `possession` and `chain` were due.
    pub fn is_chain_checked(&self) -> bool {
        self.is_chain_checked
    }
}

/// Whether the committees must be verified as a chain. The messages are signed with node keys: where there is only a genesis, which the identity
/// fixes, a bad proof of possession must not shield the member.
pub(super) fn needs_chain(committees: &BundleCommittees, trust: &Trust) -> bool {
    committees.has_later() || trust.checkpoint.is_some()
}

impl ProvenEvidence {
    /// The checks `identity` to `conflict`.
    pub(super) fn check(evidence: Evidence, committees: BundleCommittees, trust: &Trust) -> Result<Self, CheckError> {
        let expected = trust.cluster.ok_or(Missing::Identity)?;
        let all = [committees.first().cluster(), evidence.cluster()];
        if let Some(got) = all.into_iter().find(|got| *got != expected) {
            return Err(Invalid::Accusation(EvidenceError::AnotherCluster { expected, got }).into());
        }
        let record = committees.of_evidence(evidence.epoch()).cloned();
        if needs_chain(&committees, trust) {
            committees.verify(trust)?;
        }
        let record = record?;
        let position = evidence.verify(&record).map_err(Invalid::Accusation)?;
        // Evidence that verifies is against a member.
        let name =
            record.member(position).ok_or(Invalid::Accusation(EvidenceError::NotAMember(evidence.member())))?.name;
        Ok(Self { evidence, position, name })
    }

    /// The two messages.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The accused member's index in the committee.
    pub fn position(&self) -> u16 {
        self.position
    }

    /// The accused member's name.
    pub fn name(&self) -> &MemberName {
        &self.name
    }
}
