//! Large blobs as objects of a store that speaks S3 (the REST API of 2006-03-01), in one bucket under one prefix.
//!
//! The client for S3 and its dependencies are behind the feature `s3`. Without it, the addresses are still understood, and opening
//! one says how to build a program that can.

use std::time::Duration;

mod error;
#[cfg(feature = "s3")]
mod s3;
mod url;
#[cfg(not(feature = "s3"))]
mod without_s3;

pub use error::{ObjectError, Request};
#[cfg(feature = "s3")]
pub use s3::{Credentials, Objects};
pub use url::{S3Url, StoreUrl, StoreUrlError};
#[cfg(not(feature = "s3"))]
pub use without_s3::{Credentials, Objects};

/// Deadlines of requests to an object store.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to one request, its bytes included.
    pub answer: Duration,
    /// For a question of few bytes, with everything that was tried again.
    pub question: Duration,
    /// For a part, with everything that was tried again; also for a turn to send it.
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

/// A name under the prefix, and the length of what it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: String,
    /// In bytes.
    pub length: u64,
}
