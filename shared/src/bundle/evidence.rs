//! The bundle of evidence: two conflicting messages of a member, and the committee that it is a member of. It has no certificate.

use super::{BundleError, BundleType, GenesisText, envelope, open};
use crate::bls::Possession;
use crate::committee::Committee;
use crate::limits::Limits;
use crate::log::Evidence;

/// Evidence against a member, with what is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceBundle {
    /// The two messages.
    pub evidence: Evidence,
    /// The encoded genesis committee.
    pub genesis: Vec<u8>,
    /// Proofs of possession, one for each genesis member.
    pub possessions: Vec<Possession>,
}

impl EvidenceBundle {
    /// The bundle of evidence against a member of a genesis committee.
    pub fn new(evidence: Evidence, committee: &Committee) -> Self {
        Self { evidence, genesis: committee.record().encode(), possessions: committee.possessions().to_vec() }
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        let evidence = self.evidence.encode();
        let json = envelope(BundleType::Evidence, "evidence", &evidence, &self.genesis, &self.possessions);
        format!("{json:#}\n")
    }
}

/// A bundle of evidence whose JSON is parsed, but whose committee is still text.
#[derive(Debug)]
pub(crate) struct EvidenceBundleText {
    pub(crate) evidence: Vec<u8>,
    pub(crate) genesis: GenesisText,
    pub(crate) epochs: usize,
}

impl EvidenceBundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let mut object = open(text, BundleType::Evidence, limits)?;
        let evidence = object.bytes("evidence")?;
        let (genesis, epochs) = GenesisText::read(object)?;
        Ok(Self { evidence, genesis, epochs })
    }
}
