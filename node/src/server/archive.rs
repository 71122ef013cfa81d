//! The server's certificates, durable before a client hears of them.

use std::path::Path;

use redb::TableDefinition;
use vouch_core::certificate::Certificate;

use crate::durable::{Database, DurableError};

/// Digest of the blob → the newest certificate.
const CERTIFICATES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("certificates");

pub(crate) struct Archive(Database);

impl Archive {
    pub(crate) fn open(folder: &Path) -> Result<Self, DurableError> {
        Ok(Self(Database::open(&folder.join("certificates.redb"))?))
    }

    pub(crate) async fn save(&self, certificate: &Certificate) -> Result<(), DurableError> {
        let (digest, bytes) = (certificate.receipt.digest, certificate.encode());
        self.0
            .commit(move |transaction| {
                transaction.open_table(CERTIFICATES)?.insert(&digest.0, bytes.as_slice())?;
                Ok(())
            })
            .await
    }
}
