//! Obtains one lacking blob: from this replica's disk, if only the index lost it, or from the other replicas.

use std::sync::Arc;

use thiserror::Error;
use vouch_core::access::{Action, Authorisation};
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::Digest;
use vouch_core::placement::{Assignment, Placement};
use vouch_core::session::{GetRequest, SessionError};
use vouch_node_core::replica::assigned_blob::AssignedBlob;
use vouch_node_core::replica::repair::BlobSource;

use crate::client::{ClientError, Download, DownloadEvent};
use crate::host::Host;
use crate::link::{self, LinkError};
use crate::replica::admission::ReplicaAdmission;
use crate::replica::context::{OwnIdentity, Storage};
use crate::store::{MAX_SMALL, PrivateUpload, StoreError};

/// What authorises this replica to read.
pub(in crate::replica) struct Reader {
    pub(in crate::replica) identity: Arc<OwnIdentity>,
    pub(in crate::replica) admission: Arc<ReplicaAdmission>,
}

impl Reader {
    /// This replica's authorisation, if readers need one. Otherwise there is none: a server of a release without tokens would not take it.
    fn authorise(&self, chain: &CommitteeChain, digest: &Digest, now: u64) -> Option<Authorisation> {
        let sign = || Authorisation::by(&self.identity.keys.node, &chain.cluster(), Action::Read(digest), now);
        self.admission.reads_need_tokens().then(sign)
    }
}

/// Why one blob was not fetched.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FetchError {
    /// Whether no member holds the blob, or none of those that say so delivers it.
    pub(super) fn is_about_every_holder(&self) -> bool {
        matches!(self, Self::Client(ClientError::Session(SessionError::NotFound(_) | SessionError::Exhausted(_))))
    }
}

/// Obtains what this replica must hold of a blob; if it must be fetched, over a separate link to the server at `address`.
pub(super) async fn fetch(
    storage: &Storage,
    reader: &Reader,
    address: &str,
    chain: &CommitteeChain,
    AssignedBlob { certificate, assignment }: AssignedBlob,
) -> Result<BlobSource, FetchError> {
    let store = storage.store.clone();
    let source = if storage.on_disk(move || store.holds(&assignment)).await? {
        BlobSource::Put
    } else if storage.store.adopt(&assignment).await? {
        BlobSource::OwnDisk
    } else {
        match certificate.claim.receipt.placement() {
            // Every other holder has the same bytes.
            Placement::Copies => download(storage, reader, address, chain, &assignment).await?,
        }
        BlobSource::Others
    };
    storage.store.archive(vec![AssignedBlob { certificate, assignment }]).await?;
    Ok(source)
}

/// Gets a blob whose bytes are assigned to this replica, as a client does, and stores it as a put does.
async fn download(
    storage: &Storage,
    reader: &Reader,
    address: &str,
    chain: &CommitteeChain,
    assignment: &Assignment,
) -> Result<(), FetchError> {
    let request = GetRequest {
        trusted: Some(chain.cluster()),
        digest: assignment.digest,
        length: Some(assignment.length),
        range: None,
        nonce: storage.host.random(),
    };
    let link = link::dial(&storage.host, address).await?;
    let authorisation = reader.authorise(chain, &assignment.digest, storage.host.unix_seconds());
    let mut download = Download::begin(&storage.host, link, request, Some(chain.clone()), authorisation).await;
    if assignment.length > MAX_SMALL {
        return store_large(storage, download, assignment).await;
    }
    let mut bytes = Vec::new();
    loop {
        match download.next().await? {
            DownloadEvent::Bytes(piece) => bytes.extend_from_slice(&piece),
            DownloadEvent::Verified(_) => return Ok(storage.store.put_small(assignment, bytes.into()).await?),
            DownloadEvent::Start { .. }
            | DownloadEvent::Length { .. }
            | DownloadEvent::Slice(_)
            | DownloadEvent::Rejected(_) => {}
        }
    }
}

/// Writes pieces as they arrive, one at a time.
async fn store_large(storage: &Storage, mut download: Download, assignment: &Assignment) -> Result<(), FetchError> {
    let (store, assignment) = (storage.store.clone(), *assignment);
    let begun = storage.on_disk(move || store.begin(Some(&assignment))).await?;
    let mut partial = PartialFetch { host: &storage.host, upload: Some(begun) };
    loop {
        match download.next().await? {
            DownloadEvent::Bytes(piece) => {
                let upload = partial.take()?;
                partial.upload = Some(storage.on_disk(move || upload.write(&piece)).await?);
            }
            DownloadEvent::Verified(_) => break,
            DownloadEvent::Start { .. }
            | DownloadEvent::Length { .. }
            | DownloadEvent::Slice(_)
            | DownloadEvent::Rejected(_) => {}
        }
    }
    let upload = partial.take()?;
    let complete = storage.on_disk(move || upload.finish(&assignment)).await?;
    Ok(storage.store.enter(complete).await?)
}

/// A blob that is being fetched. If the fetch fails or its link ends, a blocking thread removes the files: of a large blob, that takes
/// longer than the replica's other links may wait.
struct PartialFetch<'a> {
    host: &'a Host,
    /// `None` while a blocking thread has it.
    upload: Option<PrivateUpload>,
}

impl PartialFetch<'_> {
    fn take(&mut self) -> Result<PrivateUpload, StoreError> {
        self.upload.take().ok_or_else(|| StoreError::Task("a write of the blob has failed".into()))
    }
}

impl Drop for PartialFetch<'_> {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            drop(self.host.spawn_blocking(move || drop(upload)));
        }
    }
}
