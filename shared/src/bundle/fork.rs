//! The bundle of a fork: two handoffs of one committee, and the committees up to it.

use base64ct::{Base64UrlUnpadded, Encoding};

use super::{BundleChain, BundleError, BundleType, ChainText, envelope, open};
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::limits::Limits;
use crate::statement::Handoff;

/// Two handoffs that one committee signed, with what is needed to check them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkBundle {
    /// The two certificates.
    pub handoffs: [Certificate<Handoff>; 2],
    /// The committees, up to the one that signed both.
    pub chain: BundleChain,
}

impl ForkBundle {
    /// The bundle of two handoffs of a committee of the chain.
    pub fn new(handoffs: [Certificate<Handoff>; 2], chain: &CommitteeChain) -> Self {
        let chain = BundleChain::new(chain, handoffs[0].epoch);
        Self { handoffs, chain }
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        let [first, second] = self.handoffs.each_ref().map(Certificate::encode);
        let mut json = envelope(BundleType::Fork, "first", &first, &self.chain);
        json["second"] = Base64UrlUnpadded::encode_string(&second).into();
        format!("{json:#}\n")
    }
}

/// The bundle of a fork whose JSON is parsed, but whose first committee is still text.
#[derive(Debug)]
pub(crate) struct ForkBundleText {
    pub(crate) handoffs: [Vec<u8>; 2],
    pub(crate) chain: ChainText,
}

impl ForkBundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let mut object = open(text, BundleType::Fork, limits)?;
        let handoffs = [object.bytes("first")?, object.bytes("second")?];
        Ok(Self { handoffs, chain: ChainText::read(object)? })
    }
}

/// Parses the committees of a bundle of any type.
pub(crate) fn parse_chain(text: &[u8], limits: &Limits) -> Result<ChainText, BundleError> {
    Ok(match BundleType::of(text, limits) {
        Some(BundleType::Op) => super::OpBundleText::parse(text, limits)?.bundle.chain,
        Some(BundleType::LogHead) => super::parse_head_bundle(text, limits)?.chain,
        Some(BundleType::LogBlock) => super::BlockBundleText::parse(text, limits)?.bundle.chain,
        Some(BundleType::Evidence) => super::EvidenceBundleText::parse(text, limits)?.chain,
        Some(BundleType::Fork) => ForkBundleText::parse(text, limits)?.chain,
        Some(BundleType::File) | None => super::BundleText::parse(text, limits)?.chain,
    })
}
