//! Bundles of the log: of its head, of a block and of an op. Each has the certificate of a log head.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::{Bundle, BundleError, BundleText, BundleType, open};
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::limits::Limits;
use crate::log::{Block, OpProof};
use crate::merkle::TreeHash;
use crate::statement::LogHead;

/// The bundle of a log head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadBundle {
    /// The certificate of the log head, with what is needed to check it.
    pub bundle: Bundle,
}

impl HeadBundle {
    /// The bundle of a log head that a committee of the chain signed.
    pub fn new(certificate: &Certificate<LogHead>, chain: &CommitteeChain) -> Self {
        Self { bundle: Bundle::of(certificate, chain) }
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        text(&self.bundle.json(BundleType::LogHead))
    }
}

/// The bundle of a block: a certificate of a log head, with the block and the proof that the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockBundle {
    /// The block.
    pub block: Block,
    /// The path of the block to the log root of the certified head, nearest sibling first.
    pub path: Vec<TreeHash>,
    /// The certificate of the log head, with what is needed to check it.
    pub bundle: Bundle,
}

impl BlockBundle {
    /// The bundle of a block in the log whose head a committee of the chain signed.
    pub fn new(block: Block, path: Vec<TreeHash>, certificate: &Certificate<LogHead>, chain: &CommitteeChain) -> Self {
        Self { block, path, bundle: Bundle::of(certificate, chain) }
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        let path: Vec<u8> = self.path.iter().flat_map(|hash| hash.0).collect();
        let mut json = self.bundle.json(BundleType::LogBlock);
        json["block"] = Base64UrlUnpadded::encode_string(&self.block.encode()).into();
        json["path"] = Base64UrlUnpadded::encode_string(&path).into();
        text(&json)
    }
}

/// The bundle of an op: a certificate of a log head, with a proof that the log has the op.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpBundle {
    /// The proof that the op is in the log.
    pub proof: OpProof,
    /// The certificate of the log head, with what is needed to check it.
    pub bundle: Bundle,
}

impl OpBundle {
    /// The bundle of an op in the log whose head a committee of the chain signed.
    pub fn new(proof: OpProof, certificate: &Certificate<LogHead>, chain: &CommitteeChain) -> Self {
        Self { proof, bundle: Bundle::of(certificate, chain) }
    }

    /// The JSON text, ending with a line feed.
    pub fn to_json(&self) -> String {
        let mut json = self.bundle.json(BundleType::Op);
        json["proof"] = Base64UrlUnpadded::encode_string(&self.proof.encode()).into();
        text(&json)
    }
}

fn text(json: &Value) -> String {
    format!("{json:#}\n")
}

/// Parses the bundle of a log head, but not its committee.
pub(crate) fn parse_head_bundle(text: &[u8], limits: &Limits) -> Result<BundleText, BundleError> {
    BundleText::read(open(text, BundleType::LogHead, limits)?)
}

/// As [`BundleText`], with the encoded block and its path.
#[derive(Debug)]
pub(crate) struct BlockBundleText {
    pub(crate) block: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) bundle: BundleText,
}

impl BlockBundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let mut object = open(text, BundleType::LogBlock, limits)?;
        let (block, path) = (object.bytes("block")?, object.bytes("path")?);
        Ok(Self { block, path, bundle: BundleText::read(object)? })
    }
}

/// As [`BundleText`], with the encoded proof of an op.
#[derive(Debug)]
pub(crate) struct OpBundleText {
    pub(crate) proof: Vec<u8>,
    pub(crate) bundle: BundleText,
}

impl OpBundleText {
    pub(crate) fn parse(text: &[u8], limits: &Limits) -> Result<Self, BundleError> {
        let mut object = open(text, BundleType::Op, limits)?;
        let proof = object.bytes("proof")?;
        Ok(Self { proof, bundle: BundleText::read(object)? })
    }
}
