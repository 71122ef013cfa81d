//! What a replica must remember about foundings, as bytes of a file.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Founding, FoundingError, Refusal};
use crate::codec::{DecodeError, Reader, in_range};
use crate::digest::CommitteeDigest;
use crate::message::{MessageError, read_founding, read_refusal, write_founding, write_refusal};

const MAGIC: &[u8; 7] = b"vouchfd";
const VERSION: u8 = 1;
/// Foundings that a replica refused while it had accepted another, and must never accept: kept for ever. Only a hostile
/// server comes near this number; beyond it the replica refuses no more, and only foundings wait in vain for it.
pub(super) const MAX_REFUSED: usize = 1024;
/// Foundings that a replica accepted and was released from. It answers with the other member's refusal when they are shown again;
/// a refusal of its own would be evidence against it. With so many it is released no more.
pub(super) const MAX_RELEASED: usize = 1024;

/// A replica's promises about foundings, durable before they are spoken.
#[derive(Debug, Clone, Default)]
pub struct ReplicaRecord {
    /// The founding that it accepted and is bound to.
    pub(super) accepted: Option<Founding>,
    /// The foundings that it must never accept, with the one that it had accepted when it refused them.
    pub(super) refused: BTreeMap<CommitteeDigest, CommitteeDigest>,
    /// The foundings that it accepted until another member refused them.
    pub(super) released: BTreeMap<CommitteeDigest, Refusal>,
}

/// Why bytes are not such a record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Not the layout.
    #[error("founding record: {0}")]
    Decode(#[from] DecodeError),
    /// A version that is not known.
    #[error("founding record version: expected {VERSION}, got {0}")]
    UnknownVersion(u8),
    /// The founding inside is malformed.
    #[error("founding record: {0}")]
    Message(#[from] MessageError),
    /// The founding inside does not hold.
    #[error("founding record: {0}")]
    Founding(#[from] FoundingError),
}

impl ReplicaRecord {
    /// The same, of a replica that belongs to this founding.
    pub fn with(self, accepted: Founding) -> Self {
        Self { accepted: Some(accepted), ..self }
    }

    /// The founding that the replica accepted.
    pub fn accepted(&self) -> Option<&Founding> {
        self.accepted.as_ref()
    }

    /// The bytes to save.
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

    /// Decodes and checks what was saved.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        reader.tag("magic", MAGIC)?;
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(RecordError::UnknownVersion(version));
        }
        let is_there = reader.u8("accepted")?;
        in_range("accepted", is_there.into(), 0, 1)?;
        let accepted = match is_there {
            0 => None,
            _ => Some(Founding::open(read_founding(&mut reader)?)?),
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

/// A number of entries in 16 bits; all of them are bounded far below.
fn count(entries: usize) -> [u8; 2] {
    u16::try_from(entries).unwrap_or(u16::MAX).to_le_bytes()
}
