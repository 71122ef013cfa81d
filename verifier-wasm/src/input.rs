//! Conversion of values from JavaScript, which may be anything: they are converted exactly or refused.

use thiserror::Error;
use vouch_core::MAX_SAFE_INTEGER;
#[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
use vouch_core::chain::ParseCheckpointError;
#[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
use vouch_core::digest::ClusterId;
#[cfg(feature = "log")]
use vouch_core::digest::OpId;
use vouch_core::digest::{Digest, ParseHashError};
#[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
use vouch_core::verify::Trust;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

/// Why an argument is refused. This is not a verdict: without valid arguments there is nothing to judge.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InputError {
    /// The trusted identity.
    #[error("cluster: {0}")]
    Cluster(ParseHashError),
    /// The committee that is trusted as well.
    #[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
    #[error("checkpoint: {0}")]
    Checkpoint(ParseCheckpointError),
    /// An op's identity.
    #[cfg(feature = "log")]
    #[error("op: {0}")]
    Op(ParseHashError),
    /// The file's digest.
    #[error("digest: {0}")]
    Digest(ParseHashError),
    /// A token's secret. The error shows nothing of it.
    #[cfg(feature = "client")]
    #[error("token: {0}")]
    Token(vouch_core::access::ParseTokenError),
    /// A range of a file.
    #[cfg(feature = "client")]
    #[error("range: {0}")]
    Range(vouch_core::session::ParseRangeError),
    /// Random bytes.
    #[error("{name}: expected {expected} bytes, got {got}")]
    Size {
        /// The argument.
        name: &'static str,
        /// The required number of bytes.
        expected: usize,
        /// The actual number of bytes.
        got: usize,
    },
    /// A count of seconds or bytes.
    #[error("{name}: expected a whole number from 0 to {MAX_SAFE_INTEGER}")]
    Number {
        /// The argument.
        name: &'static str,
        /// Its value.
        got: f64,
    },
}

#[wasm_bindgen]
extern "C" {
    type TypeError;
    #[wasm_bindgen(constructor)]
    fn new(message: &str) -> TypeError;

    type RangeError;
    #[wasm_bindgen(constructor)]
    fn new(message: &str) -> RangeError;

    /// JavaScript's text of a number. Rust's own formatting would make up a tenth of the module.
    #[wasm_bindgen(js_name = String)]
    fn text(number: f64) -> String;
}

impl From<InputError> for JsValue {
    fn from(error: InputError) -> Self {
        let message = error.to_string();
        match error {
            InputError::Cluster(_) | InputError::Digest(_) | InputError::Size { .. } => TypeError::new(&message).into(),
            #[cfg(feature = "client")]
            InputError::Token(_) => TypeError::new(&message).into(),
            #[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
            InputError::Checkpoint(_) => TypeError::new(&message).into(),
            #[cfg(feature = "log")]
            InputError::Op(_) => TypeError::new(&message).into(),
            #[cfg(feature = "client")]
            InputError::Range(_) => TypeError::new(&message).into(),
            InputError::Number { got, .. } => RangeError::new(&format!("{message}, got {}", text(got))).into(),
        }
    }
}

/// The trusted identity.
#[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
pub(crate) fn cluster(text: &str) -> Result<ClusterId, InputError> {
    text.parse().map_err(InputError::Cluster)
}

/// What a verifier trusts: an identity and a checkpoint, as text.
#[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
pub(crate) fn trust(cluster: Option<String>, checkpoint: Option<String>) -> Result<Trust, InputError> {
    let cluster = cluster.map(|text| self::cluster(&text)).transpose()?;
    let checkpoint = checkpoint.map(|text| text.parse().map_err(InputError::Checkpoint)).transpose()?;
    Ok(Trust { cluster, checkpoint })
}

/// An op's identity.
#[cfg(feature = "log")]
pub(crate) fn op(text: &str) -> Result<OpId, InputError> {
    text.parse().map_err(InputError::Op)
}

/// A digest's text.
pub(crate) fn digest_text(text: &str) -> Result<Digest, InputError> {
    text.parse().map_err(InputError::Digest)
}

/// A digest's bytes.
#[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, InputError> {
    let wrong_size = |_| InputError::Digest(ParseHashError::Size { got: bytes.len() });
    bytes.try_into().map(Digest).map_err(wrong_size)
}

/// A token's secret.
#[cfg(feature = "client")]
pub(crate) fn token(text: &str) -> Result<vouch_core::access::TokenSecret, InputError> {
    text.trim().parse().map_err(InputError::Token)
}

/// The requested range of a file, as in HTTP.
#[cfg(feature = "client")]
pub(crate) fn range(text: &str) -> Result<vouch_core::session::ByteRange, InputError> {
    text.parse().map_err(InputError::Range)
}

/// Exactly `N` bytes.
#[cfg(feature = "client")]
pub(crate) fn array<const N: usize>(name: &'static str, bytes: &[u8]) -> Result<[u8; N], InputError> {
    bytes.try_into().map_err(|_| InputError::Size { name, expected: N, got: bytes.len() })
}

/// A count of seconds or bytes.
pub(crate) fn whole(name: &'static str, value: f64) -> Result<u64, InputError> {
    // NaN is in no range, so it is refused as well.
    if !(0.0..=MAX_SAFE_INTEGER as f64).contains(&value) || value.fract() != 0.0 {
        return Err(InputError::Number { name, got: value });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(whole("now", 0.0), Ok(0));
        assert_eq!(whole("now", -0.0), Ok(0));
        assert_eq!(whole("now", 9_007_199_254_740_991.0), Ok(MAX_SAFE_INTEGER));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 9_007_199_254_740_992.0, 1e300, 5e-324] {
            assert!(matches!(whole("now", bad), Err(InputError::Number { name: "now", .. })), "{bad:?}");
        }
    }

    #[cfg(any(feature = "verifier", feature = "client", feature = "log"))]
    #[test]
    fn digests_have_32_bytes() {
        assert_eq!(digest(&[7; 32]), Ok(Digest([7; 32])));
        assert_eq!(
            digest(&[7; 31]).map_err(|error| error.to_string()),
            Err("digest: expected 32 bytes, got 31".to_owned())
        );
    }
}
