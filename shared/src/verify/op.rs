//! What a certificate of a log head states about an op: the checks `proof`, `block`, `result`, `op` and `time`.

use super::{CLOCK_TOLERANCE, CheckError, Invalid};
use crate::certificate::Certificate;
use crate::digest::{ClusterId, OpId};
use crate::log::{OpProof, log_root_from_path};
use crate::merkle::{TreeHash, path_length};
use crate::statement::LogHead;

/// What is shown in place of a root that does not follow.
const NO_ROOT: TreeHash = TreeHash([0; 32]);

/// What a verdict on an op depends on, besides the bundle.
#[derive(Debug, Clone, Copy)]
pub struct OpVerifyOptions {
    /// The cluster identity that the user trusts.
    pub cluster: Option<ClusterId>,
    /// The op that the user asks for; `None` for whichever the proof is of.
    pub op: Option<OpId>,
    /// Seconds since 1970, at most 2^53 − 1.
    pub now: u64,
}

/// The separate answers to the three questions, for an op.
#[derive(Debug, Clone)]
pub struct OpJudgement {
    options: OpVerifyOptions,
    genuine: Result<GenuineHead, CheckError>,
}

/// A certificate that was found to be genuine, and what its log says about the op.
#[derive(Debug, Clone)]
struct GenuineHead {
    certificate: Certificate<LogHead>,
    included: Result<Box<OpProof>, CheckError>,
}

impl OpJudgement {
    pub(super) fn new(
        options: &OpVerifyOptions,
        certificate: Result<Certificate<LogHead>, CheckError>,
        proof: &[u8],
    ) -> Self {
        let genuine = certificate.map(|certificate| {
            let included = check_included(options, &certificate.claim, proof).map(Box::new);
            GenuineHead { certificate, included }
        });
        Self { options: *options, genuine }
    }

    /// The question that this judgement answers.
    pub fn options(&self) -> &OpVerifyOptions {
        &self.options
    }

    /// Is the certificate genuine?
    ///
    /// # Errors
    /// The first check that fails or cannot be made, among those that do not look at the op.
    pub fn genuine(&self) -> Result<&Certificate<LogHead>, &CheckError> {
        self.genuine.as_ref().map(|genuine| &genuine.certificate)
    }

    /// Does the log have the op, with this effect? `None` if the certificate is not genuine: a forged one must not make an op look wrong.
    pub fn included(&self) -> Option<Result<&OpProof, &CheckError>> {
        self.genuine.as_ref().ok().map(|genuine| genuine.included.as_deref())
    }

    /// Is the certificate in force? `None` if it is not genuine.
    pub fn in_force(&self) -> Option<Result<(), Invalid>> {
        let (issued_at, now) = (self.genuine().ok()?.claim.time, self.options.now);
        let is_past = issued_at <= now.saturating_add(CLOCK_TOLERANCE);
        Some(if is_past { Ok(()) } else { Err(Invalid::FromTheFuture { issued_at, now }) })
    }

    /// The op that was proved, if the verdict is VALID.
    ///
    /// # Errors
    /// The first check that fails or cannot be made.
    pub fn proved(&self) -> Result<&OpProof, CheckError> {
        let genuine = self.genuine.as_ref().map_err(Clone::clone)?;
        let proof = genuine.included.as_deref().map_err(Clone::clone)?;
        match self.in_force() {
            Some(Err(invalid)) => Err(invalid.into()),
            _ => Ok(proof),
        }
    }
}

fn check_included(options: &OpVerifyOptions, head: &LogHead, proof: &[u8]) -> Result<OpProof, CheckError> {
    let proof = OpProof::decode(proof)?;
    check_block(options, head, &proof)?;
    let expected = proof.block.results;
    if proof.results_root() != Some(expected) {
        // Every decoded proof has a root.
        return Err(Invalid::NotInBlock { expected, got: proof.results_root().unwrap_or(NO_ROOT) }.into());
    }
    let got = proof.result().op;
    match options.op {
        Some(expected) if expected != got => Err(Invalid::AnotherOp { expected, got }.into()),
        _ => Ok(proof),
    }
}

/// The check `block`. The header's own log root and parent need no check: the certified root covers the block as a whole.
fn check_block(options: &OpVerifyOptions, head: &LogHead, proof: &OpProof) -> Result<(), Invalid> {
    let block = &proof.block;
    if let Some(expected) = options.cluster.filter(|cluster| *cluster != block.cluster) {
        return Err(Invalid::BlockOfAnotherCluster { expected, got: block.cluster });
    }
    if block.height > head.height {
        return Err(Invalid::BlockBeyondHead { expected: head.height, got: block.height });
    }
    let (expected, got) = (path_length(block.height - 1, head.height), proof.block_path.len());
    if expected != got {
        return Err(Invalid::BlockPathLength { expected, got });
    }
    let root = log_root_from_path(&block.digest(), block.height, head.height, &proof.block_path);
    match root == Some(head.log_root) {
        true => Ok(()),
        false => Err(Invalid::NotInLog { expected: head.log_root, got: root.unwrap_or(NO_ROOT) }),
    }
}
