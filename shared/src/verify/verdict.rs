//! The result of a verification: a verdict of three values, the check that decided, and the reason.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use super::{CLOCK_TOLERANCE, Check, SealState};
use crate::bls::BlsError;
use crate::bundle::BundleError;
use crate::certificate::{Certificate, CertificateError};
use crate::chain::ChainError;
use crate::codec::DecodeError;
use crate::committee::{CommitteeError, GenesisError, PossessionError};
use crate::comparison::{Comparison, display_comparison};
use crate::digest::{ClusterId, CommitteeDigest, Digest, OpId};
use crate::log::{BlockFormatError, OpFormatError, OpProofError};
#[cfg(feature = "nodes")]
use crate::log::{EvidenceError, EvidenceFormatError};
use crate::merkle::TreeHash;
use crate::receipt::ReceiptError;
use crate::statement::StatementId;

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Invalid {
    /// See [`BundleError`].
    Bundle(BundleError),
    /// See [`CertificateError`].
    Certificate(CertificateError),
    /// See [`CommitteeError`].
    Committee(CommitteeError),
    /// The bundle's cluster is not the trusted one.
    AnotherCluster {
        /// The trusted cluster identity.
        expected: ClusterId,
        /// The bundle's cluster identity.
        got: ClusterId,
    },
    /// The bundle's committee of the pinned epoch is not the pinned one.
    AnotherCheckpoint {
        /// The pinned epoch.
        epoch: u64,
        /// The digest of the pinned committee.
        expected: CommitteeDigest,
        /// The digest of the bundle's committee.
        got: CommitteeDigest,
    },
    /// The certificate of a handoff is not well formed.
    Handoff(CertificateError),
    /// A committee does not follow from the one before it.
    Chain(ChainError),
    /// The certificate was issued after its epoch closed.
    AfterClosing {
        /// The closing, seconds since 1970.
        expected: u64,
        /// The time of issue, seconds since 1970.
        got: u64,
    },
    /// The block of the log head came after the last one of the epoch.
    AfterLastBlock {
        /// The height of the epoch's last block.
        expected: u64,
        /// The height of the log head.
        got: u64,
    },
    /// The head of the epoch's last block has another log root than the handoff.
    AnotherLastRoot {
        /// The log root of the handoff.
        expected: TreeHash,
        /// The log root of the head.
        got: TreeHash,
    },
    /// The proof that the statement is sealed is not well formed.
    SealPath(DecodeError),
    /// The proof is not of the seal that the committees name.
    AnotherSeal {
        /// The identity of that seal.
        expected: StatementId,
        /// The identity of the seal that follows from the proof.
        got: StatementId,
    },
    /// The committee that the certificate names is not the one in the bundle.
    AnotherCommittee {
        /// The digest of the bundle's committee.
        expected: CommitteeDigest,
        /// The digest in the certificate.
        got: CommitteeDigest,
    },
    /// The epoch that the certificate names is not its committee's.
    AnotherEpoch {
        /// The committee's epoch.
        expected: u64,
        /// The certificate's epoch.
        got: u64,
    },
    /// The bitmap is for a committee of another size.
    BitmapSize {
        /// The committee's size.
        expected: u16,
        /// The bitmap's size.
        got: u16,
    },
    /// Too few signers.
    BelowQuorum {
        /// Number of members that signed.
        signers: u16,
        /// Number of members that must sign.
        quorum: u16,
    },
    /// A member's vote key or its proof of possession is not valid.
    Possession(PossessionError),
    /// The aggregate signature is not valid.
    Signature(BlsError),
    /// See [`EvidenceFormatError`].
    #[cfg(feature = "nodes")]
    Evidence(EvidenceFormatError),
    /// See [`EvidenceError`].
    #[cfg(feature = "nodes")]
    Accusation(EvidenceError),
    /// One of the two handoffs of a fork is not well formed.
    #[cfg(feature = "nodes")]
    Fork(CertificateError),
    /// The two handoffs of a fork are one.
    #[cfg(feature = "nodes")]
    OneHandoff {
        /// Its identity.
        got: StatementId,
    },
    /// See [`OpProofError`].
    Proof(OpProofError),
    /// A block, or its path, is not well formed. See [`BlockFormatError`].
    Block(BlockFormatError),
    /// The block, or the op's block, is of another cluster.
    BlockOfAnotherCluster {
        /// The trusted cluster identity.
        expected: ClusterId,
        /// The cluster in the block's header.
        got: ClusterId,
    },
    /// The block comes after the log head that the certificate is for.
    BlockBeyondHead {
        /// The height of the log head.
        expected: u64,
        /// The height of the block.
        got: u64,
    },
    /// The path of the block does not have the length that its height and the log head's fix.
    BlockPathLength {
        /// The required number of hashes.
        expected: usize,
        /// The number of hashes.
        got: usize,
    },
    /// The block is not in the log: the root that follows from it is not the certified one.
    NotInLog {
        /// The certified log root.
        expected: TreeHash,
        /// The root that follows from block and path.
        got: TreeHash,
    },
    /// The op, with this submitter and this effect, is not in the block.
    NotInBlock {
        /// The results root in the block's header.
        expected: TreeHash,
        /// The root that follows from result and path.
        got: TreeHash,
    },
    /// The proof is of another op than the one asked for.
    AnotherOp {
        /// The identity asked for.
        expected: OpId,
        /// The identity of the op in the proof.
        got: OpId,
    },
    /// The block is of another height than the one asked for.
    AnotherHeight {
        /// The height asked for.
        expected: u64,
        /// The block's height.
        got: u64,
    },
    /// The log head is below the height asked for.
    HeadTooLow {
        /// The height asked for.
        expected: u64,
        /// The head's height.
        got: u64,
    },
    /// The file's digest is not the certified one.
    DigestDiffers {
        /// The certified digest.
        expected: Digest,
        /// The file's digest.
        got: Digest,
    },
    /// The file's length is not the certified one.
    LengthDiffers {
        /// The certified length.
        expected: u64,
        /// The file's length.
        got: u64,
    },
    /// The certificate was issued in the future.
    FromTheFuture {
        /// Seconds since 1970.
        issued_at: u64,
        /// Seconds since 1970.
        now: u64,
    },
    /// The certificate has expired: replicas need no longer keep the file.
    Expired {
        /// Seconds since 1970.
        expires_at: u64,
        /// Seconds since 1970.
        now: u64,
    },
}

display_comparison!(Invalid);

impl Invalid {
    /// The check that failed.
    pub fn check(&self) -> Check {
        match self {
            Self::Bundle(_) => Check::Bundle,
            Self::Certificate(_) => Check::Certificate,
            Self::Committee(_) | Self::Handoff(_) => Check::Committee,
            Self::AnotherCluster { .. } => Check::Identity,
            Self::Chain(_) | Self::AnotherCheckpoint { .. } => Check::Chain,
            Self::AfterClosing { .. } | Self::AfterLastBlock { .. } | Self::AnotherLastRoot { .. } => Check::Closing,
            Self::SealPath(_) | Self::AnotherSeal { .. } => Check::Seal,
            Self::AnotherCommittee { .. } | Self::AnotherEpoch { .. } => Check::Epoch,
            Self::BitmapSize { .. } | Self::BelowQuorum { .. } => Check::Signers,
            Self::Possession(_) => Check::Possession,
            Self::Signature(_) => Check::Signature,
            #[cfg(feature = "nodes")]
            Self::Evidence(_) => Check::Evidence,
            #[cfg(feature = "nodes")]
            Self::Fork(_) => Check::Evidence,
            #[cfg(feature = "nodes")]
            Self::OneHandoff { .. } => Check::Conflict,
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::AnotherCluster { .. }) => Check::Identity,
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::AnotherEpoch { .. } | EvidenceError::NotAMember(_)) => Check::Accused,
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::Signature(_)) => Check::Conflict,
            Self::Proof(_) => Check::Proof,
            Self::Block(_) => Check::Ops,
            Self::BlockOfAnotherCluster { .. }
            | Self::BlockBeyondHead { .. }
            | Self::BlockPathLength { .. }
            | Self::NotInLog { .. } => Check::Block,
            Self::NotInBlock { .. } => Check::Result,
            Self::AnotherOp { .. } => Check::Op,
            Self::AnotherHeight { .. } | Self::HeadTooLow { .. } => Check::Height,
            Self::DigestDiffers { .. } => Check::Digest,
            Self::LengthDiffers { .. } => Check::Length,
            Self::FromTheFuture { .. } => Check::Time,
            Self::Expired { .. } => Check::Expiry,
        }
    }

    /// What the failure means, as a clause for people. It says something about the file only if the certificate is genuine.
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::Bundle(_) => "the bundle is damaged, or is not a bundle",
            Self::Certificate(_) => "the certificate is damaged or forged",
            Self::Committee(_) | Self::Handoff(_) => "a committee in the bundle is damaged or forged",
            Self::AnotherCluster { .. } => "the certificate is by another cluster than the one you trust",
            Self::AnotherCheckpoint { .. } => "the bundle has other committees than the one that you pinned",
            Self::Chain(_) => "the committees in the bundle are forged: one does not follow from the one before",
            Self::AfterClosing { .. } | Self::AfterLastBlock { .. } => {
                "the certificate was made after its committee had handed over"
            }
            Self::AnotherLastRoot { .. } => "the certificate is forged: its epoch ended with another log",
            Self::SealPath(_) | Self::AnotherSeal { .. } => {
                "the proof that the certificate is sealed is damaged or forged"
            }
            Self::AnotherCommittee { .. } | Self::AnotherEpoch { .. } => {
                "the certificate is not by the committee in the bundle"
            }
            Self::BitmapSize { .. } => "the certificate is forged: it is by a committee of another size",
            Self::BelowQuorum { .. } => "too few members signed the certificate",
            Self::Possession(_) => {
                "the committee in the bundle is forged: not every member proved that it holds its own key"
            }
            Self::Signature(_) => "the certificate is forged or altered",
            #[cfg(feature = "nodes")]
            Self::Evidence(_) | Self::Fork(_) => "the evidence is damaged, or proves nothing",
            #[cfg(feature = "nodes")]
            Self::OneHandoff { .. } => "the evidence proves nothing: both handoffs are the same",
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::AnotherCluster { .. }) => {
                "the evidence is about another cluster than the one you trust"
            }
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::AnotherEpoch { .. }) => "the evidence is about another committee",
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::NotAMember(_)) => "the accused is not a member of this cluster",
            #[cfg(feature = "nodes")]
            Self::Accusation(EvidenceError::Signature(_)) => "the evidence is forged: the accused did not sign it",
            Self::Proof(_) => "the certificate is genuine, but the proof of the op is damaged or forged",
            Self::Block(_) => "the certificate is genuine, but the block is damaged or forged",
            Self::BlockOfAnotherCluster { .. }
            | Self::BlockBeyondHead { .. }
            | Self::BlockPathLength { .. }
            | Self::NotInLog { .. } => "the certificate is genuine, but its log does not have this block",
            Self::NotInBlock { .. } => {
                "the certificate is genuine, but its log does not have this op with this effect here"
            }
            Self::AnotherOp { .. } => "the certificate is genuine, but this is another op",
            Self::AnotherHeight { .. } => "the certificate is genuine, but this is another block",
            Self::HeadTooLow { .. } => "the certificate is genuine, but older than what you asked for",
            Self::DigestDiffers { .. } | Self::LengthDiffers { .. } => {
                "the certificate is genuine, but this is another file"
            }
            Self::FromTheFuture { .. } => "the certificate is genuine, but it was issued in the future",
            Self::Expired { .. } => "the certificate is genuine, but it has expired",
        }
    }

    /// The expected value and the value found. For a check of the file, the certificate's value is expected.
    pub fn comparison(&self) -> Comparison {
        match self {
            Self::Bundle(error) => error.comparison(),
            Self::Certificate(error) => error.comparison(),
            Self::Committee(error) => error.comparison(),
            Self::AnotherCluster { expected, got } => Comparison::new(&"cluster", expected, got),
            Self::AnotherCheckpoint { epoch, expected, got } => {
                Comparison::new(&format_args!("committee of epoch {epoch}"), expected, got)
            }
            Self::Handoff(error) => error.comparison().within("handoff"),
            Self::Chain(error) => error.comparison(),
            Self::AfterClosing { expected, got } => at_most("issued_at", expected, got),
            Self::AfterLastBlock { expected, got } => at_most("height of the log head", expected, got),
            Self::AnotherLastRoot { expected, got } => Comparison::new(&"log root", expected, got),
            Self::SealPath(error) => error.comparison().within("seal path"),
            Self::AnotherSeal { expected, got } => Comparison::new(&"seal", expected, got),
            Self::AnotherCommittee { expected, got } => Comparison::new(&"committee of the certificate", expected, got),
            Self::AnotherEpoch { expected, got } => Comparison::new(&"epoch of the certificate", expected, got),
            Self::BitmapSize { expected, got } => Comparison::new(&"size of the signer bitmap", expected, got),
            Self::BelowQuorum { signers, quorum } => {
                Comparison::new(&"signers", &format_args!("at least {quorum}"), signers)
            }
            Self::Possession(error) => error.comparison(),
            Self::Signature(error) => error.comparison().within("signature"),
            #[cfg(feature = "nodes")]
            Self::Evidence(error) => error.comparison(),
            #[cfg(feature = "nodes")]
            Self::Fork(error) => error.comparison().within("handoff"),
            #[cfg(feature = "nodes")]
            Self::OneHandoff { got } => Comparison::new(&"handoffs", &"two", &format_args!("{got} twice")),
            #[cfg(feature = "nodes")]
            Self::Accusation(error) => error.comparison(),
            Self::Proof(error) => error.comparison(),
            Self::Block(error) => error.comparison(),
            Self::BlockOfAnotherCluster { expected, got } => Comparison::new(&"cluster of the block", expected, got),
            Self::BlockBeyondHead { expected, got } => at_most("height of the block", expected, got),
            Self::BlockPathLength { expected, got } => {
                Comparison::new(&"path of the block", &format_args!("{expected} hashes"), got)
            }
            Self::NotInLog { expected, got } => Comparison::new(&"log root", expected, got),
            Self::NotInBlock { expected, got } => Comparison::new(&"results root", expected, got),
            Self::AnotherOp { expected, got } => Comparison::new(&"op", expected, got),
            Self::AnotherHeight { expected, got } => Comparison::new(&"height of the block", expected, got),
            Self::HeadTooLow { expected, got } => {
                Comparison::new(&"height of the log head", &format_args!("at least {expected}"), got)
            }
            Self::DigestDiffers { expected, got } => Comparison::new(&"digest", expected, got),
            Self::LengthDiffers { expected, got } => Comparison::new(&"length", &format_args!("{expected} bytes"), got),
            Self::FromTheFuture { issued_at, now } => {
                Comparison::new(&"issued_at", &format_args!("at most {now} + {CLOCK_TOLERANCE}"), issued_at)
            }
            Self::Expired { expires_at, now } => {
                let got = format_args!("{expires_at} (expired)");
                Comparison::new(&"expires_at", &format_args!("later than {now}"), &got)
            }
        }
    }

    /// The same two values as numbers, if the failed check compares times: a program must not look for them in a text.
    pub fn times(&self) -> Option<ComparedTimes> {
        match self {
            Self::FromTheFuture { issued_at, now } => {
                Some(ComparedTimes { expected: now.saturating_add(CLOCK_TOLERANCE), got: *issued_at })
            }
            Self::Expired { expires_at, now } => Some(ComparedTimes { expected: *now, got: *expires_at }),
            Self::AfterClosing { expected, got } => Some(ComparedTimes { expected: *expected, got: *got }),
            _ => None,
        }
    }
}

fn at_most(subject: &str, expected: &u64, got: &u64) -> Comparison {
    Comparison::new(&subject, &format_args!("at most {expected}"), got)
}

/// The two times that a check compared, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ComparedTimes {
    /// The bound. Checks `time` and `closing`: the latest time of issue that passes. Check `expiry`: the time that the expiry must be later than.
    pub expected: u64,
    /// The certificate's time.
    pub got: u64,
}

/// Something is missing for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Missing {
    /// The bundle has a newer format.
    #[error("bundle version {0} is unknown to this verifier")]
    BundleVersion(u64),
    /// The certificate has a newer format.
    #[error("certificate version {0} is unknown to this verifier")]
    CertificateVersion(u8),
    /// The statement is of a newer kind.
    #[error("statement kind {0} is unknown to this verifier")]
    StatementKind(u16),
    /// The receipt is of a newer kind.
    #[error("receipt kind {0} is unknown to this verifier")]
    ReceiptKind(u8),
    /// The evidence has a newer format.
    #[cfg(feature = "nodes")]
    #[error("evidence version {0} is unknown to this verifier")]
    EvidenceVersion(u8),
    /// One of the two handoffs of a fork has a newer format.
    #[cfg(feature = "nodes")]
    #[error("version {0} of a handoff's certificate is unknown to this verifier")]
    ForkVersion(u8),
    /// One of the two handoffs of a fork is of another kind.
    #[cfg(feature = "nodes")]
    #[error("statement kind {0} in place of a handoff is unknown to this verifier")]
    ForkKind(u16),
    /// The bundle has no committee of the epoch that the evidence is about.
    #[cfg(feature = "nodes")]
    #[error("the evidence is about epoch {epoch}, and the bundle has the committees of the epochs {first} to {last}")]
    EvidenceEpoch {
        /// The epoch of the evidence.
        epoch: u64,
        /// The first epoch in the bundle.
        first: u64,
        /// The last epoch in the bundle.
        last: u64,
    },
    /// The proof of an op has a newer format.
    #[error("op proof version {0} is unknown to this verifier")]
    ProofVersion(u8),
    /// The op's block has a newer format.
    #[error("block version {0} is unknown to this verifier")]
    BlockVersion(u8),
    /// The op has a newer format.
    #[error("op version {0} is unknown to this verifier")]
    OpVersion(u8),
    /// The block in the bundle, or one of its ops, has a newer format.
    #[error("version {0} of the block, or of an op in it, is unknown to this verifier")]
    BlockContent(u8),
    /// The committee has a newer format.
    #[error("committee version {0} is unknown to this verifier")]
    CommitteeVersion(u8),
    /// The committee has a newer policy.
    #[error("membership policy {0} is unknown to this verifier")]
    Policy(u8),
    /// The caller gave no trusted cluster identity.
    #[error("no trusted cluster identity was given")]
    Identity,
    /// The certificate of a handoff has a newer format.
    #[error("version {0} of a handoff's certificate is unknown to this verifier")]
    HandoffVersion(u8),
    /// The certificate of a handoff is of another kind.
    #[error("statement kind {0} in place of a handoff is unknown to this verifier")]
    HandoffKind(u16),
    /// The proof of a seal has a newer format.
    #[error("seal path version {0} is unknown to this verifier")]
    SealPathVersion(u8),
    /// The bundle starts with a later committee, and the caller pins none.
    #[error("the bundle starts with the committee of epoch {epoch}, and none of its committees was pinned")]
    Checkpoint {
        /// The epoch of its first committee.
        epoch: u64,
    },
    /// The bundle has no committee of the certificate's epoch.
    #[error("the certificate is of epoch {epoch}, and the bundle has the committees of the epochs {first} to {last}")]
    Epoch {
        /// The certificate's epoch.
        epoch: u64,
        /// The first epoch in the bundle.
        first: u64,
        /// The last epoch in the bundle.
        last: u64,
    },
    /// The bundle has no committee of the pinned epoch.
    #[error("the bundle has the committees of the epochs {first} to {last}, and not of {epoch}, which you pinned")]
    PinnedEpoch {
        /// The pinned epoch.
        epoch: u64,
        /// The first epoch in the bundle.
        first: u64,
        /// The last epoch in the bundle.
        last: u64,
    },
    /// The bundle ends before the committee that names the seal.
    #[error("the bundle has no committee of epoch {needed}, which names the seal")]
    SealingEpoch {
        /// The epoch of that committee.
        needed: u64,
    },
    /// A seal is demanded, and the certificate is not sealed.
    #[error("the certificate is not sealed: {}", .state.reason())]
    Seal {
        /// Why it is not.
        state: SealState,
    },
    /// The caller gave neither a file nor a digest.
    #[error("no file and no digest was given to compare with the certificate")]
    Subject,
}

impl Missing {
    /// The check that could not be made.
    pub fn check(&self) -> Check {
        match self {
            Self::BundleVersion(_) => Check::Bundle,
            Self::CertificateVersion(_) | Self::StatementKind(_) | Self::ReceiptKind(_) => Check::Certificate,
            #[cfg(feature = "nodes")]
            Self::EvidenceVersion(_) | Self::ForkVersion(_) | Self::ForkKind(_) => Check::Evidence,
            #[cfg(feature = "nodes")]
            Self::EvidenceEpoch { .. } => Check::Accused,
            Self::BlockContent(_) => Check::Ops,
            Self::ProofVersion(_) | Self::BlockVersion(_) | Self::OpVersion(_) => Check::Proof,
            Self::CommitteeVersion(_) | Self::Policy(_) | Self::HandoffVersion(_) | Self::HandoffKind(_) => {
                Check::Committee
            }
            Self::Identity => Check::Identity,
            Self::Checkpoint { .. } | Self::PinnedEpoch { .. } => Check::Chain,
            Self::Epoch { .. } => Check::Epoch,
            Self::SealPathVersion(_) | Self::SealingEpoch { .. } | Self::Seal { .. } => Check::Seal,
            Self::Subject => Check::Digest,
        }
    }
}

/// The verdict on a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every check passed.
    Valid(Box<Certificate>),
    /// A check failed.
    Invalid(Invalid),
    /// Something is missing for a verdict.
    CannotCheck(Missing),
}

impl Verdict {
    /// 0 valid, 1 invalid, 2 could not check.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Valid(_) => 0,
            Self::Invalid(_) => 1,
            Self::CannotCheck(_) => 2,
        }
    }

    /// The check that decided; `None` when valid.
    pub fn check(&self) -> Option<Check> {
        match self {
            Self::Valid(_) => None,
            Self::Invalid(invalid) => Some(invalid.check()),
            Self::CannotCheck(missing) => Some(missing.check()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid(_) => f.write_str("VALID"),
            Self::Invalid(invalid) => write_invalid(f, invalid),
            Self::CannotCheck(missing) => write_missing(f, missing),
        }
    }
}

fn write_invalid(f: &mut fmt::Formatter<'_>, invalid: &Invalid) -> fmt::Result {
    write!(f, "INVALID: {} ({invalid})", invalid.meaning())
}

fn write_missing(f: &mut fmt::Formatter<'_>, missing: &Missing) -> fmt::Result {
    // The only missing input that is reported after the certificate was found to be genuine.
    let genuine = if *missing == Missing::Subject { "the certificate is genuine, but " } else { "" };
    write!(f, "CANNOT CHECK: {genuine}{missing}")
}

/// Why the answer to a question is not yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckError {
    /// A check failed: the answer is no.
    Invalid(Invalid),
    /// Something is missing for an answer.
    Missing(Missing),
}

impl CheckError {
    /// The check that failed or could not be made.
    pub fn check(&self) -> Check {
        match self {
            Self::Invalid(invalid) => invalid.check(),
            Self::Missing(missing) => missing.check(),
        }
    }
}

/// As the verdict that it decides.
impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => write_invalid(f, invalid),
            Self::Missing(missing) => write_missing(f, missing),
        }
    }
}

impl From<CheckError> for Verdict {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Invalid(invalid) => Self::Invalid(invalid),
            CheckError::Missing(missing) => Self::CannotCheck(missing),
        }
    }
}

impl From<Invalid> for CheckError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Missing> for CheckError {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl From<BundleError> for CheckError {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::UnknownVersion(version) => Missing::BundleVersion(version).into(),
            error => Invalid::Bundle(error).into(),
        }
    }
}

impl From<CertificateError> for CheckError {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::UnknownVersion(version) => Missing::CertificateVersion(version).into(),
            CertificateError::AnotherKind { got, .. } => Missing::StatementKind(got).into(),
            CertificateError::Receipt(ReceiptError::UnknownKind(kind)) => Missing::ReceiptKind(kind).into(),
            error => Invalid::Certificate(error).into(),
        }
    }
}

impl From<OpProofError> for CheckError {
    fn from(error: OpProofError) -> Self {
        match error {
            OpProofError::UnknownVersion(version) => Missing::ProofVersion(version).into(),
            OpProofError::Block(BlockFormatError::UnknownVersion(version)) => Missing::BlockVersion(version).into(),
            OpProofError::Op(OpFormatError::UnknownVersion(version)) => Missing::OpVersion(version).into(),
            error => Invalid::Proof(error).into(),
        }
    }
}

impl From<BlockFormatError> for CheckError {
    fn from(error: BlockFormatError) -> Self {
        match error {
            BlockFormatError::UnknownVersion(version)
            | BlockFormatError::Op(OpFormatError::UnknownVersion(version)) => Missing::BlockContent(version).into(),
            error => Invalid::Block(error).into(),
        }
    }
}

#[cfg(feature = "nodes")]
impl From<EvidenceFormatError> for CheckError {
    fn from(error: EvidenceFormatError) -> Self {
        match error {
            EvidenceFormatError::UnknownVersion(version) => Missing::EvidenceVersion(version).into(),
            error => Invalid::Evidence(error).into(),
        }
    }
}

impl From<CommitteeError> for CheckError {
    fn from(error: CommitteeError) -> Self {
        match error {
            CommitteeError::UnknownVersion(version) => Missing::CommitteeVersion(version).into(),
            CommitteeError::UnknownPolicy(policy) => Missing::Policy(policy).into(),
            error => Invalid::Committee(error).into(),
        }
    }
}

impl From<GenesisError> for CheckError {
    fn from(error: GenesisError) -> Self {
        match error {
            GenesisError::Committee(error) => error.into(),
            GenesisError::Possession(error) => Invalid::Possession(error).into(),
        }
    }
}
