//! The certificates: this server's archive, and the members' lists, from which it learns what its archive lacks.

mod following;
mod search;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;
use vouch_core::certificate::Certificate;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::message::{Code, Failed, ListFilter, ListPosition, ListSource, Message, Stream};
use vouch_core::receipt::Receipt;
use vouch_node_core::page_verifier::valid_certificates;
use vouch_node_core::server::member_lists::{ListInput, MemberLists, Notice, notices};
use vouch_node_core::server::reuse::promises_as_much;

use super::archive::{Archive, ArchiveError};
use super::member_links::MemberLinks;
use super::reports::{Event, ServerReports};
use crate::data_dir::DataDir;
use crate::durable::{DurableError, Replaced};
use crate::host::Host;
pub(super) use following::FollowedList;

/// Maximum number of searches for a certificate at members; further ones wait.
const SEARCHES: usize = 16;

/// Number of certificates that are encoded on the calling thread: more take longer than waking another one.
const ENCODED_AT_ONCE: usize = 64;

/// The archive and the members' lists.
pub(super) struct CertificateLists {
    links: MemberLinks,
    archive: Archive,
    /// Locked for one call, never across an await.
    lists: Mutex<MemberLists>,
    /// Locked while a page of a member's list is verified: members list mostly the same certificates, so the next page has fewer new ones.
    verifying: tokio::sync::Mutex<()>,
    /// Permits for searches at members: strangers may ask for blobs that do not exist.
    searches: Semaphore,
    reports: Arc<ServerReports>,
    /// The folder of the archive. The last field: the archive is closed before the folder is unlocked.
    _folder: Arc<DataDir>,
}

impl CertificateLists {
    /// Opens the archive in the data folder. A damaged one is replaced.
    pub(super) fn open(
        links: MemberLinks,
        reports: Arc<ServerReports>,
        folder: Arc<DataDir>,
    ) -> Result<(Self, Option<Replaced>), DurableError> {
        let (archive, replaced) = Archive::open(links.host(), folder.path())?;
        let (verifying, searches) = (tokio::sync::Mutex::new(()), Semaphore::new(SEARCHES));
        Ok((Self { links, archive, lists: Mutex::default(), verifying, searches, reports, _folder: folder }, replaced))
    }

    /// The connected members, which are asked for certificates.
    pub(super) fn links(&self) -> &MemberLinks {
        &self.links
    }

    fn lists(&self) -> MutexGuard<'_, MemberLists> {
        // Consistent after a panic elsewhere: every change is one call.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report_trouble(&self, text: String) {
        self.reports.report(Event::Trouble(text));
    }

    /// Makes certificates durable in the archive.
    pub(super) async fn save(&self, certificates: Arc<Vec<Certificate>>) -> Result<(), DurableError> {
        self.archive.save(certificates).await
    }

    /// The certificate of a blob in the archive.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(super) async fn archived(&self, digest: Digest) -> Result<Option<Certificate>, ArchiveError> {
        self.archive.load(digest).await
    }

    /// The best certificate of a blob, here or at a connected member.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(super) async fn find(&self, digest: Digest) -> Result<Option<Certificate>, ArchiveError> {
        match self.archive.load(digest).await? {
            Some(certificate) => Ok(Some(certificate)),
            None => Ok(self.search(digest).await),
        }
    }

    /// An earlier certificate that promises at least as much as the receipt. While the archive may be incomplete, members are asked as well.
    pub(super) async fn earlier(&self, committee: &Committee, wanted: &Receipt) -> Option<Box<Certificate>> {
        let archived = self.archived_for(committee, wanted).await;
        if archived.is_some() || self.is_archive_complete(committee) {
            return archived;
        }
        self.search(wanted.digest).await?;
        self.archived_for(committee, wanted).await
    }

    /// The certificate in the archive, if it promises at least as much as the receipt. `None` if it cannot be read.
    async fn archived_for(&self, committee: &Committee, wanted: &Receipt) -> Option<Box<Certificate>> {
        let certificate = self.archive.load(wanted.digest).await.ok().flatten()?;
        let unix_seconds = self.links.host().unix_seconds();
        promises_as_much(&certificate, wanted, committee.record(), unix_seconds).then(|| Box::new(certificate))
    }

    /// Whether the archive has every certificate, except for those of the last seconds.
    fn is_archive_complete(&self, committee: &Committee) -> bool {
        let snapshot = self.links.snapshot();
        let connected = snapshot.members.values().map(|handle| &handle.link);
        self.lists().are_complete(connected, committee.record().quorum().into())
    }

    /// Sends connected members the certificates that they most likely lack, except to those in `knowing`.
    pub(super) async fn notify(&self, certificates: &Arc<Vec<Certificate>>, knowing: &[u16]) {
        let snapshot = self.links.snapshot();
        let connected = snapshot.members.keys().copied().collect();
        let notices = notices(certificates, snapshot.epoch(), knowing, &connected);
        if notices.is_empty() {
            return;
        }
        let certificates = certificates.clone();
        let is_quick = certificates.len() <= ENCODED_AT_ONCE;
        // Each message is encoded once; its members share the bytes.
        let encode = move || -> Vec<(Vec<u16>, Bytes)> {
            let message =
                |page: Notice| Some((page.members, Message::encode_missed(certificates.get(page.certificates)?)));
            notices.into_iter().filter_map(message).collect()
        };
        let encoded =
            if is_quick { encode() } else { self.links.host().spawn_blocking(encode).await.unwrap_or_default() };
        for (members, message) in encoded {
            for handle in members.iter().filter_map(|member| snapshot.members.get(member)) {
                if !handle.control.try_send_spare(&message) {
                    self.lists().handle(&handle.link, ListInput::NoticeUnsent);
                }
            }
        }
    }

    /// Answers a list request with a page of the server's own list, or relays a member's.
    pub(super) async fn answer(
        &self,
        stream: Stream,
        source: ListSource,
        (from, filter): (ListPosition, ListFilter),
    ) -> Message {
        let listed = match source {
            ListSource::Member(member) => self.request_page(member, from, filter).await,
            ListSource::Own => self.archive.page(from, filter, self.links.snapshot().epoch()).await.map_err(|error| {
                self.report_trouble(format!("listing certificates: {error}"));
                Failed::new(stream, Code::Storage, "the server cannot read its certificates")
            }),
        };
        match listed {
            Ok(page) => Message::Listed { stream, page },
            Err(failed) => Message::Failed(Failed { stream, ..failed }),
        }
    }
}

/// The certificates that were valid when they were issued. Expired ones are kept as long as the archive keeps its own: this server's clock
/// may be ahead, and dropped ones would be lost for good.
///
/// # Errors
/// Too many of them are not valid.
async fn verified(
    host: &Host,
    certificates: Vec<Certificate>,
    chain: &CommitteeChain,
) -> Result<Vec<Certificate>, String> {
    if certificates.is_empty() {
        return Ok(certificates);
    }
    let chain = chain.clone();
    let verifying = host.spawn_blocking(move || valid_certificates(certificates, &chain)).await;
    let verified = verifying.map_err(|panicked| panicked.to_string())?;
    verified.map_err(|error| format!("too many certificates are INVALID, the last one: {error}"))
}
