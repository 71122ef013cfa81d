//! Vouch for JavaScript: conversions around [`vouch_core`], which decides everything.
//!
//! Three modules are built of the features: the verifier of files; the client, which puts and gets and verifies what the log says; and
//! the few conversions that a page's service worker needs. Compound values are returned as JSON, in the form of the core's own types. Invalid arguments
//! throw exceptions: `TypeError` for texts and sizes, `RangeError` for numbers.

#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "client")]
mod client;
#[cfg(any(feature = "verifier", feature = "client"))]
mod digests;
mod input;
#[cfg(any(feature = "verifier", feature = "log"))]
mod limits;
#[cfg(feature = "log")]
mod log;
#[cfg(feature = "slices")]
mod slices;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "verifier")]
mod verifier;

use serde::Serialize;

#[cfg(feature = "bench")]
pub use crate::bench::{BareChain, Sample};
#[cfg(any(feature = "verifier", feature = "client"))]
pub use crate::digests::*;
pub use crate::input::InputError;
#[cfg(any(feature = "verifier", feature = "log"))]
pub use crate::limits::*;
#[cfg(feature = "log")]
pub use crate::log::{LogQuestion, LogVerifier};
#[cfg(feature = "slices")]
pub use crate::slices::{SliceRetry, Slices};
#[cfg(feature = "tools")]
pub use crate::tools::{Hasher, decide_trust};
#[cfg(feature = "verifier")]
pub use crate::verifier::*;

fn json(value: &impl Serialize) -> String {
    // Fails only for maps whose keys are not strings, and for sequences of unknown length. No type here has either.
    serde_json::to_string(value).unwrap_or_default()
}
