//! The texts of digests.

use wasm_bindgen::prelude::wasm_bindgen;

use crate::input::{self, InputError};

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
