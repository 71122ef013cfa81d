//! Verification of a range of a blob that comes over HTTP with its proofs.

use vouch_core::session::Failure;
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
