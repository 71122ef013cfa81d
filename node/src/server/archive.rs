//! The server's certificates. A certificate is durable before a client receives it.
//!
//! An expired certificate is deleted a day after its expiry, as the replicas delete the blob: otherwise short-lived puts would fill the
//! disk. The newest certificate defines the time: a quorum signed its time of issue, so a server with a wrong clock deletes no certificate
//! that is in force. Without puts, none is deleted, and the archive does not grow.

use std::path::Path;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use thiserror::Error;
use vouch_core::certificate::{Certificate, CertificateError};
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{ListFilter, ListPage, ListPosition};
use vouch_core::receipt::NEVER;

use crate::durable::{Database, DurableError, Replaced, listing};
use crate::host::Host;
use crate::host::files::{Action, FileError};

mod lookups;
mod tables;
#[cfg(test)]
mod tests;

use lookups::Lookups;
use tables::{CERTIFICATES, NEWEST, TIMES, decode, dropped_until, insert, sort_by_expiry};

/// Maximum size in bytes of the certificates in a page. The last one may exceed it.
const PAGE: usize = 128 << 10;

/// Why a saved certificate cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ArchiveError {
    /// The database failed.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// The saved bytes are damaged.
    #[error("the certificate saved for {digest} is damaged: {error}; put the file again")]
    Damaged { digest: Digest, error: CertificateError },
    /// The thread that reads it failed.
    #[error("reading a certificate: {0}")]
    Task(String),
}

pub(crate) struct Archive {
    host: Host,
    lookups: Lookups,
    database: Arc<Database>,
}

impl Archive {
    /// Opens the archive. Moves a damaged one aside: the replicas have its certificates as well.
    pub(crate) fn open(host: &Host, folder: &Path) -> Result<(Self, Option<Replaced>), DurableError> {
        let (path, random) = (folder.join("certificates.redb"), host.random());
        let (database, replaced) = Database::open_or_replace(host, &path, |transaction| {
            let certificates = transaction.open_table(CERTIFICATES)?;
            let keys = || certificates.iter()?.map(|row| Ok(*row?.0.value())).collect();
            listing::create(transaction, random, certificates.len()?, keys)?;
            sort_by_expiry(transaction, &certificates)
        })?;
        let database = Arc::new(database);
        let lookups =
            Lookups::start(host, database.clone()).map_err(|error| FileError::new(&path, Action::Open, error))?;
        Ok((Self { host: host.clone(), lookups, database }, replaced))
    }

    /// Saves certificates in one commit, except those that do not supersede the saved one of the same blob.
    pub(crate) async fn save(&self, certificates: Arc<Vec<Certificate>>) -> Result<(), DurableError> {
        self.database.commit(move |transaction| insert(transaction, &certificates)).await
    }

    /// As [`save`](Self::save), for certificates of a member's list. Also saves the position up to which the list was read.
    pub(crate) async fn save_listed(
        &self,
        certificates: Arc<Vec<Certificate>>,
        owner: NodeKey,
        position: ListPosition,
    ) -> Result<(), DurableError> {
        let commit = self.database.commit(move |transaction| {
            insert(transaction, &certificates)?;
            listing::remember(transaction, &owner.0, position)
        });
        commit.await
    }

    /// The position up to which a member's list was read.
    pub(crate) async fn list_read(&self, owner: NodeKey) -> Result<ListPosition, ArchiveError> {
        let lists = self.read(listing::lists_read).await?;
        Ok(lists.get(&owner.0).copied().unwrap_or_default())
    }

    /// The certificates that [supersede](Certificate::supersedes) the saved ones of their blobs, without those that would be deleted at once.
    pub(crate) async fn new_among(&self, certificates: Vec<Certificate>) -> Result<Vec<Certificate>, ArchiveError> {
        let read = self.read(move |transaction| {
            let table = transaction.open_table(CERTIFICATES)?;
            let newest = transaction.open_table(TIMES)?.get(NEWEST)?.map_or(0, |newest| newest.value());
            let dropped_until = dropped_until(newest);
            let mut new = Vec::new();
            for certificate in certificates {
                let expires_at = certificate.claim.receipt.expires_at;
                if expires_at != NEVER && dropped_until.is_some_and(|last| expires_at <= last) {
                    continue;
                }
                let kept = table.get(&certificate.claim.receipt.digest.0)?.and_then(|kept| decode(kept.value()).ok());
                if kept.is_none_or(|kept| certificate.supersedes(&kept)) {
                    new.push(certificate);
                }
            }
            Ok(new)
        });
        read.await
    }

    /// The certificates after a position, in the order in which they were saved, as many as fit in a page, without those that the filter
    /// leaves out.
    /// `epoch`: the current one; the signers of another epoch were other members than the filter names.
    pub(crate) async fn page(
        &self,
        from: ListPosition,
        filter: ListFilter,
        epoch: u64,
    ) -> Result<ListPage, ArchiveError> {
        let read = self.read(move |transaction| {
            let table = transaction.open_table(CERTIFICATES)?;
            let (mut certificates, mut size) = (Vec::new(), 0);
            let (end, more) = listing::read(transaction, from, |digest, _| {
                if let Some(bytes) = table.get(&digest)? {
                    // Skip a damaged certificate.
                    let is_shown = |certificate: &Certificate| match filter {
                        ListFilter::NotSignedBy(member) => {
                            certificate.epoch != epoch || !certificate.signers.contains(member)
                        }
                        ListFilter::All | ListFilter::NotFromAsker => true,
                    };
                    if let Some(certificate) = decode(bytes.value()).ok().filter(is_shown) {
                        size += bytes.value().len();
                        certificates.push(certificate);
                    }
                }
                Ok(size < PAGE)
            })?;
            Ok(ListPage { end, more, certificates })
        });
        read.await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let database = self.database.clone();
        let read = self.host.spawn_blocking(move || database.read(read));
        Ok(read.await.map_err(|error| ArchiveError::Task(error.to_string()))??)
    }

    /// The saved certificate of a blob, if there is one.
    pub(crate) async fn load(&self, digest: Digest) -> Result<Option<Certificate>, ArchiveError> {
        self.lookups.find(digest).await
    }
}
