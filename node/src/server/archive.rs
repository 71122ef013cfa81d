//! The server's certificates. A certificate is durable before a client receives it.
//!
//! An expired certificate is deleted a day after its expiry, as the replicas delete the blob: otherwise short-lived puts would fill the
//! disk. The newest certificate defines the time: a quorum signed its time of issue, so a server with a wrong clock deletes no certificate
//! that is in force. Without puts, none is deleted, and the archive does not grow.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use thiserror::Error;
use vouch_core::Limits;
use vouch_core::certificate::{Certificate, CertificateError};
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{ListFilter, ListPage, ListPosition};
use vouch_core::receipt::NEVER;
use vouch_core::statement::StoredClaim;

use crate::durable::{Database, DurableError, Replaced, listing};
use crate::host::Host;
use crate::host::files::{Action, FileError};

mod lookups;

use lookups::Lookups;

/// Digest of the blob → the [best](Certificate::supersedes) certificate.
const CERTIFICATES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("certificates");

/// `expires_at`, digest → position in the list of certificates, 0 if unknown. Only of certificates that expire.
const EXPIRY: TableDefinition<'_, (u64, [u8; 32]), u64> = TableDefinition::new("certificates by expiry");
/// `newest` → the latest time at which a certificate was issued.
const TIMES: TableDefinition<'_, &str, u64> = TableDefinition::new("times");

const NEWEST: &str = "newest";
/// Seconds for which an expired certificate is kept.
const KEPT_EXPIRED: u64 = 24 * 3600;
/// Maximum number of expired certificates that one commit deletes, in addition to as many as it inserts.
const DROPPED: usize = 64;

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
    pub(crate) async fn page(&self, from: ListPosition, filter: ListFilter) -> Result<ListPage, ArchiveError> {
        let read = self.read(move |transaction| {
            let table = transaction.open_table(CERTIFICATES)?;
            let (mut certificates, mut size) = (Vec::new(), 0);
            let (end, more) = listing::read(transaction, from, |digest, _| {
                if let Some(bytes) = table.get(&digest)? {
                    // Skip a damaged certificate.
                    let is_shown = |certificate: &Certificate| match filter {
                        ListFilter::NotSignedBy(member) => !certificate.signers.contains(member),
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

fn insert(transaction: &WriteTransaction, certificates: &[Certificate]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(CERTIFICATES)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    let mut kept = Vec::new();
    for certificate in certificates {
        let digest = certificate.claim.receipt.digest;
        // a damaged certificate counts as none
        let old = table.get(&digest.0)?.and_then(|old| decode(old.value()).ok());
        if old.as_ref().is_none_or(|old| !old.supersedes(certificate)) {
            table.insert(&digest.0, certificate.encode().as_slice())?;
            if let Some(old) = old.filter(|old| old.claim.receipt.expires_at != certificate.claim.receipt.expires_at) {
                expiry.remove((old.claim.receipt.expires_at, digest.0))?;
            }
            kept.push(certificate);
        }
    }
    let first = listing::note(transaction, kept.iter().map(|certificate| certificate.claim.receipt.digest.0), 0)?;
    // If there are several of one blob, the last one is saved.
    let kept_of: BTreeMap<[u8; 32], (u64, u64)> = (first..)
        .zip(&kept)
        .map(|(position, certificate)| (position, &certificate.claim.receipt))
        .map(|(position, receipt)| (receipt.digest.0, (receipt.expires_at, position)))
        .collect();
    for (digest, (expires_at, position)) in kept_of {
        if expires_at != NEVER {
            expiry.insert((expires_at, digest), position)?;
        }
    }
    let mut times = transaction.open_table(TIMES)?;
    let before = times.get(NEWEST)?.map_or(0, |newest| newest.value());
    let newest = kept.iter().map(|certificate| certificate.claim.issued_at).fold(before, u64::max);
    times.insert(NEWEST, newest)?;
    drop((table, expiry, times));
    drop_expired(transaction, newest, kept.len() + DROPPED)
}

/// Certificates with this expiry or an earlier one are deleted, if the newest certificate was issued at `newest`.
fn dropped_until(newest: u64) -> Option<u64> {
    newest.checked_sub(KEPT_EXPIRED)
}

/// Deletes certificates that expired a day before the newest one was issued, the earliest first.
fn drop_expired(transaction: &WriteTransaction, newest: u64, limit: usize) -> Result<(), redb::Error> {
    let Some(last) = dropped_until(newest) else { return Ok(()) };
    let mut expiry = transaction.open_table(EXPIRY)?;
    let mut due = Vec::new();
    for row in expiry.range(..=(last, [u8::MAX; 32]))?.take(limit) {
        let (key, position) = row?;
        due.push((key.value(), position.value()));
    }
    let mut table = transaction.open_table(CERTIFICATES)?;
    for ((expires_at, digest), position) in due {
        expiry.remove((expires_at, digest))?;
        let kept = table.get(&digest)?.map(|kept| decode(kept.value()));
        // A damaged certificate is deleted as well.
        if kept.is_some_and(|kept| kept.is_ok_and(|kept| kept.claim.receipt.expires_at != expires_at)) {
            continue;
        }
        table.remove(&digest)?;
        listing::forget(transaction, position, &digest)?;
    }
    Ok(())
}

/// Creates the tables by expiry for certificates of an earlier release.
fn sort_by_expiry(
    transaction: &WriteTransaction,
    certificates: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
) -> Result<(), redb::Error> {
    let mut times = transaction.open_table(TIMES)?;
    let mut expiry = transaction.open_table(EXPIRY)?;
    if times.get(NEWEST)?.is_some() {
        return Ok(());
    }
    let mut newest = 0;
    for row in certificates.iter()? {
        // a damaged certificate counts as none
        let Ok(Certificate { claim: StoredClaim { receipt, issued_at, .. }, .. }) = decode(row?.1.value()) else {
            continue;
        };
        newest = newest.max(issued_at);
        if receipt.expires_at != NEVER {
            expiry.insert((receipt.expires_at, receipt.digest.0), 0)?;
        }
    }
    times.insert(NEWEST, newest)?;
    Ok(())
}

fn find(
    transaction: &ReadTransaction,
    digest: &Digest,
) -> Result<Option<Result<Certificate, CertificateError>>, redb::Error> {
    let table = transaction.open_table(CERTIFICATES)?;
    Ok(table.get(&digest.0)?.map(|bytes| decode(bytes.value())))
}

fn decode(bytes: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::decode(bytes, &Limits::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouch_core::bls::AggregateSignature;
    use vouch_core::certificate::Signers;
    use vouch_core::digest::CommitteeDigest;
    use vouch_core::receipt::Receipt;
    fn certificate(issued_at: u64) -> Certificate {
        Certificate {
            epoch: 0,
            committee: CommitteeDigest([1; 32]),
            claim: StoredClaim {
                issued_at,
                count: 1,
                index: 0,
                receipt: Receipt { salt: [2; 16], digest: Digest([3; 32]), length: 4, expires_at: NEVER },
                path: Vec::new(),
            },
            signers: Signers::new(1, [0]).unwrap(),
            signature: AggregateSignature([5; 96]),
        }
    }

    /// The certificate of a blob of its own.
    fn short_lived(number: u64, issued_at: u64, expires_at: u64) -> Certificate {
        let mut digest = [9; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        let receipt = Receipt { digest: Digest(digest), expires_at, ..certificate(0).claim.receipt };
        let claim = StoredClaim { receipt, ..certificate(issued_at).claim };
        Certificate { claim, ..certificate(0) }
    }

    async fn listed(archive: &Archive) -> Vec<Certificate> {
        let (mut listed, mut from) = (Vec::new(), ListPosition::default());
        loop {
            let page = archive.page(from, ListFilter::All).await.unwrap();
            listed.extend(page.certificates);
            from = page.end;
            if !page.more {
                return listed;
            }
        }
    }

    #[tokio::test]
    async fn certificates_that_expired_a_day_before_the_newest_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        let (start, day) = (1_000_000, KEPT_EXPIRED);
        let short = short_lived(1, start, start + 60);
        // The second certificate of its blob is kept longer.
        let prolonged = short_lived(2, start + 1, start + 10 * day);
        let forever = certificate(start);
        let first = vec![short.clone(), short_lived(2, start, start + 60), forever.clone(), prolonged.clone()];
        archive.save(Arc::new(first)).await.unwrap();
        let at = |issued_at| short_lived(issued_at, issued_at, issued_at + 10 * day);
        archive.save(Arc::new(vec![at(start + 60 + day - 1)])).await.unwrap();
        assert_eq!(archive.load(short.claim.receipt.digest).await.unwrap(), Some(short.clone()), "for a day");
        archive.save(Arc::new(vec![at(start + 60 + day)])).await.unwrap();
        assert_eq!(archive.load(short.claim.receipt.digest).await.unwrap(), None);
        let kept = [prolonged.clone(), forever, prolonged, at(start + 60 + day - 1), at(start + 60 + day)];
        assert_eq!(listed(&archive).await, kept, "the prolonged one at both of its positions");
    }

    #[tokio::test]
    async fn short_lived_certificates_do_not_accumulate() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        // Each day, a thousand certificates that expire at once.
        for day in 1..=20 {
            let now = day * KEPT_EXPIRED;
            let certificates = (0..1000).map(|number| short_lived(day * 1000 + number, now, now + 1)).collect();
            archive.save(Arc::new(certificates)).await.unwrap();
        }
        let rows = |archive: &Archive| {
            let count = archive.database.read(|transaction| {
                let table = transaction.open_table(CERTIFICATES)?;
                Ok((table.len()?, transaction.open_table(EXPIRY)?.len()?))
            });
            count.unwrap()
        };
        assert_eq!(rows(&archive), (2000, 2000), "those of two days");
        assert_eq!(listed(&archive).await.len(), 2000);
        drop(archive);
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        assert_eq!(rows(&archive), (2000, 2000));
    }

    #[tokio::test]
    async fn certificates_of_an_earlier_release_are_deleted_too() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        let old = short_lived(1, 1000, 2000);
        archive.save(Arc::new(vec![old.clone(), certificate(1001)])).await.unwrap();
        let forget = |transaction: &redb::WriteTransaction| {
            transaction.delete_table(EXPIRY)?;
            transaction.delete_table(TIMES)?;
            Ok(())
        };
        archive.database.commit(forget).await.unwrap();
        drop(archive);
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        assert_eq!(archive.load(old.claim.receipt.digest).await.unwrap(), Some(old.clone()));
        archive.save(Arc::new(vec![short_lived(2, 2000 + KEPT_EXPIRED, NEVER)])).await.unwrap();
        assert_eq!(archive.load(old.claim.receipt.digest).await.unwrap(), None);
        assert_eq!(listed(&archive).await.len(), 2);
    }

    #[tokio::test]
    async fn a_damaged_certificate_does_not_end_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        archive.save(Arc::new(vec![certificate(10)])).await.unwrap();
        let damage = |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(CERTIFICATES)?;
            for number in 0..3 {
                table.insert(&[number; 32], [7; PAGE].as_slice())?;
            }
            Ok(())
        };
        archive.database.commit(damage).await.unwrap();
        let note = |transaction: &redb::WriteTransaction| {
            listing::note(transaction, (0..3).map(|number| [number; 32]), 0).map(drop)
        };
        archive.database.commit(note).await.unwrap();
        archive.save(Arc::new(vec![certificate(11)])).await.unwrap();
        let (mut listed, mut from) = (Vec::new(), ListPosition::default());
        loop {
            let page = archive.page(from, ListFilter::NotSignedBy(1)).await.unwrap();
            listed.extend(page.certificates);
            from = page.end;
            if !page.more {
                break;
            }
        }
        assert_eq!(listed, [certificate(11), certificate(11)], "at both of its positions");
        let page = archive.page(ListPosition::default(), ListFilter::NotSignedBy(0)).await.unwrap();
        assert_eq!((page.certificates, page.more), (Vec::new(), false), "it signed all of them");
    }

    #[tokio::test]
    async fn a_superseding_certificate_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        let owner = NodeKey([7; 32]);
        assert_eq!(archive.new_among(vec![certificate(10)]).await.unwrap(), [certificate(10)]);
        assert_eq!(archive.list_read(owner).await.unwrap(), ListPosition::default());
        let position = ListPosition { list: 5, after: 1 };
        archive.save_listed(Arc::new(vec![certificate(10)]), owner, position).await.unwrap();
        let new = archive.new_among(vec![certificate(9), certificate(10), certificate(11)]).await.unwrap();
        assert_eq!(new, [certificate(11)]);
        drop(archive);
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        assert_eq!(archive.list_read(owner).await.unwrap(), position);
    }

    #[tokio::test]
    async fn the_newest_certificate_of_a_blob_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        assert_eq!(archive.load(Digest([3; 32])).await.unwrap(), None);
        for (issued_at, kept) in [(10, 10), (20, 20), (15, 20), (21, 21)] {
            archive.save(Arc::new(vec![certificate(issued_at)])).await.unwrap();
            assert_eq!(archive.load(Digest([3; 32])).await.unwrap(), Some(certificate(kept)));
        }
        assert_eq!(archive.load(Digest([4; 32])).await.unwrap(), None);
        drop(archive);
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        assert_eq!(archive.load(Digest([3; 32])).await.unwrap(), Some(certificate(21)));
    }

    #[tokio::test]
    async fn a_newer_certificate_that_expires_earlier_does_not_replace_a_longer_promise() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        let kept = async |number| archive.load(short_lived(number, 0, 0).claim.receipt.digest).await.unwrap();
        for (issued_at, expires_at, expected) in [(10, 500, (10, 500)), (20, 400, (10, 500)), (15, 600, (15, 600))] {
            archive.save(Arc::new(vec![short_lived(1, issued_at, expires_at)])).await.unwrap();
            assert_eq!(kept(1).await, Some(short_lived(1, expected.0, expected.1)));
        }
        assert_eq!(archive.new_among(vec![short_lived(1, 30, 500)]).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_certificate_that_would_be_deleted_at_once_is_not_new() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::open(&Host::system(), folder.path()).unwrap().0;
        let (expired_long_ago, expired) = (short_lived(1, 10, 1000), short_lived(2, 10, 1001));
        let listed = vec![expired_long_ago.clone(), expired.clone()];
        assert_eq!(archive.new_among(listed.clone()).await.unwrap(), listed);
        archive.save(Arc::new(vec![short_lived(3, 1000 + KEPT_EXPIRED, NEVER)])).await.unwrap();
        assert_eq!(archive.new_among(listed).await.unwrap(), [expired]);
    }
}
