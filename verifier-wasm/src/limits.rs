//! The specification's limits.

use vouch_core::limits::{MAX_BUNDLE, MAX_MEMBERS};
use wasm_bindgen::prelude::wasm_bindgen;

/// Maximum size of a bundle in bytes. One byte more is enough to have a longer bundle judged as too large.
#[wasm_bindgen(js_name = maxBundle)]
pub fn max_bundle() -> usize {
    MAX_BUNDLE
}

/// Maximum number of members of a committee.
#[wasm_bindgen(js_name = maxMembers)]
pub fn max_members() -> u16 {
    MAX_MEMBERS
}
