//! The checks of evidence: is the committee that of the trusted cluster, and did a member of it sign both messages?

use super::committees::BundleCommittees;
use super::{CheckError, Invalid, Missing};
use crate::committee::MemberName;
use crate::digest::ClusterId;
use crate::log::{Evidence, EvidenceError};

/// Evidence that was verified: this member signed two messages that an honest member never both signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEvidence {
    evidence: Evidence,
    position: u16,
    name: MemberName,
}

impl ProvenEvidence {
    /// The checks `identity`, `accused` and `conflict`. Proofs of possession are not checked: the messages are signed with node keys, and a
    /// bad proof must not shield the member.
    pub(super) fn check(
        evidence: Evidence,
        committees: &BundleCommittees,
        trusted: Option<ClusterId>,
    ) -> Result<Self, CheckError> {
        let expected = trusted.ok_or(Missing::Identity)?;
        let record = committees.first();
        if let Some(got) = [record.cluster(), evidence.cluster()].into_iter().find(|got| *got != expected) {
            return Err(Invalid::Accusation(EvidenceError::AnotherCluster { expected, got }).into());
        }
        if evidence.epoch() > 0 || committees.has_later() {
            return Err(Missing::EvidenceOfLaterEpoch.into());
        }
        let position = evidence.verify(record).map_err(Invalid::Accusation)?;
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
