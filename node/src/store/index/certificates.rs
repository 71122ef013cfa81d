//! The certificates of stored and damaged blobs.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::limits::Limits;
use vouch_node_core::replica::assigned_blob::AssignedBlob;

use super::damaged;
use super::database::{Change, Index};
use super::entries::BLOBS;
use crate::durable::{Changes, DurableError, listing};

/// Digest → `issued_at` and encoding of the [best](Certificate::supersedes) certificate.
pub(super) const CERTIFICATES: TableDefinition<'_, [u8; 32], (u64, &[u8])> = TableDefinition::new("certificates");

pub(super) fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(CERTIFICATES)?;
    Ok(())
}

impl Index {
    /// The encoding of the certificate that is kept of a blob.
    pub(in super::super) fn certificate(&self, digest: &Digest) -> Result<Option<Vec<u8>>, DurableError> {
        self.0.read(|transaction| {
            let certificates = transaction.open_table(CERTIFICATES)?;
            Ok(certificates.get(digest.0)?.map(|row| row.value().1.to_vec()))
        })
    }
}

/// Keeps certificates of blobs that are stored or damaged. A certificate replaces one of the same blob only if it [supersedes](Certificate::supersedes) it.
pub(in super::super) fn archive(assigned: Vec<AssignedBlob>, origin: u64) -> impl Change<()> {
    move |transaction: &WriteTransaction| {
        let blobs = transaction.open_table(BLOBS)?;
        let mut table = transaction.open_table(CERTIFICATES)?;
        let mut kept = Vec::new();
        for AssignedBlob { certificate, assignment } in &assigned {
            let digest = assignment.digest;
            let stored = blobs.get(digest.0)?.map(|row| row.value().0);
            let held = match stored {
                None => damaged::length(transaction, &digest)?,
                stored => stored,
            };
            // a certificate that does not decode counts as none
            let old = table.get(digest.0)?;
            let old = old.and_then(|row| Certificate::decode(row.value().1, &Limits::default()).ok());
            if assignment.is_held(held) && old.is_none_or(|old| certificate.supersedes(&old)) {
                table.insert(digest.0, (certificate.claim.issued_at, certificate.encode().as_slice()))?;
                kept.push(digest.0);
            }
        }
        let changes = if kept.is_empty() { Changes::None } else { Changes::Made };
        listing::note(transaction, kept, origin)?;
        Ok(((), changes))
    }
}
