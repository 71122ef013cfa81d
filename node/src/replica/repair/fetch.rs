//! Obtains one lacking blob: from this replica's disk, if only the index lost it, or from the other replicas.

use std::sync::Arc;

use thiserror::Error;
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::receipt::Receipt;
use vouch_core::session::GetRequest;
use vouch_node_core::replica::repair::BlobSource;

use crate::client::{ClientError, Download, DownloadEvent};
use crate::host::Host;
use crate::link::{self, LinkError};
use crate::replica::context::Storage;
use crate::store::{MAX_SMALL, PrivateUpload, StoreError};

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

/// Obtains the blob of a verified certificate; if it must be fetched, over a separate link to the server at `address`.
pub(super) async fn fetch(
    storage: &Storage,
    address: &str,
    committee: &Arc<Committee>,
    certificate: Certificate,
) -> Result<BlobSource, FetchError> {
    let receipt = certificate.claim.receipt;
    let store = storage.store.clone();
    let held = storage.on_disk(move || store.length_of(&receipt.digest)).await?;
    let source = if held == Some(receipt.length) {
        BlobSource::Put
    } else if storage.store.adopt(&receipt).await? {
        BlobSource::OwnDisk
    } else {
        download(storage, address, committee, &receipt).await?;
        BlobSource::Others
    };
    storage.store.archive(vec![certificate]).await?;
    Ok(source)
}

/// Gets a blob as a client does, and stores it as a put does.
async fn download(
    storage: &Storage,
    address: &str,
    committee: &Arc<Committee>,
    receipt: &Receipt,
) -> Result<(), FetchError> {
    let request = GetRequest {
        trusted: Some(committee.cluster()),
        digest: receipt.digest,
        length: Some(receipt.length),
        range: None,
        nonce: storage.host.random(),
    };
    let link = link::dial(&storage.host, address).await?;
    let mut download = Download::begin(&storage.host, link, request, Some(committee.clone().into())).await;
    if receipt.length > MAX_SMALL {
        return store_large(storage, download, receipt).await;
    }
    let mut bytes = Vec::new();
    loop {
        match download.next().await? {
            DownloadEvent::Bytes(piece) => bytes.extend_from_slice(&piece),
            DownloadEvent::Verified(_) => return Ok(storage.store.put_small(receipt, bytes.into()).await?),
            DownloadEvent::Start { .. }
            | DownloadEvent::Length { .. }
            | DownloadEvent::Slice(_)
            | DownloadEvent::Rejected(_) => {}
        }
    }
}

/// Writes pieces as they arrive, one at a time.
async fn store_large(storage: &Storage, mut download: Download, receipt: &Receipt) -> Result<(), FetchError> {
    let (store, receipt) = (storage.store.clone(), *receipt);
    let begun = storage.on_disk(move || store.begin(Some(&receipt))).await?;
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
    let complete = storage.on_disk(move || upload.finish(&receipt)).await?;
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
