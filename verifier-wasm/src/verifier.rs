//! Bundles are judged, files are hashed.

use vouch_core::limits::MAX_BUNDLE;
use vouch_core::report::{Inspection, Report};
use vouch_core::verify::{self, Question, Subject};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::input::{self, InputError};
use crate::json;

/// Judges bundles. Keeps the committee of the last one, so that the next of the same cluster costs one pairing check.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Verifier(verify::Verifier);

#[wasm_bindgen]
impl Verifier {
    /// Knows no committee yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a bundle by the trusted identity, as text, and the time in seconds since 1970.
    ///
    /// # Errors
    /// An argument is not what it should be; see [`InputError`].
    pub fn judge(
        &mut self,
        bundle: &[u8],
        cluster: Option<String>,
        now: f64,
        waive_expiry: bool,
    ) -> Result<Judgement, InputError> {
        let cluster = cluster.map(|text| input::cluster(&text)).transpose()?;
        let question = Question { cluster, subject: None, now: input::whole("now", now)?, waive_expiry };
        Ok(Judgement(self.0.judge(bundle, &question)))
    }
}

/// What was found of a bundle. The certificate is verified, and may be held against a file once that is hashed.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Judgement(verify::Judgement);

#[wasm_bindgen]
impl Judgement {
    /// Whether the certificate is genuine: no file matters before that.
    #[wasm_bindgen(js_name = isGenuine)]
    pub fn is_genuine(&self) -> bool {
        self.0.genuine().is_ok()
    }

    /// Holds the certificate against a file: its digest in 32 bytes, and its length if it is known.
    ///
    /// # Errors
    /// An argument is not what it should be; see [`InputError`].
    #[wasm_bindgen(js_name = holdAgainst)]
    pub fn hold_against(&mut self, digest: &[u8], length: Option<f64>) -> Result<(), InputError> {
        let length = length.map(|length| input::whole("length", length)).transpose()?;
        self.0.hold_against(Subject { digest: input::digest(digest)?, length });
        Ok(())
    }

    /// The report, as JSON.
    pub fn report(&self) -> String {
        json(&Report::new(&self.0))
    }
}

/// What a bundle says, as JSON. Nothing of it is verified.
///
/// # Errors
/// The report, as JSON, when its form alone decides the verdict.
#[wasm_bindgen]
pub fn inspect(bundle: &[u8]) -> Result<String, String> {
    // by form alone, and with nobody trusted, the verdict is the same
    let report = |_| {
        let nothing = Question { cluster: None, subject: None, now: 0, waive_expiry: false };
        json(&Report::new(&verify::Verifier::new().judge(bundle, &nothing)))
    };
    Inspection::of_bundle(bundle).map(|inspection| json(&inspection)).map_err(report)
}

/// The most bytes that a bundle has. Of a longer one, one byte more than that is enough to judge it.
#[wasm_bindgen(js_name = maxBundle)]
pub fn max_bundle() -> usize {
    MAX_BUNDLE
}

/// The digest of a file, piece by piece, in constant memory.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Hasher(vouch_core::digest::Hasher);

#[wasm_bindgen]
impl Hasher {
    /// Nothing hashed yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything so far, 32 bytes.
    pub fn digest(&self) -> Vec<u8> {
        self.0.digest().0.to_vec()
    }

    /// The number of bytes so far.
    pub fn length(&self) -> f64 {
        // exact up to 2^53, more than can be hashed in a lifetime
        self.0.length() as f64
    }
}

/// The 32 bytes of a digest's text: base58, or 64 hexadecimal digits.
///
/// # Errors
/// The text is neither.
#[wasm_bindgen(js_name = digestBytes)]
pub fn digest_bytes(text: &str) -> Result<Vec<u8>, InputError> {
    Ok(input::digest_text(text)?.0.to_vec())
}

/// A digest in base58.
///
/// # Errors
/// Not 32 bytes.
#[wasm_bindgen(js_name = digestBase58)]
pub fn digest_base58(digest: &[u8]) -> Result<String, InputError> {
    Ok(input::digest(digest)?.to_string())
}

/// A digest in hexadecimal digits.
///
/// # Errors
/// Not 32 bytes.
#[wasm_bindgen(js_name = digestHex)]
pub fn digest_hex(digest: &[u8]) -> Result<String, InputError> {
    Ok(input::digest(digest)?.to_hex())
}
