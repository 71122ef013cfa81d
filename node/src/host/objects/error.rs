//! Why a store elsewhere did not do what it was asked, and what to do next.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Bytes.
    Read,
    /// To keep an object.
    Write,
    /// To remove one.
    Remove,
    /// Names.
    List,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
            Self::List => "list",
        })
    }
}

/// Why something could not be done in a store elsewhere. Cheap enough to clone: one failure may have many to tell.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// Its owner's quota is used up, or its disks are.
    #[error("{server} has no space left to write {object}; free some there, or raise the quota")]
    NoSpace {
        /// The store.
        server: String,
        /// What was to be written.
        object: String,
    },
    /// There is nobody to sign as.
    #[error("no credentials for {server}{cause}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")]
    NoCredentials {
        /// The store.
        server: String,
        /// Why, after a colon; may be empty.
        cause: String,
    },
    /// The credentials are wrong, or not for this.
    #[error(
        "{server} denied to {request} {object} ({answer}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they permit"
    )]
    Denied {
        /// The store.
        server: String,
        /// What was asked for.
        request: Request,
        /// Of what.
        object: String,
        /// The store's own word for it.
        answer: String,
    },
    /// The bucket does not exist.
    #[error("{server} has no bucket {bucket}; create it, or name another with --store")]
    NoBucket {
        /// The store.
        server: String,
        /// The bucket.
        bucket: String,
    },
    /// The object does not exist.
    #[error("{object} does not exist")]
    NotFound {
        /// The object.
        object: String,
    },
    /// No answer, or not in time.
    #[error("cannot reach {server}: {cause}; check that it runs and that the network leads there")]
    Unreachable {
        /// The store.
        server: String,
        /// Why.
        cause: String,
    },
    /// Too many are waiting to be written.
    #[error("{server} is too slow: no turn to write {object} within {} s; try again later", .timeout.as_secs())]
    Busy {
        /// The store.
        server: String,
        /// What was to be written.
        object: String,
        /// How long it waited.
        timeout: Duration,
    },
    /// An object has not the bytes that were written or asked for.
    #[error("{object}: expected {expected} bytes, {server} has {got}")]
    LengthDiffers {
        /// The store.
        server: String,
        /// The object.
        object: String,
        /// The bytes that it must have.
        expected: u64,
        /// The bytes that it has.
        got: u64,
    },
    /// More bytes than an object may have.
    #[error("{object}: expected at most {limit} bytes, got {got}")]
    TooLarge {
        /// The object.
        object: String,
        /// The most bytes.
        limit: u64,
        /// The bytes that it would have.
        got: u64,
    },
    /// Another replica keeps its blobs there.
    #[error("{place} belongs to another replica, {owner:?}; give each replica a prefix of its own with --store")]
    Taken {
        /// The prefix.
        place: String,
        /// The other's node key.
        owner: String,
    },
    /// An answer that fits none of the others.
    #[error("{server} did not {request} {object}: {answer}")]
    Refused {
        /// The store.
        server: String,
        /// What was asked for.
        request: Request,
        /// Of what.
        object: String,
        /// What it said.
        answer: String,
    },
    /// It cannot be asked anything.
    #[error("cannot use {place}: {cause}")]
    Setup {
        /// The prefix.
        place: String,
        /// Why.
        cause: String,
    },
    /// This program has no client for S3.
    #[error(
        "cannot use {place}: this program was built without S3; build one with `cargo build --release --features s3`"
    )]
    NotBuilt {
        /// The prefix.
        place: String,
    },
}
