//! A replica's durable record about foundings, and its file format.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Founding, FoundingError, Refusal, read_founding, read_refusal, write_founding, write_refusal};
use crate::codec::{DecodeError, Reader, in_range};
use crate::committee::CommitteeError;
use crate::digest::CommitteeDigest;

const MAGIC: &[u8; 7] = b"vouchfd";
const VERSION: u8 = 1;
/// Maximum number of foundings that a replica has refused. It keeps them permanently, because it must never accept them. Only a hostile
/// server gets near this number. Beyond it, the replica refuses no more, so some of them never end.
pub(crate) const MAX_REFUSED: usize = 1024;
/// Maximum number of foundings that a replica accepted and was released from. If one is shown again, the replica answers with the other member's
/// refusal; a refusal of its own would be evidence against it. Beyond this number it is no longer released.
pub(crate) const MAX_RELEASED: usize = 1024;

/// A replica's promises about foundings. They are durable before they are sent.
#[derive(Debug, Clone, Default)]
pub struct ReplicaRecord {
    /// The accepted founding, which binds the replica.
    pub(crate) accepted: Option<Founding>,
    /// The foundings that the replica must never accept, each with the one that it had accepted when it refused it.
    pub(crate) refused: BTreeMap<CommitteeDigest, CommitteeDigest>,
    /// The foundings that the replica had accepted until another member refused them, with that refusal.
    pub(crate) released: BTreeMap<CommitteeDigest, Refusal>,
}

/// Why bytes are not a valid record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes do not follow the layout.
    #[error("founding record: {0}")]
    Decode(#[from] DecodeError),
    /// The version is unknown.
    #[error("founding record version: expected {VERSION}, got {0}")]
    UnknownVersion(u8),
    /// The founding inside is malformed.
    #[error("founding record: {0}")]
    Committee(#[from] CommitteeError),
    /// The founding inside is invalid.
    #[error("founding record: {0}")]
    Founding(#[from] FoundingError),
}

impl ReplicaRecord {
    /// The record with this founding as the accepted one.
    pub fn with(self, accepted: Founding) -> Self {
        Self { accepted: Some(accepted), ..self }
    }

    /// The accepted founding.
    pub fn accepted(&self) -> Option<&Founding> {
        self.accepted.as_ref()
    }

    /// Encodes the record, to be saved.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        match &self.accepted {
            None => out.push(0),
            Some(founding) => {
                out.push(1);
                write_founding(&founding.message(), &mut out);
            }
        }
        out.extend_from_slice(&count(self.refused.len()));
        for (refused, accepted) in &self.refused {
            out.extend_from_slice(&refused.0);
            out.extend_from_slice(&accepted.0);
        }
        out.extend_from_slice(&count(self.released.len()));
        for refusal in self.released.values() {
            write_refusal(refusal, &mut out);
        }
        out
    }

    /// Decodes and verifies a saved record. `known`: the founding of the committee that was saved beside it, if there is
    /// one. If it is the accepted one, its proofs of possession are not verified a second time.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(bytes: &[u8], known: Option<&Founding>) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(RecordError::UnknownVersion(version));
        }
        let accepted = match reader.flag("accepted")? {
            false => None,
            true => Some(Founding::open_known(read_founding(&mut reader)?, known)?),
        };
        let mut refused = BTreeMap::new();
        let number = reader.u16("number of refused foundings")?;
        in_range("number of refused foundings", number.into(), 0, MAX_REFUSED as u64)?;
        for _ in 0..number {
            let digest = CommitteeDigest(reader.array("founding refused")?);
            ascending(refused.last_key_value().map(|(last, _)| last), &digest)?;
            refused.insert(digest, CommitteeDigest(reader.array("founding accepted")?));
        }
        let mut released = BTreeMap::new();
        let number = reader.u16("number of refusals")?;
        in_range("number of refusals", number.into(), 0, MAX_RELEASED as u64)?;
        for _ in 0..number {
            let refusal = read_refusal(&mut reader)?;
            ascending(released.last_key_value().map(|(last, _)| last), &refusal.refused)?;
            released.insert(refusal.refused, refusal);
        }
        reader.finish()?;
        Ok(Self { accepted, refused, released })
    }
}

fn ascending(last: Option<&CommitteeDigest>, next: &CommitteeDigest) -> Result<(), DecodeError> {
    match last.is_none_or(|last| last < next) {
        true => Ok(()),
        false => Err(DecodeError::BadText {
            field: "foundings",
            expected: "in ascending order, each once",
            got: next.to_string(),
        }),
    }
}

/// A number of entries as 16 bits. The limits above are far below that.
fn count(entries: usize) -> [u8; 2] {
    u16::try_from(entries).unwrap_or(u16::MAX).to_le_bytes()
}
