//! A change of the rules of access. The number orders the changes of a cluster: each is made once, and none is made twice.

use thiserror::Error;

use super::authorisation::TokenKey;
use super::rules::{Grant, Rules};
use crate::bls::{BlsError, VoteKey, VoteSecretKey, VoteSignature, vouched_key};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::CommitteeRecord;
use crate::digest::{AccessChangeId, ClusterId, derive};
use crate::statement::access_statement;

const MAGIC: &[u8; 7] = b"vouchac";
const VERSION: u8 = 1;

/// What a change decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Who may put and read.
    Rules(Rules),
    /// What a token may do. It replaces what was decided of this token before.
    Grant(TokenKey, Grant),
    /// A token may do nothing more.
    Revoke(TokenKey),
}

/// A change of the rules of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessChange {
    /// The cluster.
    pub cluster: ClusterId,
    /// 1 for the first change of a cluster, and one more for each later one. A change with another number than the next is refused, so
    /// that a recorded grant does not undo a later revocation.
    pub number: u64,
    /// What it decides.
    pub decision: Decision,
}

impl AccessChange {
    /// The change's identity.
    pub fn id(&self) -> AccessChangeId {
        AccessChangeId(derive("vouch access change v1", &[&self.encode()]))
    }

    /// The operator's signature on the change, in the name of this committee.
    pub fn sign_as_operator(&self, committee: &CommitteeRecord, key: &VoteSecretKey) -> VoteSignature {
        key.sign(&self.statement(committee))
    }

    fn statement(&self, committee: &CommitteeRecord) -> Vec<u8> {
        access_statement(committee.epoch(), &committee.cluster(), &committee.digest(), &self.id())
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.number.to_le_bytes());
        match &self.decision {
            Decision::Rules(rules) => {
                out.push(1);
                rules.write(&mut out);
            }
            Decision::Grant(key, grant) => {
                out.push(2);
                out.extend_from_slice(&key.0);
                grant.write(&mut out);
            }
            Decision::Revoke(key) => {
                out.push(3);
                out.extend_from_slice(&key.0);
            }
        }
        out
    }

    /// Decodes exactly one change.
    ///
    /// # Errors
    /// See [`AccessChangeFormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AccessChangeFormatError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        match reader.u8("version")? {
            VERSION => {}
            version => return Err(AccessChangeFormatError::UnknownVersion(version)),
        }
        let cluster = ClusterId(reader.array("cluster")?);
        let number = reader.safe_u64("number of the change")?;
        in_range("number of the change", number, 1, u64::MAX)?;
        let kind = reader.u8("decision")?;
        in_range("decision", kind.into(), 1, 3)?;
        let decision = match kind {
            1 => Decision::Rules(Rules::read(&mut reader)?),
            2 => Decision::Grant(TokenKey(reader.array("token key")?), Grant::read(&mut reader)?),
            _ => Decision::Revoke(TokenKey(reader.array("token key")?)),
        };
        reader.finish()?;
        Ok(Self { cluster, number, decision })
    }
}

/// Checks the operator's signature on a change, in the name of this committee.
///
/// # Errors
/// The key is not a valid point, or did not sign the change.
pub fn verify_access_operator(
    key: &VoteKey,
    committee: &CommitteeRecord,
    change: &AccessChange,
    signature: &VoteSignature,
) -> Result<(), BlsError> {
    vouched_key(key)?.verify(&change.statement(committee), signature)
}

/// Why bytes are not a change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccessChangeFormatError {
    /// The bytes do not follow the layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An unknown format version.
    #[error("expected version {VERSION} of an access change, got {0}")]
    UnknownVersion(u8),
}
