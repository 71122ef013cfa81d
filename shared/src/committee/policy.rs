//! The policy of a committee: whose signatures a change of members needs.

use std::fmt;

use thiserror::Error;

use crate::bls::{BlsError, VoteKey, vouched_key};
use crate::codec::{DecodeError, Reader, same};
use crate::comparison::Quoted;

const OPEN: u8 = 0;
const OPERATOR: u8 = 1;
const NO_KEY: [u8; 48] = [0; 48];

/// Whose signatures a change of members needs. The genesis fixes it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// A quorum of the members.
    Open,
    /// A quorum of the members, and the operator who has the secret to this key. The key is not checked to be a valid point here.
    Operator(VoteKey),
}

/// The number of the last policy that is known, for error messages.
pub(super) const LAST_POLICY: u8 = OPERATOR;

/// For people.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Operator(key) => write!(f, "operator {key}"),
        }
    }
}

impl Policy {
    /// The policy's number.
    pub(super) fn number(&self) -> u8 {
        match self {
            Self::Open => OPEN,
            Self::Operator(_) => OPERATOR,
        }
    }

    /// The policy with this operator, or without any.
    pub fn of(operator: Option<VoteKey>) -> Self {
        operator.map_or(Self::Open, Self::Operator)
    }

    /// The field *operator key*.
    pub(super) fn operator_key(&self) -> [u8; 48] {
        match self {
            Self::Open => NO_KEY,
            Self::Operator(key) => key.0,
        }
    }

    /// Whether a policy with this number is known.
    pub(super) fn is_known(number: u8) -> bool {
        number <= LAST_POLICY
    }

    /// Reads the field *operator key* of a known policy.
    pub(super) fn read(number: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let key: [u8; 48] = reader.array("operator key")?;
        if number == OPEN {
            same("operator key of an open committee", &NO_KEY, &key)?;
            return Ok(Self::Open);
        }
        if key == NO_KEY {
            let (expected, got) = ("not zeros", "zeros".to_owned());
            return Err(DecodeError::BadText { field: "operator key", expected, got });
        }
        Ok(Self::Operator(VoteKey(key)))
    }
}

/// Parses an operator's public key: base58 of 48 bytes. It must be a valid point: a committee whose operator has another key can never
/// change.
///
/// # Errors
/// See [`OperatorKeyParseError`].
pub fn parse_operator_key(text: &str) -> Result<VoteKey, OperatorKeyParseError> {
    let not_base58 = || OperatorKeyParseError::NotBase58 { text: text.chars().take(80).collect() };
    // Decoding is quadratic, so refuse long texts first: 48 bytes are at most 66 characters.
    if text.len() > 80 {
        return Err(not_base58());
    }
    let bytes = bs58::decode(text).into_vec().map_err(|_| not_base58())?;
    let key = VoteKey(bytes.try_into().map_err(|bytes: Vec<u8>| OperatorKeyParseError::Size { got: bytes.len() })?);
    vouched_key(&key)?;
    Ok(key)
}

/// Why a text is not an operator's public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OperatorKeyParseError {
    /// The text is not base58.
    #[error("expected a public key in base58, got {}", Quoted(.text))]
    NotBase58 {
        /// The text, cut after 80 characters.
        text: String,
    },
    /// The text is base58, but not of 48 bytes.
    #[error("expected a public key of 48 bytes, got {got}")]
    Size {
        /// The number of bytes decoded.
        got: usize,
    },
    /// The bytes are not a valid point.
    #[error("this is no public key: {0}")]
    Point(#[from] BlsError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bls::VoteSecretKey;

    #[test]
    fn only_valid_points_are_keys_of_an_operator() {
        let key = VoteSecretKey::generate(&[1; 32]).unwrap().vote_key();
        let text = key.to_string();
        assert_eq!(parse_operator_key(&text), Ok(key));
        let got = |text: &str| parse_operator_key(text).unwrap_err();
        assert!(matches!(got("0"), OperatorKeyParseError::NotBase58 { .. }));
        assert!(matches!(got(&"1".repeat(81)), OperatorKeyParseError::NotBase58 { .. }));
        assert_eq!(got(""), OperatorKeyParseError::Size { got: 0 });
        assert_eq!(got(&format!("1{text}")), OperatorKeyParseError::Size { got: 49 });
        let mut infinity = [0; 48];
        infinity[0] = 0xC0;
        let refused = got(&VoteKey(infinity).to_string());
        assert_eq!(refused, OperatorKeyParseError::Point(BlsError::Infinity));
        let mut other = key;
        other.0[47] ^= 1;
        assert!(matches!(got(&other.to_string()), OperatorKeyParseError::Point(_)));
    }
}
