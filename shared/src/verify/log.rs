//! What a certificate of a log head states about the log: the checks `proof` to `height`, and `time`.

use super::{CLOCK_TOLERANCE, CheckError, Genuine, Invalid, Standing, Trust};
use crate::certificate::Certificate;
use crate::chain::CommitteeChain;
use crate::codec::{DecodeError, Reader};
use crate::digest::{ClusterId, OpId};
use crate::log::{Block, BlockFormatError, BlockHeader, OpProof, log_root_from_path, read_log_path};
use crate::merkle::{TreeHash, path_length};
use crate::statement::LogHead;

/// What is shown in place of a root that does not follow.
const NO_ROOT: TreeHash = TreeHash([0; 32]);

/// What a verdict about the log depends on, besides the bundle. `W` names what the user may ask for: an [`OpId`], or a height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogVerifyOptions<W> {
    /// What the user trusts.
    pub trust: Trust,
    /// The op or the block that the user asks for, or the least height of a log head; `None` for whichever the bundle is of.
    pub wanted: Option<W>,
    /// Seconds since 1970, at most 2^53 − 1.
    pub now: u64,
}

/// The separate answers to the three questions, for a log head or what it proves. `T` is what was proved.
#[derive(Debug, Clone)]
pub struct LogJudgement<T> {
    trust: Trust,
    now: u64,
    is_asked: bool,
    genuine: Result<GenuineHead<T>, CheckError>,
}

/// A certificate that was found to be genuine, and what its log says.
#[derive(Debug, Clone)]
struct GenuineHead<T> {
    certificate: Certificate<LogHead>,
    chain: CommitteeChain,
    standing: Standing,
    matches: Result<Box<T>, CheckError>,
    in_force: Result<(), CheckError>,
}

impl<T> LogJudgement<T> {
    /// `check` makes the checks of the second question. It is called only for a genuine certificate: a forged one must not make
    /// an op or a block look wrong.
    pub(super) fn new<W>(
        options: &LogVerifyOptions<W>,
        genuine: Result<Genuine<LogHead>, CheckError>,
        check: impl FnOnce(&LogHead) -> Result<T, CheckError>,
    ) -> Self {
        let genuine = genuine.map(|Genuine { certificate, chain, standing, .. }| {
            let matches = check(&certificate.claim).map(Box::new);
            let in_force = check_time(certificate.claim.time, options.now).map_err(CheckError::from);
            GenuineHead { certificate, chain, standing, matches, in_force }
        });
        Self { trust: options.trust, now: options.now, is_asked: options.wanted.is_some(), genuine }
    }

    /// The cluster identity that the user trusts.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.trust.cluster
    }

    /// Where the certificate stands among the epochs of its cluster. `None` if it is not genuine.
    pub fn standing(&self) -> Option<&Standing> {
        self.genuine.as_ref().ok().map(|genuine| &genuine.standing)
    }

    /// The verified committees of the bundle. `None` if the certificate is not genuine.
    pub fn chain(&self) -> Option<&CommitteeChain> {
        self.genuine.as_ref().ok().map(|genuine| &genuine.chain)
    }

    /// The time at which it was judged, seconds since 1970.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Whether the user asked for an op, a block, or a least height.
    pub fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Is the certificate genuine?
    ///
    /// # Errors
    /// The first check that fails or cannot be made, among those of the certificate alone.
    pub fn genuine(&self) -> Result<&Certificate<LogHead>, &CheckError> {
        self.genuine.as_ref().map(|genuine| &genuine.certificate)
    }

    /// Does the log have this, and is it what was asked for? `None` if the certificate is not genuine.
    pub fn matches(&self) -> Option<Result<&T, &CheckError>> {
        self.genuine.as_ref().ok().map(|genuine| genuine.matches.as_deref())
    }

    /// Is the certificate in force? `None` if it is not genuine.
    pub fn in_force(&self) -> Option<Result<(), &CheckError>> {
        Some(self.genuine.as_ref().ok()?.in_force.as_ref().copied())
    }

    /// What was proved, and by which certificate, if the verdict is VALID.
    ///
    /// # Errors
    /// The first check that fails or cannot be made.
    pub fn proved(&self) -> Result<(&T, &Certificate<LogHead>), &CheckError> {
        let GenuineHead { certificate, matches, in_force, .. } = self.genuine.as_ref()?;
        let proved = matches.as_deref()?;
        in_force.as_ref()?;
        Ok((proved, certificate))
    }
}

/// The check `time` of a certificate of a log head.
fn check_time(issued_at: u64, now: u64) -> Result<(), Invalid> {
    let is_past = issued_at <= now.saturating_add(CLOCK_TOLERANCE);
    if is_past { Ok(()) } else { Err(Invalid::FromTheFuture { issued_at, now }) }
}

/// The check `height` of a log head: an old head is genuine for ever, so a client that knows a higher one asks for at least that.
pub(super) fn check_head(options: &LogVerifyOptions<u64>, head: &LogHead) -> Result<(), CheckError> {
    match options.wanted {
        Some(expected) if head.height < expected => Err(Invalid::HeadTooLow { expected, got: head.height }.into()),
        _ => Ok(()),
    }
}

/// The checks `ops`, `block` and `height` of a block.
pub(super) fn check_block(
    options: &LogVerifyOptions<u64>,
    head: &LogHead,
    block: &[u8],
    path: &[u8],
) -> Result<Block, CheckError> {
    let block = Block::decode(block)?;
    let path = read_log_path(&mut Reader::new(path))?;
    check_in_log(options.trust.cluster, head, block.header(), &path)?;
    let got = block.header().height;
    match options.wanted {
        Some(expected) if expected != got => Err(Invalid::AnotherHeight { expected, got }.into()),
        _ => Ok(block),
    }
}

/// The checks `proof`, `block`, `result` and `op` of an op.
pub(super) fn check_op(options: &LogVerifyOptions<OpId>, head: &LogHead, proof: &[u8]) -> Result<OpProof, CheckError> {
    let proof = OpProof::decode(proof)?;
    check_in_log(options.trust.cluster, head, &proof.block, &proof.block_path)?;
    let expected = proof.block.results;
    if proof.results_root() != Some(expected) {
        // Every decoded proof has a root.
        return Err(Invalid::NotInBlock { expected, got: proof.results_root().unwrap_or(NO_ROOT) }.into());
    }
    let got = proof.result().op;
    match options.wanted {
        Some(expected) if expected != got => Err(Invalid::AnotherOp { expected, got }.into()),
        _ => Ok(proof),
    }
}

/// The check `block`. The header's own log root and parent need no check: the certified root covers the block as a whole.
fn check_in_log(
    cluster: Option<ClusterId>,
    head: &LogHead,
    block: &BlockHeader,
    path: &[TreeHash],
) -> Result<(), Invalid> {
    if let Some(expected) = cluster.filter(|cluster| *cluster != block.cluster) {
        return Err(Invalid::BlockOfAnotherCluster { expected, got: block.cluster });
    }
    if block.height > head.height {
        return Err(Invalid::BlockBeyondHead { expected: head.height, got: block.height });
    }
    let (expected, got) = (path_length(block.height - 1, head.height), path.len());
    if expected != got {
        return Err(Invalid::BlockPathLength { expected, got });
    }
    let root = log_root_from_path(&block.digest(), block.height, head.height, path);
    match root == Some(head.log_root) {
        true => Ok(()),
        false => Err(Invalid::NotInLog { expected: head.log_root, got: root.unwrap_or(NO_ROOT) }),
    }
}

/// A block's path that is not well formed counts as part of the block.
impl From<DecodeError> for CheckError {
    fn from(error: DecodeError) -> Self {
        BlockFormatError::from(error).into()
    }
}
