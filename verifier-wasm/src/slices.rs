//! Verification of a range of a blob that comes over HTTP with its proofs, and the retries of a request that fails.

use std::time::Duration;

use vouch_core::session::{self, Failure, Fault, Milestone};
use vouch_core::slice::{Head, SliceReader};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::input::{self, InputError};
use crate::json;

/// Reads a body of slices, and returns verified bytes.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Slices(SliceReader);

#[wasm_bindgen]
impl Slices {
    /// `digest` (as text) and `length` are the blob's; `start` and `end` are the requested range, the end not included.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(constructor)]
    pub fn new(digest: &str, length: f64, start: f64, end: f64) -> Result<Self, InputError> {
        let range = input::whole("start", start)?..input::whole("end", end)?;
        let expected = Head { length: input::whole("length", length)?, range };
        Ok(Self(SliceReader::expecting(input::digest_text(digest)?, expected)))
    }

    /// Takes the next bytes of the body. Returns the bytes of the range that are verified with them, often none.
    ///
    /// # Errors
    /// The [`Failure`], as JSON. The caller must not use the reader after an error.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        match self.0.push(bytes) {
            Ok(pieces) => Ok(pieces.concat()),
            Err(error) => Err(json(&Failure::from(&error))),
        }
    }

    /// Checks, at the end of the body, that it is complete.
    ///
    /// # Errors
    /// The [`Failure`], as JSON: bytes are missing.
    pub fn finish(&self) -> Result<(), String> {
        self.0.finish().map_err(|error| json(&Failure::from(&error)))
    }
}

/// How long a range is requested again without progress: a viewer who waits longer wants to know why.
const LIMIT: Duration = Duration::from_secs(5);

/// Decides whether a request for the rest of a range is made again. The page has found the blob at the server before.
#[wasm_bindgen]
#[derive(Debug)]
pub struct SliceRetry(session::Retry);

#[wasm_bindgen]
impl SliceRetry {
    /// No request has failed yet.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript has no Default")]
    pub fn new() -> Self {
        let mut retry = session::Retry::new(LIMIT);
        retry.reached(0, Milestone::Ready(0));
        Self(retry)
    }

    /// The range is verified up to this offset in the blob.
    pub fn moved(&mut self, offset: f64) {
        self.0.reached(0, Milestone::Moved(input::whole("offset", offset).unwrap_or_default()));
    }

    /// The pause in milliseconds before the next request, after one failed; `undefined` if there is none. `problem`: the code of the
    /// server's answer; without it, the connection was lost. `now`: milliseconds of a monotonic clock. `random`: a random byte.
    pub fn pause(&mut self, problem: Option<String>, now: f64, random: u8) -> Option<f64> {
        let fault = problem.map_or(Fault::Link, |code| Fault::of_problem(&code));
        let now = Duration::try_from_secs_f64(now / 1000.0).unwrap_or_default();
        self.0.pause(fault, now, random).map(|pause| 1000.0 * pause.as_secs_f64())
    }
}
