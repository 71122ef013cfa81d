//! The verdict on a bundle, natively and in wasm.
//!
//! Module `signed` checks that a committee signed, in the same way for every kind of statement. Module `stored` checks what a
//! certificate of availability states about a file and about time, module `op` what a certificate of a log head states about an op.
//!
//! A verdict answers three questions in this order: is the certificate genuine, is this the file, is it in force. The
//! certificate's content counts only if it is genuine: otherwise a forged certificate could make a genuine file look wrong.
//! Nothing here reads a clock, a file or the network: the trusted identity, the file's digest and `now` are arguments. The
//! specification lists the checks and their order under "Verification".

mod aggregates;
mod check;
#[cfg(feature = "nodes")]
mod evidence;
mod judgement;
mod log;
mod signed;
mod stored;
mod verdict;

use std::sync::Arc;

use crate::bls::Possession;
#[cfg(feature = "nodes")]
use crate::bundle::EvidenceBundleText;
use crate::bundle::{BlockBundleText, BundleText, GenesisText, OpBundleText, parse_head_bundle};
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::committee::{Committee, CommitteeError, CommitteeRecord};
use crate::digest::{ClusterId, Digest, OpId};
use crate::limits::Limits;
#[cfg(feature = "nodes")]
use crate::log::Evidence;
use crate::log::{Block, OpProof};
use crate::statement::Body;

pub use aggregates::VerifiedAggregates;
pub use check::{Check, VerdictQuestion};
#[cfg(feature = "nodes")]
pub use evidence::ProvenEvidence;
pub use judgement::Judgement;
pub use log::{LogJudgement, LogVerifyOptions};
pub(crate) use signed::check_signers;
pub use signed::{signing_committee, verify_signed};
pub use stored::{verify_certificate, verify_certificate_of_batch};
pub use verdict::{CheckError, ComparedTimes, Invalid, Missing, Verdict};

/// The accepted difference between two clocks, in seconds.
pub const CLOCK_TOLERANCE: u64 = 60;

/// The file that a certificate is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The file's digest.
    pub digest: Digest,
    /// The file's length in bytes, if known.
    pub length: Option<u64>,
}

/// What a verdict depends on, besides the bundle.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// The cluster identity that the user trusts.
    pub cluster: Option<ClusterId>,
    /// The file to compare with.
    pub subject: Option<Subject>,
    /// Seconds since 1970, at most 2^53 − 1. Code that takes it from a user must refuse a larger one.
    pub now: u64,
    /// Accept an expired certificate.
    pub waive_expiry: bool,
}

/// Verifies bundles, and caches the committee of the last one. Verifying a committee costs a pairing for each member; each
/// certificate after that costs one pairing, and hardly more for a large committee than for a small one.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    limits: Limits,
    cache: Option<VerifiedGenesis>,
}

/// A verified committee and its text in the bundle, proofs included. The same committee with other proofs has another text, and
/// must be verified again.
#[derive(Debug, Clone)]
struct VerifiedGenesis {
    text: GenesisText,
    chain: CommitteeChain,
}

/// The genesis of a bundle.
enum BundleGenesis {
    Verified(CommitteeChain),
    Unverified(CommitteeRecord, Vec<Possession>),
}

impl BundleGenesis {
    fn record(&self) -> &CommitteeRecord {
        match self {
            Self::Verified(chain) => chain.current().record(),
            Self::Unverified(record, _) => record,
        }
    }
}

impl Verifier {
    /// A verifier with an empty cache and the specification's limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// A verifier with narrower limits than the specification's.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, cache: None }
    }

    /// The verdict on a bundle.
    pub fn verify(&mut self, bundle: &[u8], options: &VerifyOptions) -> Verdict {
        self.judge(bundle, options).verdict()
    }

    /// Judges a bundle, and answers each of the three questions.
    pub fn judge(&mut self, bundle: &[u8], options: &VerifyOptions) -> Judgement {
        let parsed = BundleText::parse(bundle, &self.limits).map_err(CheckError::from);
        Judgement::new(options, parsed.and_then(|bundle| self.genuine(bundle, options.cluster)))
    }

    /// Judges the bundle of a log head. The second question is whether the log has the height that was asked for.
    pub fn judge_head(&mut self, bundle: &[u8], options: &LogVerifyOptions<u64>) -> LogJudgement<()> {
        let parsed = parse_head_bundle(bundle, &self.limits).map_err(CheckError::from);
        let certificate = parsed.and_then(|bundle| self.genuine(bundle, options.cluster));
        LogJudgement::new(options, certificate, |head| log::check_head(options, head))
    }

    /// Judges the bundle of a block. The second question is whether the log has the block, at the height that was asked for.
    pub fn judge_block(&mut self, bundle: &[u8], options: &LogVerifyOptions<u64>) -> LogJudgement<Block> {
        let (certificate, block, path) = match BlockBundleText::parse(bundle, &self.limits) {
            Err(error) => (Err(error.into()), Vec::new(), Vec::new()),
            Ok(BlockBundleText { block, path, bundle }) => (self.genuine(bundle, options.cluster), block, path),
        };
        LogJudgement::new(options, certificate, |head| log::check_block(options, head, &block, &path))
    }

    /// Judges the bundle of an op. The second question is whether the log has the op that was asked for.
    pub fn judge_op(&mut self, bundle: &[u8], options: &LogVerifyOptions<OpId>) -> LogJudgement<OpProof> {
        let (certificate, proof) = match OpBundleText::parse(bundle, &self.limits) {
            Err(error) => (Err(error.into()), Vec::new()),
            Ok(OpBundleText { proof, bundle }) => (self.genuine(bundle, options.cluster), proof),
        };
        LogJudgement::new(options, certificate, |head| log::check_op(options, head, &proof))
    }

    /// Verifies the bundle of evidence: whether a member of the trusted cluster signed two conflicting messages.
    ///
    /// # Errors
    /// The first check that fails or cannot be made.
    #[cfg(feature = "nodes")]
    pub fn verify_evidence(&self, bundle: &[u8], trusted: Option<ClusterId>) -> Result<ProvenEvidence, CheckError> {
        let EvidenceBundleText { evidence, genesis, epochs } = EvidenceBundleText::parse(bundle, &self.limits)?;
        let genesis = genesis.decode()?;
        let evidence = Evidence::decode(&evidence)?;
        let genesis = self.read_genesis(genesis)?;
        ProvenEvidence::check(evidence, genesis.record(), epochs, trusted)
    }

    /// The checks `certificate` to `signature` of a parsed bundle: all that need no file.
    fn genuine<B: Body>(
        &mut self,
        bundle: BundleText,
        trusted: Option<ClusterId>,
    ) -> Result<Certificate<B>, CheckError> {
        let decode_certificate = || Certificate::decode(&bundle.certificate, &self.limits);
        let (certificate, genesis) = match &self.cache {
            Some(cached) if cached.text == bundle.genesis => {
                (decode_certificate()?, BundleGenesis::Verified(cached.chain.clone()))
            }
            _ => {
                // Decode in the order of the checks: the rest of the bundle, then the certificate, then the committee.
                let decoded = bundle.genesis.decode()?;
                (decode_certificate()?, self.read_genesis(decoded)?)
            }
        };
        let record = genesis.record();
        let expected = trusted.ok_or(Missing::Identity)?;
        let got = record.cluster();
        if got != expected {
            return Err(Invalid::AnotherCluster { expected, got }.into());
        }
        if certificate.epoch > 0 || bundle.epochs > 0 {
            return Err(Missing::LaterEpoch.into());
        }
        let statement = signed::check_signers(&certificate, record)?;
        let chain = match genesis {
            BundleGenesis::Verified(chain) => chain,
            BundleGenesis::Unverified(record, possessions) => {
                let chain = CommitteeChain::new(Arc::new(Committee::genesis(record, possessions)?));
                self.cache = Some(VerifiedGenesis { text: bundle.genesis, chain: chain.clone() });
                chain
            }
        };
        signed::check_aggregate(&certificate, chain.current(), &statement.encode())?;
        Ok(certificate)
    }

    fn read_genesis(
        &self,
        (encoded, possessions): (Vec<u8>, Vec<Possession>),
    ) -> Result<BundleGenesis, CommitteeError> {
        let record = CommitteeRecord::decode(&encoded, &self.limits)?;
        let (expected, got) = (record.members().len(), possessions.len());
        if expected != got {
            return Err(CommitteeError::PossessionCount { expected, got });
        }
        Ok(BundleGenesis::Unverified(record, possessions))
    }
}
