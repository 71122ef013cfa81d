//! Errors of an object store, and what to do next.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// Reading an object.
    Read,
    /// Writing an object.
    Write,
    /// Removing an object.
    Remove,
    /// Listing names.
    List,
}

impl fmt::Display for RequestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Remove => "remove",
            Self::List => "list",
        })
    }
}

/// Why a request to an object store failed. Cheap to clone, because one failure may be reported to many.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// The store is full, or its owner's quota is used up.
    #[error("{server} has no space left to write {object}; free some there, or raise the quota")]
    NoSpace {
        /// The store.
        server: String,
        /// The object.
        object: String,
    },
    /// There are no credentials.
    #[error("no credentials for {server}{cause}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")]
    NoCredentials {
        /// The store.
        server: String,
        /// Why, after a colon; may be empty.
        cause: String,
    },
    /// The credentials are wrong, or do not permit the request.
    #[error(
        "{server} denied permission to {request} {object} ({answer}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they permit"
    )]
    Denied {
        /// The store.
        server: String,
        /// The request.
        request: RequestKind,
        /// The object.
        object: String,
        /// The store's answer.
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
    /// The store did not answer in time.
    #[error("cannot reach {server}: {cause}; check that it runs and that the network leads there")]
    Unreachable {
        /// The store.
        server: String,
        /// Why.
        cause: String,
    },
    /// Too many objects wait to be written.
    #[error("{server} is too slow: no turn to write {object} within {} s; try again later", .timeout.as_secs())]
    Busy {
        /// The store.
        server: String,
        /// The object.
        object: String,
        /// How long it waited.
        timeout: Duration,
    },
    /// An object's length differs from the expected one.
    #[error("{object}: expected {expected} bytes, {server} has {got}")]
    LengthDiffers {
        /// The store.
        server: String,
        /// The object.
        object: String,
        /// The expected length in bytes.
        expected: u64,
        /// The object's length.
        got: u64,
    },
    /// The object would exceed the size limit.
    #[error("{object}: expected at most {limit} bytes, got {got}")]
    TooLarge {
        /// The object.
        object: String,
        /// The limit in bytes.
        limit: u64,
        /// The object's length.
        got: u64,
    },
    /// Another replica uses the prefix.
    #[error("{place} belongs to another replica, {owner:?}; give each replica a prefix of its own with --store")]
    Taken {
        /// The prefix.
        place: String,
        /// The other's node key.
        owner: String,
    },
    /// Any other failure that the store answered with.
    #[error("{server} did not {request} {object}: {answer}")]
    Refused {
        /// The store.
        server: String,
        /// The request.
        request: RequestKind,
        /// The object.
        object: String,
        /// The store's answer.
        answer: String,
    },
    /// The client could not be set up.
    #[error("cannot use {place}: {cause}")]
    Setup {
        /// The prefix.
        place: String,
        /// Why.
        cause: String,
    },
    /// This program was built without an S3 client.
    #[error(
        "cannot use {place}: this program was built without S3; build one with `cargo build --release --features s3`"
    )]
    NotBuilt {
        /// The prefix.
        place: String,
    },
}
