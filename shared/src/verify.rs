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
mod committees;
#[cfg(feature = "nodes")]
mod evidence;
#[cfg(feature = "nodes")]
mod fork;
mod judgement;
mod log;
mod signed;
mod standing;
mod stored;
mod verdict;

use std::sync::Arc;

pub(crate) use self::committees::BundleCommittees;
use self::committees::{UndecodedStart, VerifiedCommittees};
use self::standing::{OfEpoch, check_seal};
use crate::bundle::{BlockBundleText, BundleError, BundleText, ChainText, OpBundleText, parse_head_bundle};
#[cfg(feature = "nodes")]
use crate::bundle::{EvidenceBundleText, ForkBundleText, parse_chain};
use crate::certificate::Certificate;
#[cfg(feature = "nodes")]
use crate::certificate::CertificateError;
use crate::chain::{Checkpoint, CommitteeChain};
use crate::committee::Committee;
use crate::digest::{ClusterId, Digest, OpId};
use crate::limits::Limits;
#[cfg(feature = "nodes")]
use crate::log::Evidence;
use crate::log::{Block, OpProof};
#[cfg(feature = "nodes")]
use crate::statement::Handoff;
use crate::statement::{StatementId, Stored};

pub use aggregates::VerifiedAggregates;
pub use check::{Check, VerdictQuestion};
#[cfg(feature = "nodes")]
pub use evidence::{EvidenceJudgement, ProvenEvidence};
#[cfg(feature = "nodes")]
pub use fork::ProvenFork;
pub use judgement::Judgement;
pub use log::{LogJudgement, LogVerifyOptions};
pub(crate) use signed::check_signers;
pub use signed::{signing_committee, verify_signed};
pub use standing::{SealState, Standing};
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

/// What a verifier trusts. It must not come from the server or the bundle that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trust {
    /// The cluster identity.
    pub cluster: Option<ClusterId>,
    /// A committee of the cluster that the verifier pins, against an attacker with older keys. A verifier with a checkpoint trusts only
    /// chains that contain this committee, not even another one from the genesis.
    pub checkpoint: Option<Checkpoint>,
}

impl Trust {
    /// Everything before the committee of this epoch is fixed by it. 0 without a checkpoint.
    fn pinned(&self) -> u64 {
        self.checkpoint.map_or(0, |checkpoint| checkpoint.epoch)
    }
}

impl From<ClusterId> for Trust {
    fn from(cluster: ClusterId) -> Self {
        Some(cluster).into()
    }
}

impl From<Option<ClusterId>> for Trust {
    fn from(cluster: Option<ClusterId>) -> Self {
        Self { cluster, checkpoint: None }
    }
}

/// What a verdict depends on, besides the bundle.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// What the user trusts.
    pub trust: Trust,
    /// Whether the certificate must be sealed, so that an attacker with old keys cannot have made it.
    pub require_sealed: bool,
    /// The file to compare with.
    pub subject: Option<Subject>,
    /// Seconds since 1970, at most 2^53 − 1. Code that takes it from a user must refuse a larger one.
    pub now: u64,
    /// Accept an expired certificate.
    pub waive_expiry: bool,
}

/// Verifies bundles, and caches the committees of the last one. Verifying a genesis costs a pairing for each member, and each later committee
/// one pairing; each certificate after that costs one pairing, and hardly more for a large committee than for a small one.
#[derive(Debug, Clone, Default)]
pub struct Verifier {
    limits: Limits,
    cache: Option<VerifiedCommittees>,
}

/// A genuine certificate, the committees of its bundle, and where it stands among them.
#[derive(Debug, Clone)]
struct Genuine<B: OfEpoch> {
    certificate: Certificate<B>,
    chain: CommitteeChain,
    standing: Standing,
    identity: StatementId,
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
        Judgement::new(options, self.genuine_file(bundle, options))
    }

    /// Judges the bundle of a log head. The second question is whether the log has the height that was asked for.
    pub fn judge_head(&mut self, bundle: &[u8], options: &LogVerifyOptions<u64>) -> LogJudgement<()> {
        let parsed = parse_head_bundle(bundle, &self.limits).map_err(CheckError::from);
        let certificate = parsed.and_then(|bundle| self.genuine(bundle, &options.trust));
        LogJudgement::new(options, certificate, |head| log::check_head(options, head))
    }

    /// Judges the bundle of a block. The second question is whether the log has the block, at the height that was asked for.
    pub fn judge_block(&mut self, bundle: &[u8], options: &LogVerifyOptions<u64>) -> LogJudgement<Block> {
        let (certificate, block, path) = match BlockBundleText::parse(bundle, &self.limits) {
            Err(error) => (Err(error.into()), Vec::new(), Vec::new()),
            Ok(BlockBundleText { block, path, bundle }) => (self.genuine(bundle, &options.trust), block, path),
        };
        LogJudgement::new(options, certificate, |head| log::check_block(options, head, &block, &path))
    }

    /// Judges the bundle of an op. The second question is whether the log has the op that was asked for.
    pub fn judge_op(&mut self, bundle: &[u8], options: &LogVerifyOptions<OpId>) -> LogJudgement<OpProof> {
        let (certificate, proof) = match OpBundleText::parse(bundle, &self.limits) {
            Err(error) => (Err(error.into()), Vec::new()),
            Ok(OpBundleText { proof, bundle }) => (self.genuine(bundle, &options.trust), proof),
        };
        LogJudgement::new(options, certificate, |head| log::check_op(options, head, &proof))
    }

    /// Judges the bundle of evidence: whether a member of the trusted cluster signed two conflicting messages.
    #[cfg(feature = "nodes")]
    pub fn judge_evidence(&self, bundle: &[u8], trust: &Trust) -> EvidenceJudgement {
        let read = || {
            let EvidenceBundleText { evidence, chain } = EvidenceBundleText::parse(bundle, &self.limits)?;
            let start = UndecodedStart::Unverified(chain.start.decode()?);
            let evidence = Evidence::decode(&evidence)?;
            Ok((evidence, BundleCommittees::decode(start, &chain.epochs, &self.limits)?))
        };
        match read() {
            Err(error) => EvidenceJudgement::new(Err(error), true),
            Ok((evidence, committees)) => {
                let is_chain_checked = evidence::needs_chain(&committees, trust);
                EvidenceJudgement::new(ProvenEvidence::check(evidence, committees, trust), is_chain_checked)
            }
        }
    }

    /// Verifies the bundle of a fork: whether a committee of the trusted cluster signed two handoffs.
    ///
    /// # Errors
    /// The first check that fails or cannot be made.
    #[cfg(feature = "nodes")]
    pub fn verify_fork(&self, bundle: &[u8], trust: &Trust) -> Result<ProvenFork, CheckError> {
        let (handoffs, committees) = read_fork(bundle, &self.limits)?;
        ProvenFork::check(handoffs, committees, trust)
    }

    /// Verifies the committees in a bundle of any type, and nothing else of it.
    ///
    /// # Errors
    /// The first of the checks `bundle`, `committee`, `identity`, `possession` and `chain` that fails or cannot be made.
    #[cfg(feature = "nodes")]
    pub fn verify_chain(&self, bundle: &[u8], trust: &Trust) -> Result<CommitteeChain, CheckError> {
        let committees = BundleCommittees::stated(parse_chain(bundle, &self.limits)?, &self.limits)?;
        committees.check_identity(trust.cluster)?;
        committees.verify(trust)
    }

    /// All checks of a file's bundle that need no file.
    fn genuine_file(&mut self, bundle: &[u8], options: &VerifyOptions) -> Result<Genuine<Stored>, CheckError> {
        let mut bundle = BundleText::parse(bundle, &self.limits)?;
        let proof = bundle.sealed.take();
        let mut genuine = self.genuine::<Stored>(bundle, &options.trust)?;
        if let Some(proof) = proof {
            let Genuine { certificate, chain, standing, identity } = &genuine;
            // Every genuine certificate is by a committee of the chain.
            let sealed = chain.record(certificate.epoch).unwrap_or_else(|| chain.current().record());
            genuine.standing.seal = check_seal(&proof, identity, sealed, chain, standing)?;
        }
        match genuine.standing.seal {
            state if options.require_sealed && state != SealState::Sealed => Err(Missing::Seal { state }.into()),
            _ => Ok(genuine),
        }
    }

    /// The checks `certificate` to `closing` of a parsed bundle.
    fn genuine<B: OfEpoch>(&mut self, bundle: BundleText, trust: &Trust) -> Result<Genuine<B>, CheckError> {
        let BundleText { certificate, chain, .. } = bundle;
        // Decode in the order of the checks: the rest of the bundle, then the certificate, then the committees.
        let start = self.start_of(&chain, trust)?;
        let certificate = Certificate::<B>::decode(&certificate, &self.limits)?;
        let committees = BundleCommittees::decode(start, &chain.epochs, &self.limits)?;
        committees.check_identity(trust.cluster)?;
        let statement = signed::check_signers(&certificate, committees.of_certificate(certificate.epoch)?)?;
        let (chain, committee) = self.verify_committees(committees, chain, trust, certificate.epoch)?;
        signed::check_aggregate(&certificate, &committee, &statement.encode())?;
        let end = chain.handoff_from(certificate.epoch).map(|handoff| B::check_end(&certificate.claim, handoff));
        let standing = Standing::new(certificate.epoch, &chain, trust, end.transpose()?.unwrap_or(false));
        Ok(Genuine { certificate, chain, standing, identity: statement.id() })
    }

    fn start_of(&self, text: &ChainText, trust: &Trust) -> Result<UndecodedStart, BundleError> {
        match self.cache.as_ref().and_then(|verified| verified.known_of(text, trust.pinned())) {
            Some(chain) => Ok(UndecodedStart::Verified(chain)),
            None => Ok(UndecodedStart::Unverified(text.start.decode()?)),
        }
    }

    /// The checks `possession` and `chain`. Returns the committees, and the one of an epoch that the bundle has.
    fn verify_committees(
        &mut self,
        committees: BundleCommittees,
        text: ChainText,
        trust: &Trust,
        epoch: u64,
    ) -> Result<(CommitteeChain, Arc<Committee>), CheckError> {
        let is_new = committees.is_new();
        let chain = committees.verify(trust)?;
        if is_new {
            self.cache = Some(VerifiedCommittees::new(text, trust.pinned(), chain.clone()));
        }
        let committee = chain.with_keys(epoch).unwrap_or_else(|| Ok(chain.current().clone()));
        Ok((chain, committee.map_err(Invalid::Chain)?))
    }
}

/// The checks `bundle`, `evidence` and `committee` of a fork.
#[cfg(feature = "nodes")]
pub(crate) fn read_fork(
    bundle: &[u8],
    limits: &Limits,
) -> Result<([Certificate<Handoff>; 2], BundleCommittees), CheckError> {
    let ForkBundleText { handoffs, chain } = ForkBundleText::parse(bundle, limits)?;
    let start = UndecodedStart::Unverified(chain.start.decode()?);
    let [first, second] = handoffs.map(|handoff| Certificate::decode(&handoff, limits));
    let handoffs = [first.map_err(fork_error)?, second.map_err(fork_error)?];
    Ok((handoffs, BundleCommittees::decode(start, &chain.epochs, limits)?))
}

#[cfg(feature = "nodes")]
fn fork_error(error: CertificateError) -> CheckError {
    match error {
        CertificateError::UnknownVersion(version) => Missing::ForkVersion(version).into(),
        CertificateError::AnotherKind { got, .. } => Missing::ForkKind(got).into(),
        error => Invalid::Fork(error).into(),
    }
}
