//! The canonical encoding of the state about access, as part of the log's. A cluster that decided nothing about access has none, so that its
//! state is the one of releases without tokens.

use std::collections::BTreeMap;

use vouch_core::access::{AccessChange, Grant, Rules, TokenKey};
use vouch_core::codec::{DecodeError, Reader, in_range, write_count};
use vouch_core::digest::CommitteeDigest;
use vouch_core::limits::MAX_TOKENS;
use vouch_core::link::NodeKey;

use super::state::{Access, Approvals};
use crate::log::state_machine::RestoreError;

impl Access {
    /// Appends the encoding, if anything was decided or approved.
    pub fn write(&self, out: &mut Vec<u8>) {
        if *self == Self::default() {
            return;
        }
        out.extend_from_slice(&self.number.to_le_bytes());
        self.rules.write(out);
        write_count(out, self.tokens.len());
        for (key, grant) in &self.tokens {
            out.extend_from_slice(&key.0);
            grant.write(out);
        }
        out.push(self.approvals.is_some().into());
        if let Some(Approvals { committee, by_member }) = &self.approvals {
            out.extend_from_slice(&committee.0);
            write_count(out, by_member.len());
            for (member, (number, change)) in by_member {
                out.extend_from_slice(&member.0);
                out.extend_from_slice(&number.to_le_bytes());
                let change = change.encode();
                write_count(out, change.len());
                out.extend_from_slice(&change);
            }
        }
    }

    /// Reads a state that some block commits to, to the end. The caller checks that it has the same encoding again.
    ///
    /// # Errors
    /// The bytes are not the encoding of a state.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, RestoreError> {
        if reader.remaining() == 0 {
            return Ok(Self::default());
        }
        let number = reader.safe_u64("number of access changes")?;
        let rules = Rules::read(reader)?;
        let mut tokens = BTreeMap::new();
        let count = reader.u32("number of tokens")?;
        in_range("number of tokens", count.into(), 0, MAX_TOKENS as u64)?;
        for _ in 0..count {
            tokens.insert(TokenKey(reader.array("token key")?), Grant::read(reader)?);
        }
        let approvals = match reader.flag("has approvals")? {
            false => None,
            true => {
                let committee = CommitteeDigest(reader.array("committee of the approvals")?);
                let mut by_member = BTreeMap::new();
                for _ in 0..reader.u32("number of approvals")? {
                    let member = NodeKey(reader.array("member")?);
                    let number = reader.safe_u64("number of an approval")?;
                    by_member.insert(member, (number, read_change(reader)?));
                }
                Some(Approvals { committee, by_member })
            }
        };
        Ok(Self { number, rules, tokens, approvals })
    }
}

fn read_change(reader: &mut Reader<'_>) -> Result<AccessChange, RestoreError> {
    let size = reader.u32("size of a change")?;
    let bytes: Result<_, DecodeError> = reader.take("change", size as usize);
    AccessChange::decode(bytes?).map_err(|error| RestoreError::Rule {
        field: "access change",
        expected: "an access change",
        got: error.to_string(),
    })
}
