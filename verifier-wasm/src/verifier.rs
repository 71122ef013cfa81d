//! Judging bundles.

use vouch_core::report::{Inspection, Report};
use vouch_core::verify::{self, Subject, Trust, VerifyOptions};
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

    /// Judges a bundle. `cluster`: the trusted cluster identity, as text. `checkpoint`: a committee that is trusted as well, as text. `now`:
    /// seconds since 1970.
    ///
    /// # Errors
    /// An argument is not valid; see [`InputError`].
    pub fn judge(
        &mut self,
        bundle: &[u8],
        cluster: Option<String>,
        now: f64,
        waive_expiry: bool,
        checkpoint: Option<String>,
        require_sealed: bool,
    ) -> Result<Judgement, InputError> {
        let trust = input::trust(cluster, checkpoint)?;
        let now = input::whole("now", now)?;
        let options = VerifyOptions { trust, require_sealed, subject: None, now, waive_expiry };
        Ok(Judgement(self.0.judge(bundle, &options)))
    }
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
        let nothing = VerifyOptions {
            trust: Trust::default(),
            require_sealed: false,
            subject: None,
            now: 0,
            waive_expiry: false,
        };
        json(&Report::new(&verify::Verifier::new().judge(bundle, &nothing)))
    };
    Inspection::of_bundle(bundle).map(|inspection| json(&inspection)).map_err(report)
}
