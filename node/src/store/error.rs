//! Why something is not stored, not read or not promised.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use vouch_core::certificate::CertificateError;
use vouch_core::digest::Digest;
use vouch_core::message::Code;
use vouch_core::tree::TreeError;

use crate::durable::DurableError;
use crate::host::files::FileError;
use crate::host::objects::ObjectError;

/// Why a blob or a certificate is not stored or not read. Cheap to clone.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The bytes are not as many as the receipt says.
    #[error("length differs: expected {expected} bytes, got {got}")]
    LengthDiffers {
        /// The receipt's length.
        expected: u64,
        /// The bytes that came.
        got: u64,
    },
    /// The bytes are not those that the receipt names.
    #[error("digest differs: expected {expected}, got {got}")]
    DigestDiffers {
        /// The receipt's digest.
        expected: Digest,
        /// The digest of the bytes that came.
        got: Digest,
    },
    /// Bytes that are not those of the blob that was announced, or come without the proof that they are.
    #[error("a piece of the blob: {0}")]
    Slice(#[from] TreeError),
    /// Bytes that do not go on where the last ones ended.
    #[error("expected the bytes at {expected}, got those at {got}")]
    OutOfOrder {
        /// Where the bytes so far end.
        expected: u64,
        /// Where these begin.
        got: u64,
    },
    /// A piece of a large blob that is not one block of it.
    #[error("expected a block of 256 KiB, or the blob's end, at {offset}, got {got} bytes")]
    NotABlock {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        got: u64,
    },
    /// What came of the blob was taken over by another put of it.
    #[error("another put of {digest} went on with it")]
    Overtaken {
        /// The blob.
        digest: Digest,
    },
    /// It was held when the put began, and is not any more.
    #[error("{digest} is not held any more")]
    NotHeld {
        /// The blob.
        digest: Digest,
    },
    /// More bytes than a blob in the index may have.
    #[error("expected at most {limit} bytes, got {got}")]
    NotSmall {
        /// The most bytes.
        limit: u64,
        /// The bytes that came.
        got: u64,
    },
    /// The disk would not keep its reserve.
    #[error("no space left: {wanted} bytes are wanted, {free} bytes are free beside the reserve of {reserve}")]
    NoSpace {
        /// The bytes that would be written.
        wanted: u64,
        /// The bytes free for blobs, without those that other puts are about to write.
        free: u64,
        /// The bytes set aside.
        reserve: u64,
    },
    /// The blobs would be more than the operator allows.
    #[error("no space left: {wanted} bytes are wanted, {held} bytes are held or coming of a quota of {quota}")]
    Quota {
        /// The bytes that would be added.
        wanted: u64,
        /// The bytes held and coming in.
        held: u64,
        /// The most bytes.
        quota: u64,
    },
    /// Not stored here.
    #[error("{digest} is not stored here")]
    NotFound {
        /// The blob asked for.
        digest: Digest,
    },
    /// A range that is not inside the blob.
    #[error("{digest}: expected a range inside {length} bytes, got {wanted} bytes from {offset}")]
    BeyondTheEnd {
        /// The blob asked for.
        digest: Digest,
        /// Its length.
        length: u64,
        /// Where the range starts.
        offset: u64,
        /// The bytes asked for.
        wanted: u32,
    },
    /// A range that does not consist of whole groups, so that it cannot be verified by itself.
    #[error("{digest}: expected whole groups of 16 KiB, got {wanted} bytes from {offset}")]
    Misaligned {
        /// The blob asked for.
        digest: Digest,
        /// Where the range starts.
        offset: u64,
        /// The bytes asked for.
        wanted: u32,
    },
    /// What the disk gives is not what was stored.
    #[error("{digest} is damaged at byte {offset}")]
    Damaged {
        /// The blob.
        digest: Digest,
        /// The first byte of the first group known to be wrong.
        offset: u64,
    },
    /// Blobs would be removed that somebody may still vote for.
    #[error("expected more than {least} s between a blob's expiry and its removal, got {got} s")]
    ShortGrace {
        /// The time asked for, in seconds.
        got: u64,
        /// What it must exceed, in seconds.
        least: u64,
    },
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index could not be written or read.
    #[error("index: {0}")]
    Index(#[from] DurableError),
    /// The index holds a certificate that does not decode.
    #[error("certificate of {digest}: {cause}")]
    Certificate {
        /// The blob that it is for.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        cause: Arc<CertificateError>,
    },
    /// The place of the blobs is not the one that the index was made with.
    #[error(
        "{place} does not hold the blobs of {index}: is its disk mounted? Mount it and start again. If the blobs are lost, move {index} away: the replica then fetches them from the others"
    )]
    AnotherFolder {
        /// Where the blobs were looked for.
        place: PathBuf,
        /// The index.
        index: PathBuf,
    },
    /// Something else is where the store was, or nothing.
    #[error(
        "{path} was removed, replaced or unmounted while the replica runs: nothing is stored or signed until it is back"
    )]
    Displaced {
        /// What was opened.
        path: PathBuf,
    },
    /// A sync failed, now or before. It is not known what the disk holds, so nothing more is promised.
    #[error("storage failed and takes no more: {cause}")]
    Broken {
        /// The first failure.
        #[source]
        cause: FileError,
    },
    /// The thread that did it failed.
    #[error("storage: {0}")]
    Task(String),
}

impl StoreError {
    /// What to tell the other side.
    pub fn code(&self) -> Code {
        match self {
            Self::LengthDiffers { .. } => Code::LengthDiffers,
            Self::DigestDiffers { .. } | Self::Slice(_) | Self::NotABlock { .. } => Code::DigestDiffers,
            Self::OutOfOrder { .. } => Code::Unexpected,
            // whoever tries again goes on with what both brought
            Self::Overtaken { .. } => Code::Busy,
            Self::NotHeld { .. } => Code::NotHeld,
            Self::NotFound { .. } => Code::NotFound,
            Self::BeyondTheEnd { .. } | Self::Misaligned { .. } | Self::NotSmall { .. } => Code::Malformed,
            Self::NoSpace { .. }
            | Self::Quota { .. }
            | Self::File(FileError::NoSpace { .. } | FileError::Elsewhere(ObjectError::NoSpace { .. }))
            | Self::Index(DurableError::NoSpace { .. } | DurableError::File(FileError::NoSpace { .. })) => {
                Code::NoSpace
            }
            Self::Damaged { .. }
            | Self::ShortGrace { .. }
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
