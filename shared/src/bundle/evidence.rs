//! The bundle of evidence: two conflicting messages of a member, and the committees of its cluster. It has no certificate.

use super::{BundleChain, BundleError, BundleType, ChainText, envelope, open};
use crate::chain::CommitteeChain;
use crate::limits::Limits;
use crate::log::Evidence;

/// Evidence against a member, with what is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceBundle {
    /// The two messages.
    pub evidence: Evidence,
    /// The committees.
    pub chain: BundleChain,
}

impl EvidenceBundle {
    /// The bundle of evidence against a member of a committee of the chain.
    pub fn new(evidence: Evidence, chain: &CommitteeChain) -> Self {
        let chain = BundleChain::new(chain, evidence.epoch());
        Self { evidence, chain }
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        let json = envelope(BundleType::Evidence, "evidence", &self.evidence.encode(), &self.chain);
        format!("{json:#}\n")
    }
}

/// A bundle of evidence whose JSON is parsed, but whose committees are still text.
#[derive(Debug)]
pub(crate) struct EvidenceBundleText {
    pub(crate) evidence: Vec<u8>,
    pub(crate) chain: ChainText,
}

impl EvidenceBundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let mut object = open(text, BundleType::Evidence, limits)?;
        let evidence = object.bytes("evidence")?;
        Ok(Self { evidence, chain: ChainText::read(object)? })
    }
}
