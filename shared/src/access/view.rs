//! What a member tells a server about access. It is that member's claim.

use super::authorisation::TokenKey;
use super::rules::{Grant, Rules};
use crate::codec::{DecodeError, Reader, in_range, write_count};
use crate::limits::MAX_TOKENS;

/// The rules of access, and the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessView {
    /// The number of changes that were made.
    pub number: u64,
    /// Who may put and read.
    pub rules: Rules,
    /// What each token may do, ascending by token.
    pub tokens: Vec<(TokenKey, Grant)>,
}

impl AccessView {
    /// Appends the encoding.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        self.rules.write(out);
        write_count(out, self.tokens.len());
        for (key, grant) in &self.tokens {
            out.extend_from_slice(&key.0);
            grant.write(out);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.safe_u64("number of access changes")?;
        let rules = Rules::read(reader)?;
        let count = reader.u32("number of tokens")?;
        in_range("number of tokens", count.into(), 0, MAX_TOKENS as u64)?;
        let token = |_| Ok((TokenKey(reader.array("token key")?), Grant::read(reader)?));
        let tokens = (0..count).map(token).collect::<Result<Vec<_>, DecodeError>>()?;
        match tokens.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            None => Ok(Self { number, rules, tokens }),
            Some(pair) => {
                let (expected, got) = ("tokens that ascend", pair[1].0.to_string());
                Err(DecodeError::BadText { field: "tokens", expected, got })
            }
        }
    }
}
