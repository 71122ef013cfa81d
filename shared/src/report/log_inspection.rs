//! What the bundles of the log state. None of it is verified.

use serde::Serialize;

use super::{BlockOpView, MemberView, OpView, hex, members, quorum_of, stated_committee};
use crate::bundle::{BlockBundleText, BundleText, BundleType, EvidenceBundleText, OpBundleText, parse_head_bundle};
use crate::certificate::Certificate;
use crate::digest::{BlockDigest, ClusterId, CommitteeDigest};
use crate::limits::Limits;
use crate::log::{Block, Evidence, OpProof};
use crate::quorum;
use crate::statement::{Body, LogHead};
use crate::verify::{BundleCommittees, CheckError, Verdict};

/// Everything that the bundle of a log head states, and a part of what the bundles of a block and of an op state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeadInspection {
    /// The media type of the bundle.
    #[serde(rename = "type")]
    pub media_type: &'static str,
    /// The cluster identity that the bundle claims.
    pub cluster: ClusterId,
    /// The committee's epoch.
    pub epoch: u64,
    /// The committee's digest.
    pub committee: CommitteeDigest,
    /// The kind of statement.
    pub kind: &'static str,
    /// The height of the newest block that the head covers.
    pub head_height: u64,
    /// The digest of that block.
    pub head_block: BlockDigest,
    /// The time of that block, seconds since 1970.
    pub head_time: u64,
    /// The root over the digests of the blocks up to it, hex.
    pub log_root: String,
    /// Indices of the members that signed.
    pub signers: Vec<u16>,
    /// Number of signers needed.
    pub quorum: u16,
    /// Number of faulty members tolerated.
    pub tolerated_faults: u16,
    /// Every member.
    pub members: Vec<MemberView>,
    /// The statement's identity, hex.
    pub statement: String,
    /// The aggregate signature, hex.
    pub signature: String,
    /// The certificate's bytes, hex.
    pub certificate: String,
}

/// Everything that the bundle of a block states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockInspection {
    /// The log head.
    #[serde(flatten)]
    pub head: HeadInspection,
    /// The block.
    pub block: BlockHeaderView,
    /// The path of the block to the log root, hex, nearest sibling first.
    pub block_path: Vec<String>,
    /// The ops, in their order.
    pub ops: Vec<BlockOpView>,
}

/// The header of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockHeaderView {
    /// The cluster identity.
    pub cluster: ClusterId,
    /// The epoch.
    pub epoch: u64,
    /// The height.
    pub height: u64,
    /// The digest of the block.
    pub digest: BlockDigest,
    /// The digest of the block before.
    pub parent: BlockDigest,
    /// The node key of the member that made the block, base58.
    pub author: String,
    /// Seconds since 1970.
    pub time: u64,
    /// The root over the results of the ops, hex.
    pub results: String,
    /// The digest of the state after the block, hex.
    pub state: String,
}

/// Everything that the bundle of an op states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpInspection {
    /// The log head.
    #[serde(flatten)]
    pub head: HeadInspection,
    /// The op, with its place in the log.
    pub op: OpView,
    /// The path of the result to the results root of the block, hex, nearest sibling first.
    pub result_path: Vec<String>,
    /// The path of the block to the log root, hex, nearest sibling first.
    pub block_path: Vec<String>,
}

/// Everything that a bundle of evidence states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EvidenceInspection {
    /// The media type of the bundle.
    #[serde(rename = "type")]
    pub media_type: &'static str,
    /// The cluster identity that the committee in the bundle claims.
    pub cluster: ClusterId,
    /// The committee's digest.
    pub committee: CommitteeDigest,
    /// The cluster identity in the evidence.
    pub evidence_cluster: ClusterId,
    /// The epoch in the evidence.
    pub epoch: u64,
    /// The accused member's node key, base58.
    pub node_key: String,
    /// The accused member's index in the committee, from 0. `None`: it is not in this committee.
    pub member: Option<u16>,
    /// The accused member's name in the committee.
    pub name: Option<String>,
    /// The kind of both messages: `prevote`, `precommit` or `proposal`.
    pub what: &'static str,
    /// The height that both messages are for.
    pub height: u64,
    /// The round that both messages are for.
    pub round: u32,
    /// The blocks of the two messages, in their order. `None`: a vote for no block.
    pub blocks: [Option<BlockDigest>; 2],
    /// The signatures of the two messages, hex.
    pub signatures: [String; 2],
}

impl HeadInspection {
    /// Reads the bundle of a log head without judging it.
    ///
    /// # Errors
    /// The verdict, INVALID or CANNOT CHECK, if the bundle is not well formed or has an unknown format.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        let read = || {
            let bundle = parse_head_bundle(text, &Limits::default())?;
            Ok(Self::of(BundleType::LogHead, bundle)?.0)
        };
        read().map_err(|error: CheckError| error.into())
    }

    fn of(bundle_type: BundleType, bundle: BundleText) -> Result<(Self, Certificate<LogHead>), CheckError> {
        let limits = Limits::default();
        let certificate: Certificate<LogHead> = Certificate::decode(&bundle.certificate, &limits)?;
        let committees = BundleCommittees::stated(bundle.chain, &limits)?;
        let record = stated_committee(&committees, certificate.epoch);
        let LogHead { height, block, log_root, time } = certificate.claim;
        let statement = certificate.statement(record).map(|statement| hex(&statement.id().0));
        let shown = Self {
            media_type: bundle_type.media_type(),
            cluster: record.cluster(),
            epoch: certificate.epoch,
            committee: certificate.committee,
            kind: LogHead::NAME,
            head_height: height,
            head_block: block,
            head_time: time,
            log_root: log_root.to_string(),
            signers: certificate.signers.iter().collect(),
            quorum: quorum_of(&certificate, record.n()),
            tolerated_faults: quorum::tolerated_faults(record.n()),
            members: members(record, &certificate.signers),
            statement: statement.unwrap_or_default(),
            signature: hex(&certificate.signature.0),
            certificate: hex(&certificate.encode()),
        };
        Ok((shown, certificate))
    }
}

impl BlockInspection {
    /// As [`HeadInspection::of_bundle`], for a block.
    ///
    /// # Errors
    /// The verdict.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        Self::read(text).map_err(Verdict::from)
    }

    fn read(text: &[u8]) -> Result<Self, CheckError> {
        let BlockBundleText { block, path, bundle } = BlockBundleText::parse(text, &Limits::default())?;
        let (head, _) = HeadInspection::of(BundleType::LogBlock, bundle)?;
        let block = Block::decode(&block)?;
        let header = block.header();
        let view = BlockHeaderView {
            cluster: header.cluster,
            epoch: header.epoch,
            height: header.height,
            digest: block.digest(),
            parent: header.parent,
            author: header.author.to_string(),
            time: header.time,
            results: header.results.to_string(),
            state: hex(&header.state.0),
        };
        let ops = block.ops().iter().map(|op| BlockOpView::new(op, &header.cluster)).collect();
        let block_path = crate::log::read_log_path(&mut crate::codec::Reader::new(&path))?;
        let block_path = block_path.iter().map(ToString::to_string).collect();
        Ok(Self { head, block: view, block_path, ops })
    }
}

impl OpInspection {
    /// As [`HeadInspection::of_bundle`], for an op.
    ///
    /// # Errors
    /// The verdict.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        Self::read(text).map_err(Verdict::from)
    }

    fn read(text: &[u8]) -> Result<Self, CheckError> {
        let OpBundleText { proof, bundle } = OpBundleText::parse(text, &Limits::default())?;
        let (head, certificate) = HeadInspection::of(BundleType::Op, bundle)?;
        let proof = OpProof::decode(&proof)?;
        let texts = |path: &[crate::merkle::TreeHash]| path.iter().map(ToString::to_string).collect();
        let (result_path, block_path) = (texts(&proof.result_path), texts(&proof.block_path));
        Ok(Self { head, op: OpView::new(&proof, &certificate), result_path, block_path })
    }
}

impl EvidenceInspection {
    /// As [`HeadInspection::of_bundle`], for evidence.
    ///
    /// # Errors
    /// The verdict.
    pub fn of_bundle(text: &[u8]) -> Result<Self, Verdict> {
        Self::read(text).map_err(Verdict::from)
    }

    fn read(text: &[u8]) -> Result<Self, CheckError> {
        let limits = Limits::default();
        let EvidenceBundleText { evidence, chain } = EvidenceBundleText::parse(text, &limits)?;
        let committees = BundleCommittees::stated(chain, &limits)?;
        let evidence = Evidence::decode(&evidence)?;
        let record = stated_committee(&committees, evidence.epoch());
        let member = record.position(&evidence.member());
        let [first, second] = evidence.messages();
        Ok(Self {
            media_type: BundleType::Evidence.media_type(),
            cluster: record.cluster(),
            committee: record.digest(),
            evidence_cluster: evidence.cluster(),
            epoch: evidence.epoch(),
            node_key: evidence.member().to_string(),
            member,
            name: member.map(|member| record.name(member)),
            what: evidence.what(),
            height: evidence.height(),
            round: evidence.round(),
            blocks: [first.0, second.0],
            signatures: [hex(&first.1.0), hex(&second.1.0)],
        })
    }
}
