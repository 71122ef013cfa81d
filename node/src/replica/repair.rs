//! What a replica lacks of the certified blobs, it fetches from the others, verified as by any client, and has itself counted
//! in. It was down when they were put, or its disk lost them.
//!
//! It learns of them from the lists of certificates that the server and every other member keep, and from the server's notices
//! of what it just missed. Nothing of that is believed but certificates that a quorum of the own committee signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use vouch_core::certificate::Certificate;
use vouch_core::committee::Committee;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{MAX_ENDORSE, Message};
use vouch_core::receipt::Receipt;
use vouch_core::session::GetRequest;
pub use vouch_node_core::replica::lacking::Repair;
use vouch_node_core::replica::lacking::{Knowledge, LackingBlobs, ListPositions, MAX_LACKING};
use vouch_node_core::replica::pace::Pace;

use super::{Event, Shared};
use crate::bugs::{self, Bug};
use crate::client::{ClientError, Download, Step};
use crate::link::{self, LinkError, Outgoing};
use crate::store::{Damaged, MAX_SMALL, Store, StoreError};

mod lists;
#[cfg(test)]
mod tests;

use lists::{Lists, Round};
pub(super) use lists::{Page, sort};

/// After a round in which something failed: from the first to the last, doubling.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// From a round that read too few lists, or not to their ends, to the next.
const GO_ON: Duration = Duration::from_secs(2);
/// From a notice to the first fetch: the bytes of a put that was too slow may be arriving.
const SETTLE: Duration = Duration::from_secs(1);
/// Damaged blobs looked at a time.
const PAGE: usize = 256;

/// What is known to be lacking, and who waits for news of it.
#[derive(Debug, Default)]
pub(super) struct Repairer {
    state: Mutex<State>,
    /// One link fetches at a time: the next one has less to do.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    blobs: LackingBlobs,
    /// By the number of the link.
    wakes: BTreeMap<u64, Arc<Notify>>,
}

impl Repairer {
    /// Continues the lists at their saved positions.
    pub(super) fn new(read: ListPositions) -> Self {
        let state = State { blobs: LackingBlobs::new(read), wakes: BTreeMap::new() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(super) fn so_far(&self) -> Repair {
        self.with(|blobs| blobs.progress())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // a panic elsewhere leaves the state whole: every change is one call
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, change: impl FnOnce(&mut LackingBlobs) -> T) -> T {
        change(&mut self.state().blobs)
    }

    /// Something is lacking that was there before.
    pub(super) fn call(&self) {
        self.state().wakes.values().for_each(|wake| wake.notify_one());
    }

    /// Something is lacking, by certificates that were verified. Too many are not kept: the lists have them as well.
    pub(super) fn missed(&self, link: u64, certificates: Vec<Certificate>) {
        if certificates.is_empty() {
            return;
        }
        let is_full = self.with(|blobs| {
            let is_full = blobs.is_full();
            if !is_full {
                blobs.add(certificates);
            }
            is_full
        });
        if is_full { self.doubt(link) } else { self.call() }
    }

    /// The server knows of certificates that it did not show: the lists are read at once.
    pub(super) fn doubt(&self, link: u64) {
        let mut state = self.state();
        state.blobs.doubt(link);
        if let Some(wake) = state.wakes.get(&link) {
            wake.notify_one();
        }
    }
}

/// Why one blob was not fetched.
#[derive(Debug, Error)]
enum FetchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a blob came from that was lacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restored {
    /// It was put meanwhile.
    Meanwhile,
    /// Its files were there.
    FromDisk,
    /// It was fetched.
    FromOthers,
}

/// One link's part in the repair; over with the link.
pub(super) struct Membership {
    shared: Arc<Shared>,
    pub(super) number: u64,
    wake: Arc<Notify>,
}

impl Membership {
    fn new(shared: Arc<Shared>) -> Self {
        let wake = Arc::new(Notify::new());
        let mut state = shared.repairer.state();
        let number = state.blobs.begin_link();
        state.wakes.insert(number, wake.clone());
        drop(state);
        Self { shared, number, wake }
    }

    fn knowledge(&self) -> Knowledge {
        self.shared.repairer.with(|blobs| blobs.knowledge(self.number))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut state = self.shared.repairer.state();
        state.blobs.end_link(self.number);
        state.wakes.remove(&self.number);
    }
}

/// The way to one server, for as long as the link to it lasts.
pub(super) struct Repairing {
    shared: Arc<Shared>,
    /// The server, for the links that blobs are fetched over.
    address: String,
    requests: mpsc::Sender<Outgoing>,
    lists: Lists,
    membership: Membership,
}

impl Repairing {
    pub(super) fn new(
        shared: Arc<Shared>,
        (address, server): (String, NodeKey),
        requests: mpsc::Sender<Outgoing>,
        listed: mpsc::Receiver<Page>,
    ) -> Self {
        let lists = Lists::new(shared.clone(), server, requests.clone(), listed);
        let membership = Membership::new(shared.clone());
        Self { shared, address, requests, lists, membership }
    }

    /// By which the repairer knows this link.
    pub(super) fn number(&self) -> u64 {
        self.membership.number
    }

    /// Looks for what is lacking and fetches it, again and again; ends with the link.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        let mut members = shared.committee.follow();
        let mut pause = FIRST_PAUSE;
        let mut next_lists = Duration::ZERO;
        loop {
            let committee = members.see().filter(|known| shared.position(known).is_some());
            let Some(committee) = committee else {
                if members.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if let Err(error) = self.look_for_damaged().await {
                shared.report(Event::Trouble(format!("looking for blobs that are lacking: {error}")));
            }
            let mut has_failed = false;
            if self.shared.host.monotonic() >= next_lists || self.membership.knowledge() != Knowledge::Complete {
                match self.read_lists(&committee).await {
                    Ok(true) => next_lists = self.shared.host.monotonic() + shared.repair_every,
                    Ok(false) => {}
                    Err(error) => {
                        has_failed = true;
                        shared.report(Event::Trouble(format!("looking for blobs that are lacking: {error}")));
                    }
                }
            }
            has_failed |= self.fetch_all(&committee).await > 0;
            let is_known = self.membership.knowledge() == Knowledge::Complete;
            let wait = match (has_failed, is_known) {
                (true, _) => pause,
                (false, true) => next_lists.saturating_sub(self.shared.host.monotonic()),
                (false, false) => GO_ON,
            };
            pause = if has_failed { (pause * 2).min(LONGEST_PAUSE) } else { FIRST_PAUSE };
            tokio::select! {
                biased;
                () = shared.host.sleep(wait) => {}
                () = self.membership.wake.notified() => shared.host.sleep(SETTLE).await,
            }
        }
    }

    /// Reads the lists; says whether all that is lacking is known by now.
    async fn read_lists(&mut self, committee: &Arc<Committee>) -> Result<bool, String> {
        let number = self.membership.number;
        self.shared.repairer.with(|blobs| blobs.begin_round(number));
        let Round { members, server } = self.lists.read(committee).await?;
        // this one is of the quorum itself: what a quorum signed without it, somebody who does not lie has listed then. A list
        // that never ends is not waited for
        let is_complete = server && members + 1 >= committee.record().quorum().into();
        if is_complete {
            self.shared.repairer.with(|blobs| blobs.complete_round(number));
        }
        Ok(is_complete)
    }

    /// Fetches what is lacking, each blob once; gives how many failed.
    async fn fetch_all(&mut self, committee: &Arc<Committee>) -> usize {
        let shared = self.shared.clone();
        let _turn = shared.repairer.turn.lock().await;
        let (mut failed, mut stored, mut tried) = (0, Vec::new(), BTreeSet::new());
        let (pace, mut bytes) = (Pace::new(shared.repair_rate, shared.host.monotonic()), 0);
        let mut adopted = (0, 0);
        while let Some(certificate) =
            shared.repairer.with(|blobs| blobs.next(&tried)).filter(|_| !bugs::has(Bug::NoRepair))
        {
            let receipt = certificate.claim.receipt;
            tried.insert(receipt.digest);
            if receipt.is_expired(self.shared.host.unix_seconds()) {
                shared.repairer.with(|blobs| blobs.forget(&receipt.digest));
                continue;
            }
            match self.fetch_checked(committee, certificate).await {
                Ok(Restored::FromOthers) => {
                    shared.repairer.with(|blobs| blobs.fetched(&receipt));
                    stored.push(receipt.digest);
                    bytes += receipt.length;
                }
                Ok(Restored::FromDisk) => {
                    adopted = (adopted.0 + 1, adopted.1 + receipt.length);
                    shared.repairer.with(|blobs| blobs.forget(&receipt.digest));
                    stored.push(receipt.digest);
                    bytes += receipt.length;
                }
                Ok(Restored::Meanwhile) => shared.repairer.with(|blobs| blobs.forget(&receipt.digest)),
                Err(error) => {
                    failed += 1;
                    shared.repairer.with(|blobs| blobs.failed());
                    shared.report(Event::Trouble(format!("fetching {}: {error}", receipt.digest)));
                }
            }
            if stored.len() >= MAX_ENDORSE {
                self.endorse(std::mem::take(&mut stored)).await;
            }
            shared.host.sleep(pace.delay(bytes, shared.host.monotonic())).await;
        }
        self.endorse(stored).await;
        if adopted.0 > 0 {
            shared.report(Event::Adopted(adopted.0, adopted.1));
        }
        if let Some(lists) = shared.repairer.with(|blobs| blobs.positions_to_save()) {
            match shared.store.remember_lists(lists.clone()).await {
                Ok(()) => shared.repairer.with(|blobs| blobs.saved(&lists)),
                // they are read again after the next start
                Err(error) => shared.report(Event::Trouble(error.to_string())),
            }
        }
        failed
    }

    /// Blobs that went bad here: their certificates are known, and perhaps to nobody else.
    async fn look_for_damaged(&self) -> Result<(), StoreError> {
        let store = self.shared.store.clone();
        let (certificates, orphans) = self.shared.on_disk(move || damaged(&store)).await?;
        self.shared.repairer.with(|blobs| blobs.set_damaged(certificates, orphans));
        Ok(())
    }
    async fn is_lacking(&self, certificate: &Certificate) -> Result<bool, StoreError> {
        let (store, receipt) = (self.shared.store.clone(), certificate.claim.receipt);
        self.shared.on_disk(move || Ok(store.length_of(&receipt.digest)? != Some(receipt.length))).await
    }

    /// Has a blob that is lacking by a certificate that was verified: from the disk, where the index lost it, or from the others.
    async fn fetch_checked(
        &self,
        committee: &Arc<Committee>,
        certificate: Certificate,
    ) -> Result<Restored, FetchError> {
        let source = if !self.is_lacking(&certificate).await? {
            Restored::Meanwhile
        } else if self.shared.store.adopt(&certificate.claim.receipt).await? {
            Restored::FromDisk
        } else {
            self.fetch(committee, &certificate).await?;
            Restored::FromOthers
        };
        self.shared.store.archive(vec![certificate]).await?;
        Ok(source)
    }

    /// Gets a blob as any client does, and stores it as any put.
    async fn fetch(&self, committee: &Arc<Committee>, certificate: &Certificate) -> Result<(), FetchError> {
        let receipt = certificate.claim.receipt;
        let request = GetRequest {
            trusted: Some(committee.cluster()),
            digest: receipt.digest,
            length: Some(receipt.length),
            range: None,
            nonce: self.shared.host.random(),
        };
        let link = link::dial(&self.shared.host, &self.address).await?;
        let mut download = Download::begin(&self.shared.host, link, request, Some(committee.clone().into())).await;
        if receipt.length <= MAX_SMALL {
            let mut bytes = Vec::new();
            loop {
                match download.next().await? {
                    Step::Bytes(piece) => bytes.extend_from_slice(&piece),
                    Step::Verified(_) => break,
                    Step::Start { .. } | Step::Length { .. } | Step::Slice(_) | Step::Rejected(_) => {}
                }
            }
            return Ok(self.shared.store.put_small(&receipt, bytes.into()).await?);
        }
        self.fetch_large(download, &receipt).await
    }

    /// Writes pieces as they come, one at a time.
    async fn fetch_large(&self, mut download: Download, receipt: &Receipt) -> Result<(), FetchError> {
        let (store, receipt) = (self.shared.store.clone(), *receipt);
        let mut incoming = self.shared.on_disk(move || store.begin(Some(&receipt))).await?;
        loop {
            match download.next().await? {
                Step::Bytes(piece) => {
                    incoming = self.shared.on_disk(move || incoming.write(&piece).map(|()| incoming)).await?;
                }
                Step::Verified(_) => break,
                Step::Start { .. } | Step::Length { .. } | Step::Slice(_) | Step::Rejected(_) => {}
            }
        }
        let complete = self.shared.on_disk(move || incoming.finish(&receipt)).await?;
        Ok(self.shared.store.record(complete).await?)
    }

    /// Asks to be counted in.
    async fn endorse(&self, digests: Vec<Digest>) {
        if !digests.is_empty() {
            // the link is ending when this fails, and the certificates are good as they are
            let _ = self.requests.send(Message::Endorse { digests }.encode().into()).await;
        }
    }
}

/// The certificates of damaged blobs, and those damaged blobs that have none. Blocks for as long as the disk takes.
fn damaged(store: &Store) -> Result<(Vec<Certificate>, BTreeSet<Digest>), StoreError> {
    let (mut after, mut certificates, mut orphans) = (None, Vec::new(), BTreeSet::new());
    while certificates.len() + orphans.len() < MAX_LACKING {
        let page = store.damaged_from(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        for Damaged { digest, .. } in page {
            match store.certificate(&digest) {
                Ok(Some(certificate)) => certificates.push(certificate),
                // one that cannot be read is as good as none
                Ok(None) | Err(StoreError::Certificate { .. }) => drop(orphans.insert(digest)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok((certificates, orphans))
}
