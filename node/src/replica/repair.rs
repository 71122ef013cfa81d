//! Fetches the certified blobs that this replica lacks from other replicas, verifies them as any client does, and has them certified
//! again with this replica among the signers. A replica lacks what was put while it was down, or what its disk lost.
//!
//! It learns of them from the lists of certificates that the server and every other member keep, and from the server's notices.
//! It believes only certificates that a quorum of its committee signed.
//! [`repair`](vouch_node_core::replica::repair) decides; this performs.

use std::collections::BTreeSet;

use tokio::sync::{OwnedMutexGuard, mpsc};
use vouch_core::chain::CommitteeChain;
use vouch_core::digest::Digest;
use vouch_core::link::NodeKey;
use vouch_core::message::{Failed, ListPage, Message, Stream};
use vouch_node_core::replica::assigned_blob::AssignedBlob;
use vouch_node_core::replica::lacking::MAX_LACKING;
pub use vouch_node_core::replica::lacking::Repair;
use vouch_node_core::replica::repair::{
    LIST_DEADLINE, LinkRepair, RepairConfig, RepairInput, RepairMoment, RepairOutput, RepairRequest, RepairStep,
};

use super::context::Storage;
use super::repair_queue::RegisteredLink;
use crate::latest::Follower;
use crate::link::Outgoing;
use crate::store::{Damaged, Store, StoreError};

mod fetch;
mod learn;
#[cfg(test)]
mod tests;

pub(super) use fetch::Reader;
pub(super) use learn::learn;

/// Number of damaged blobs in one read of the index.
const PAGE: usize = 256;

/// The answer to a list request, by its number.
pub(super) type Page = (Stream, Result<ListPage, Failed>);

/// The repair over one link. It ends with the link.
pub(super) struct RepairTask {
    storage: Storage,
    reader: Reader,
    /// This replica's node key.
    own: NodeKey,
    core: LinkRepair,
    /// The server's address, for the links over which blobs are fetched.
    address: String,
    requests: mpsc::Sender<Outgoing>,
    listed: mpsc::Receiver<Page>,
    committees: Follower<Option<CommitteeChain>>,
    link: RegisteredLink,
    turn: Option<OwnedMutexGuard<()>>,
}

impl RepairTask {
    pub(super) fn new(
        storage: Storage,
        reader: Reader,
        config: RepairConfig,
        (address, server): (String, NodeKey),
        requests: mpsc::Sender<Outgoing>,
        listed: mpsc::Receiver<Page>,
    ) -> Self {
        let link = storage.repairs.register();
        let identity = reader.identity.clone();
        let own = identity.node_key();
        let core = LinkRepair::new(own, server, link.number, config);
        let committees = identity.committees.follow();
        Self { storage, reader, own, core, address, requests, listed, committees, link, turn: None }
    }

    /// The link's number in the repair queue.
    pub(super) fn number(&self) -> u64 {
        self.link.number
    }

    /// Runs rounds of repair until the link ends.
    pub(super) async fn run(mut self) {
        let mut input = RepairInput::Elapsed;
        loop {
            let RepairStep { outputs, request } = self.decide(input);
            for output in outputs {
                match output {
                    RepairOutput::Report(event) => self.storage.reports.report(event),
                    RepairOutput::EndTurn => self.turn = None,
                    RepairOutput::Endorse(digests) => {
                        // fails only if the link is ending; the existing certificates stay valid
                        let _ = self.requests.send(Message::Endorse { digests }.encode().into()).await;
                    }
                }
            }
            let Some(done) = self.perform(request).await else { return };
            input = done;
        }
    }

    fn decide(&mut self, input: RepairInput) -> RepairStep {
        let (host, chain) = (&self.storage.host, self.committees.see());
        let moment = RepairMoment { now: host.monotonic(), wall: host.unix_seconds(), chain: chain.as_ref() };
        self.storage.repairs.with(|blobs| self.core.handle(input, &moment, blobs))
    }

    /// Performs a request. `None` if the link is ending.
    async fn perform(&mut self, request: RepairRequest) -> Option<RepairInput> {
        let storage = &self.storage;
        let failed = |error: StoreError| RepairInput::Failed(error.to_string());
        Some(match request {
            RepairRequest::AwaitCommittee => {
                self.committees.changed().await.ok()?;
                RepairInput::CommitteeChanged
            }
            RepairRequest::FindDamaged => {
                let (store, chain) = (storage.store.clone(), self.committees.see());
                let own = chain.and_then(|chain| chain.current().record().position(&self.own));
                let found = storage.on_disk(move || damaged(&store, own)).await;
                found.map_or_else(failed, |(blobs, orphans)| RepairInput::Damaged { blobs, orphans })
            }
            RepairRequest::List { stream, source, from, filter } => {
                let request = Message::List { stream, source, from, filter };
                self.requests.send(request.encode().into()).await.ok()?;
                self.page(stream).await?
            }
            RepairRequest::Learn(chain, certificates) => {
                learn(storage, &chain, self.own, certificates).await.map_or_else(failed, RepairInput::Learned)
            }
            RepairRequest::TakeTurn => {
                self.turn = Some(storage.repairs.take_turn().await);
                RepairInput::Turn
            }
            RepairRequest::Fetch(chain, blob) => {
                match fetch::fetch(storage, &self.reader, &self.address, &chain, *blob).await {
                    Ok(source) => RepairInput::Fetched(source),
                    Err(error) if error.is_about_every_holder() => RepairInput::FoundNowhere(error.to_string()),
                    Err(error) => RepairInput::Failed(error.to_string()),
                }
            }
            RepairRequest::SavePositions(positions) => {
                let saved = storage.store.remember_lists(positions.clone()).await;
                saved.map_or_else(failed, |()| RepairInput::Saved(positions))
            }
            RepairRequest::Sleep(time) => {
                storage.host.sleep(time).await;
                RepairInput::Elapsed
            }
            RepairRequest::Wait(time) => tokio::select! {
                biased;
                () = storage.host.sleep(time) => RepairInput::Elapsed,
                () = self.link.woken() => RepairInput::Woken,
            },
        })
    }

    /// Waits for the answer to a list request. Drops late answers to earlier requests.
    async fn page(&mut self, stream: Stream) -> Option<RepairInput> {
        let host = self.storage.host.clone();
        let answer = async {
            loop {
                match self.listed.recv().await {
                    Some((of, page)) if of == stream => return Some(RepairInput::Page(page)),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        host.timeout(LIST_DEADLINE, answer).await.unwrap_or(Some(RepairInput::NoPage))
    }
}

/// The damaged blobs with certificates, and the digests of those without one. `own`: this replica's index in its committee. Blocks until the
/// disk has answered.
fn damaged(store: &Store, own: Option<u16>) -> Result<(Vec<AssignedBlob>, BTreeSet<Digest>), StoreError> {
    let (mut after, mut blobs, mut orphans) = (None, Vec::new(), BTreeSet::new());
    while blobs.len() + orphans.len() < MAX_LACKING {
        let page = store.damaged_from(after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.digest);
        for Damaged { digest, .. } in page {
            match store.certificate(&digest) {
                Ok(Some(certificate)) => blobs.push(AssignedBlob::new(certificate, own)),
                // an unreadable certificate counts as none
                Ok(None) | Err(StoreError::Certificate { .. }) => drop(orphans.insert(digest)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok((blobs, orphans))
}
