//! The policy of a committee: whose signatures a change of members needs.

use std::fmt;

use crate::bls::VoteKey;
use crate::codec::{DecodeError, Reader, same};

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
