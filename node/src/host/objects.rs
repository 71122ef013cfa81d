//! Objects in an S3 store (the REST API of 2006-03-01), in one bucket under one prefix.
//!
//! The S3 client and its dependencies are behind the feature `s3`. Without it, addresses are still parsed, and opening
//! one fails with an error that says how to build the program with S3.

use std::time::Duration;

mod error;
#[cfg(feature = "s3")]
mod s3;
mod url;
#[cfg(not(feature = "s3"))]
mod without_s3;

pub use error::{ObjectError, RequestKind};
#[cfg(feature = "s3")]
pub use s3::{Credentials, Objects};
pub use url::{S3Url, StoreUrl, StoreUrlError};
#[cfg(not(feature = "s3"))]
pub use without_s3::{Credentials, Objects};

/// Deadlines of requests to an object store.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For connecting.
    pub connect: Duration,
    /// For the answer to one request, with its body.
    pub answer: Duration,
    /// For a small request, with all retries.
    pub question: Duration,
    /// For sending a part, with all retries; also for waiting to send it.
    pub part: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(60),
            question: Duration::from_secs(15),
            part: Duration::from_secs(90),
        }
    }
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object's name under the prefix.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
}
