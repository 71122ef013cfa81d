//! Judging bundles.

use vouch_core::limits::MAX_BUNDLE;
#[cfg(feature = "tools")]
use vouch_core::report::{BlockReport, HeadReport, OpReport};
use vouch_core::report::{Inspection, Report};
#[cfg(feature = "tools")]
use vouch_core::verify::LogVerifyOptions;
use vouch_core::verify::{self, Subject, VerifyOptions};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::input::{self, InputError};
use crate::json;

/// Judges bundles. It caches the committee of the last one, so that the next bundle of the same cluster costs one pairing check.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Verifier(verify::Verifier);

#[wasm_bindgen]
impl Verifier {
    /// A verifier with an empty cache.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a bundle. `cluster`: the trusted cluster identity, as text. `now`: seconds since 1970.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    pub fn judge(
        &mut self,
        bundle: &[u8],
        cluster: Option<String>,
        now: f64,
        waive_expiry: bool,
    ) -> Result<Judgement, InputError> {
        let cluster = cluster.map(|text| input::cluster(&text)).transpose()?;
        let options = VerifyOptions { cluster, subject: None, now: input::whole("now", now)?, waive_expiry };
        Ok(Judgement(self.0.judge(bundle, &options)))
    }
}

#[cfg(feature = "tools")]
#[wasm_bindgen]
impl Verifier {
    /// Judges the bundle of an op. Returns the report, as JSON. `op`: the identity of the op that is asked for, as text; without one,
    /// the bundle may be of any op.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = judgeOp)]
    pub fn judge_op(
        &mut self,
        bundle: &[u8],
        cluster: Option<String>,
        now: f64,
        op: Option<String>,
    ) -> Result<String, InputError> {
        let op = op.map(|text| input::op(&text)).transpose()?;
        let options = log_options(cluster, op, now)?;
        Ok(json(&OpReport::new(&self.0.judge_op(bundle, &options))))
    }

    /// Judges the bundle of a log head. Returns the report, as JSON. `height`: the least height that is asked for.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = judgeHead)]
    pub fn judge_head(
        &mut self,
        bundle: &[u8],
        cluster: Option<String>,
        now: f64,
        height: Option<f64>,
    ) -> Result<String, InputError> {
        let options = log_options(cluster, height_of(height)?, now)?;
        Ok(json(&HeadReport::new(&self.0.judge_head(bundle, &options))))
    }

    /// Judges the bundle of a block. Returns the report, as JSON. `height`: the height that is asked for; without one, the bundle may be of
    /// any block.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = judgeBlock)]
    pub fn judge_block(
        &mut self,
        bundle: &[u8],
        cluster: Option<String>,
        now: f64,
        height: Option<f64>,
    ) -> Result<String, InputError> {
        let options = log_options(cluster, height_of(height)?, now)?;
        Ok(json(&BlockReport::new(&self.0.judge_block(bundle, &options))))
    }
}

#[cfg(feature = "tools")]
fn height_of(height: Option<f64>) -> Result<Option<u64>, InputError> {
    height.map(|height| input::whole("height", height)).transpose()
}

#[cfg(feature = "tools")]
fn log_options<W>(cluster: Option<String>, wanted: Option<W>, now: f64) -> Result<LogVerifyOptions<W>, InputError> {
    let cluster = cluster.map(|text| input::cluster(&text)).transpose()?;
    Ok(LogVerifyOptions { cluster, wanted, now: input::whole("now", now)? })
}

/// The result for a bundle. The certificate has been checked, and can be compared with a file once the file is hashed.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Judgement(verify::Judgement);

#[wasm_bindgen]
impl Judgement {
    /// Whether the certificate is genuine. If not, a file need not be hashed.
    #[wasm_bindgen(js_name = isGenuine)]
    pub fn is_genuine(&self) -> bool {
        self.0.genuine().is_ok()
    }

    /// Compares the certificate with a file: its digest, 32 bytes, and its length if known.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    #[wasm_bindgen(js_name = holdAgainst)]
    pub fn hold_against(&mut self, digest: &[u8], length: Option<f64>) -> Result<(), InputError> {
        let length = length.map(|length| input::whole("length", length)).transpose()?;
        self.0.compare_with(Subject { digest: input::digest(digest)?, length });
        Ok(())
    }

    /// The report, as JSON.
    pub fn report(&self) -> String {
        json(&Report::new(&self.0))
    }
}

/// Everything that a bundle states, as JSON. None of it is verified.
///
/// # Errors
/// The report, as JSON, if the bundle is not well formed or of an unknown version.
#[wasm_bindgen]
pub fn inspect(bundle: &[u8]) -> Result<String, String> {
    // The verdict on a malformed bundle does not depend on the trusted identity, so none is given.
    let report = |_| {
        let nothing = VerifyOptions { cluster: None, subject: None, now: 0, waive_expiry: false };
        json(&Report::new(&verify::Verifier::new().judge(bundle, &nothing)))
    };
    Inspection::of_bundle(bundle).map(|inspection| json(&inspection)).map_err(report)
}

/// Maximum size of a bundle in bytes. One byte more is enough to have a longer bundle judged as too large.
#[wasm_bindgen(js_name = maxBundle)]
pub fn max_bundle() -> usize {
    MAX_BUNDLE
}

/// Parses a digest's text, base58 or 64 hexadecimal digits, to 32 bytes.
///
/// # Errors
/// The text is neither form.
#[wasm_bindgen(js_name = digestBytes)]
pub fn digest_bytes(text: &str) -> Result<Vec<u8>, InputError> {
    Ok(input::digest_text(text)?.0.to_vec())
}

/// A digest in base58.
///
/// # Errors
/// `digest` does not have 32 bytes.
#[wasm_bindgen(js_name = digestBase58)]
pub fn digest_base58(digest: &[u8]) -> Result<String, InputError> {
    Ok(input::digest(digest)?.to_string())
}

/// A digest in hexadecimal digits.
///
/// # Errors
/// `digest` does not have 32 bytes.
#[wasm_bindgen(js_name = digestHex)]
pub fn digest_hex(digest: &[u8]) -> Result<String, InputError> {
    Ok(input::digest(digest)?.to_hex())
}
