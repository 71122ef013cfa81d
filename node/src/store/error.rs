//! Errors of the store.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use vouch_core::certificate::CertificateError;
use vouch_core::digest::Digest;
use vouch_core::message::Code;
use vouch_core::statement::StatementId;
use vouch_core::tree::TreeError;

use crate::durable::DurableError;
use crate::host::files::FileError;
use crate::host::objects::ObjectError;

/// Why a blob or a certificate is not stored or not read. Cheap to clone.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The number of bytes differs from the assignment's length.
    #[error("length differs: expected {expected} bytes, got {got}")]
    LengthDiffers {
        /// The assignment's length.
        expected: u64,
        /// Number of received bytes.
        got: u64,
    },
    /// The digest of the bytes differs from the assignment's.
    #[error("digest differs: expected {expected}, got {got}")]
    DigestDiffers {
        /// The assignment's digest.
        expected: Digest,
        /// The digest of the received bytes.
        got: Digest,
    },
    /// A piece does not belong to the offered blob, or its proof is wrong.
    #[error("a piece of the blob: {0}")]
    Slice(#[from] TreeError),
    /// A piece does not start where the last one ended.
    #[error("expected the bytes at {expected}, got those at {got}")]
    OutOfOrder {
        /// The end of the last piece.
        expected: u64,
        /// The offset of this one.
        got: u64,
    },
    /// A piece of a large blob is not one block.
    #[error("expected a block of 256 KiB, or the blob's end, at {offset}, got {got} bytes")]
    NotABlock {
        /// The piece's offset.
        offset: u64,
        /// Its length in bytes.
        got: u64,
    },
    /// Another put of the blob has taken over the partial upload.
    #[error("another put of {digest} has taken over the upload")]
    Overtaken {
        /// The blob.
        digest: Digest,
    },
    /// The blob was stored when the put began, and no longer is.
    #[error("{digest} is no longer held")]
    NotHeld {
        /// The blob.
        digest: Digest,
    },
    /// The blob is too large for the index.
    #[error("expected at most {limit} bytes, got {got}")]
    NotSmall {
        /// Maximum number of bytes.
        limit: u64,
        /// Number of received bytes.
        got: u64,
    },
    /// The disk would not keep its reserve.
    #[error("no space left: {wanted} bytes are needed, {free} bytes are free besides the reserve of {reserve}")]
    NoSpace {
        /// Number of bytes to write.
        wanted: u64,
        /// Free bytes for blobs, without those that other puts are about to write.
        free: u64,
        /// The reserve in bytes.
        reserve: u64,
    },
    /// The blobs would exceed the operator's quota.
    #[error("no space left: {wanted} bytes are needed, {held} bytes of the quota of {quota} are in use or reserved")]
    Quota {
        /// Number of bytes to add.
        wanted: u64,
        /// Number of bytes stored, and reserved by other puts.
        held: u64,
        /// The quota in bytes.
        quota: u64,
    },
    /// The blob is not stored here.
    #[error("{digest} is not stored here")]
    NotFound {
        /// The blob asked for.
        digest: Digest,
    },
    /// The range exceeds the blob.
    #[error("{digest}: expected a range inside {length} bytes, got {wanted} bytes from {offset}")]
    BeyondTheEnd {
        /// The blob asked for.
        digest: Digest,
        /// Its length.
        length: u64,
        /// The start of the range.
        offset: u64,
        /// The length of the range in bytes.
        wanted: u32,
    },
    /// The range does not consist of whole groups, so it cannot be verified.
    #[error("{digest}: expected whole groups of 16 KiB, got {wanted} bytes from {offset}")]
    Misaligned {
        /// The blob asked for.
        digest: Digest,
        /// The start of the range.
        offset: u64,
        /// The length of the range in bytes.
        wanted: u32,
    },
    /// The bytes on the disk are not the ones that were stored.
    #[error("{digest} is damaged at byte {offset}")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// The offset of the first group known to be wrong.
        offset: u64,
    },
    /// Blobs would be removed while somebody may still vote for them.
    #[error("expected more than {least} s between a blob's expiry and its removal, got {got} s")]
    ShortGrace {
        /// The requested grace in seconds.
        got: u64,
        /// The grace must exceed this, in seconds.
        least: u64,
    },
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index could not be written or read.
    #[error("index: {0}")]
    Index(#[from] DurableError),
    /// This replica signed another statement of the kind for the same height, which contradicts this one.
    #[error("statement of kind {kind} for height {height}: expected {expected}, which was signed before, got {got}")]
    SignedAnother {
        /// The kind.
        kind: u16,
        /// The height.
        height: u64,
        /// The statement that was signed.
        expected: StatementId,
        /// The one to be signed.
        got: StatementId,
    },
    /// This replica no longer knows what it signed for so low a height.
    #[error("statement of kind {kind}: expected height {least} or greater, got {got}")]
    SignedLater {
        /// The kind.
        kind: u16,
        /// The lowest height that may be signed.
        least: u64,
        /// The height.
        got: u64,
    },
    /// The index holds a certificate that does not decode.
    #[error("certificate of {digest}: {cause}")]
    Certificate {
        /// The certificate's blob.
        digest: Digest,
        /// What is wrong with the certificate.
        #[source]
        cause: Arc<CertificateError>,
    },
    /// The place of the blobs is not the one that the index was created with.
    #[error(
        "{place} does not hold the blobs of {index}: is its disk mounted? Mount it and start again. If the blobs are lost, move {index} away: the replica then fetches them from the others"
    )]
    AnotherFolder {
        /// The place of the blobs.
        place: PathBuf,
        /// The index.
        index: PathBuf,
    },
    /// A path of the store now leads to something else, or to nothing.
    #[error(
        "{path} was removed, replaced or unmounted while the replica was running: nothing is stored or signed until it is back"
    )]
    Displaced {
        /// The path.
        path: PathBuf,
    },
    /// A sync failed, now or before. The content of the disk is unknown, so nothing more is promised.
    #[error("storage failed and accepts no more writes: {cause}")]
    Broken {
        /// The first failure.
        #[source]
        cause: FileError,
    },
    /// The thread that did the work failed.
    #[error("storage: {0}")]
    Task(String),
}

impl StoreError {
    /// The code to send to the other end.
    pub fn code(&self) -> Code {
        match self {
            Self::LengthDiffers { .. } => Code::LengthDiffers,
            Self::DigestDiffers { .. } | Self::Slice(_) | Self::NotABlock { .. } => Code::DigestDiffers,
            Self::OutOfOrder { .. } => Code::Unexpected,
            // a retry resumes the upload that both added to
            Self::Overtaken { .. } => Code::Busy,
            Self::NotHeld { .. } => Code::NotHeld,
            Self::NotFound { .. } | Self::SignedLater { .. } => Code::NotFound,
            Self::BeyondTheEnd { .. } | Self::Misaligned { .. } | Self::NotSmall { .. } => Code::Malformed,
            Self::NoSpace { .. }
            | Self::Quota { .. }
            | Self::File(FileError::NoSpace { .. } | FileError::Elsewhere(ObjectError::NoSpace { .. }))
            | Self::Index(DurableError::NoSpace { .. } | DurableError::File(FileError::NoSpace { .. })) => {
                Code::NoSpace
            }
            Self::Damaged { .. }
            | Self::ShortGrace { .. }
            | Self::SignedAnother { .. }
            | Self::File(_)
            | Self::Index(_)
            | Self::Certificate { .. }
            | Self::AnotherFolder { .. }
            | Self::Displaced { .. }
            | Self::Broken { .. }
            | Self::Task(_) => Code::Storage,
        }
    }
}
