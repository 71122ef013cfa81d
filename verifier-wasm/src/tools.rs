//! Hashing of files, and the decision which cluster identity to trust.

use vouch_core::trust::{self, KnownIdentities};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::json;

/// Computes a file's digest piece by piece, in constant memory.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Hasher(vouch_core::digest::Hasher);

#[wasm_bindgen]
impl Hasher {
    /// A hasher that has taken no bytes yet.
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
        // Exact up to 2^53, which is more than can be hashed in a lifetime.
        self.0.length() as f64
    }
}

/// Decides which identity to trust. Returns a [`trust::TrustDecision`] as JSON. Identities are texts in their canonical form, base58;
/// another text is not an error, and equals no identity.
#[wasm_bindgen(js_name = decideTrust)]
pub fn decide_trust(
    given: Option<String>,
    address: Option<String>,
    is_address_malformed: bool,
    remembered: Option<String>,
    was_compared: bool,
    taken: Option<String>,
    shown: Option<String>,
) -> String {
    json(&trust::decide(&KnownIdentities {
        given,
        address,
        is_address_malformed,
        remembered,
        was_compared,
        taken,
        shown,
    }))
}
