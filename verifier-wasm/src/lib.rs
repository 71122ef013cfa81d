//! Vouch for JavaScript: conversions around [`vouch_core`], which decides everything.
//!
//! Each feature builds a module of its own: `verifier`; `client`, which also puts and gets; `slices`, the few conversions that a
//! page's service worker needs. Compound values are returned as JSON, in the form of the core's own types. Invalid arguments
//! throw exceptions: `TypeError` for texts and sizes, `RangeError` for numbers.

#[cfg(feature = "bench")]
mod bench;
#[cfg(feature = "client")]
mod client;
mod input;
#[cfg(feature = "slices")]
mod slices;
#[cfg(feature = "tools")]
mod tools;
#[cfg(feature = "verifier")]
mod verifier;

use serde::Serialize;

pub use crate::input::InputError;
#[cfg(feature = "slices")]
pub use crate::slices::{SliceRetry, Slices};
#[cfg(feature = "tools")]
pub use crate::tools::{Hasher, decide_trust, max_members};
#[cfg(feature = "verifier")]
pub use crate::verifier::*;

fn json(value: &impl Serialize) -> String {
    // Fails only for maps whose keys are not strings, and for sequences of unknown length. No type here has either.
    serde_json::to_string(value).unwrap_or_default()
}
